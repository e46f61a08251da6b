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
}

impl IntegerPanels {
    /// The transpose of `integers`, `[columns, rows]`.
    pub fn pack_transposed(rows: usize, integers: &[i16]) -> IntegerPanels {
        let columns = integers.len() / rows.max(1);
        let per_panel = columns.div_ceil(2);
        let mut pairs = vec![[[0; 2]; PANEL_ROWS]; rows.div_ceil(PANEL_ROWS) * per_panel];
        threads::for_each(pairs.chunks_mut(per_panel.max(1)), |panel, pairs| {
            let first = panel * PANEL_ROWS;
            let width = PANEL_ROWS.min(rows - first);
            for (pair, columns) in pairs.iter_mut().zip(integers.chunks(2 * rows)) {
                for (side, column) in columns.chunks_exact(rows).enumerate() {
                    for (pair, integer) in pair.iter_mut().zip(&column[first..first + width]) {
                        pair[side] = *integer;
                    }
                }
            }
        });
        IntegerPanels {
            rows,
            columns,
            pairs,
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

    /// The pairs of columns of a panel.
    pub fn panel(&self, panel: usize) -> &[PanelPair] {
        let per_panel = self.columns.div_ceil(2);
        &self.pairs[panel * per_panel..][..per_panel]
    }
}
