//! `IntegerPanels`: a matrix of 16-bit integers as the multiplying kernel reads it, 16 rows side by side.

use crate::threads;

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;
/// Two columns of a panel: pairs of integers of a row.
pub type PanelPair = [[i16; 2]; PANEL_ROWS];

/// A matrix of integers, `[rows, columns]`, padded on both sides with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegerPanels {
    rows: usize,
    columns: usize,
    /// `[panels, pairs]`.
    pairs: Vec<PanelPair>,
    /// For each panel which of its pairs are not all zeros.
    filled: Vec<Vec<u32>>,
}

impl IntegerPanels {
    /// The transpose of `integers`, `[columns, rows]`.
    pub fn pack_transposed(rows: usize, integers: &[i16]) -> IntegerPanels {
        let columns = integers.len() / rows.max(1);
        let per_panel = columns.div_ceil(2);
        let panels = rows.div_ceil(PANEL_ROWS);
        let mut pairs = vec![[[0; 2]; PANEL_ROWS]; panels * per_panel];
        let mut filled = vec![Vec::new(); panels];
        let of_panels = pairs.chunks_mut(per_panel.max(1)).zip(&mut filled);
        threads::for_each(of_panels, |panel, (pairs, filled)| {
            let first = panel * PANEL_ROWS;
            let width = PANEL_ROWS.min(rows - first);
            for (pair, columns) in pairs.iter_mut().zip(integers.chunks(2 * rows)) {
                for (side, column) in columns.chunks_exact(rows).enumerate() {
                    for (pair, integer) in pair.iter_mut().zip(&column[first..first + width]) {
                        pair[side] = *integer;
                    }
                }
            }
            let is_filled = |index: &u32| pairs[*index as usize] != [[0; 2]; PANEL_ROWS];
            *filled = (0..pairs.len() as u32).filter(is_filled).collect();
        });
        IntegerPanels {
            rows,
            columns,
            pairs,
            filled,
        }
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The integer at `row`, `column`.
    pub fn get(&self, row: usize, column: usize) -> i16 {
        assert!(row < self.rows && column < self.columns);
        self.panel(row / PANEL_ROWS)[column / 2][row % PANEL_ROWS][column % 2]
    }

    /// The pairs of a panel that are not all zeros.
    pub fn filled(&self, panel: usize) -> &[u32] {
        &self.filled[panel]
    }

    /// The pairs of columns of a panel.
    pub fn panel(&self, panel: usize) -> &[PanelPair] {
        let per_panel = self.columns.div_ceil(2);
        &self.pairs[panel * per_panel..][..per_panel]
    }
}
