//! Panels: a matrix of integers as the multiplying kernels read it, 16 rows side by side, in 16 bits or in 8. What the
//! integers are worth is said elsewhere.

use std::sync::OnceLock;

use super::Encoding;
use crate::threads;

/// Rows of a panel.
pub const PANEL_ROWS: usize = 16;
/// Some columns of a panel, side by side for each row.
pub type PanelGroup<T, const TERMS: usize> = [[T; TERMS]; PANEL_ROWS];
/// Panels of 16-bit integers, two columns a group.
pub type IntegerPanels = Panels<i16, 2>;

/// A matrix of integers, `[rows, columns]`, padded on both sides with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panels<T, const TERMS: usize> {
    rows: usize,
    columns: usize,
    /// `[panels, groups]`.
    groups: Vec<PanelGroup<T, TERMS>>,
    /// For each panel which of its groups are not all zeros.
    filled: Vec<Vec<u32>>,
}

/// Panels of integers of 8 bits, four columns a group, each less the smallest integer of its encoding: bytes without a
/// sign.
#[derive(Clone, Debug)]
pub struct BytePanels {
    encoding: Encoding,
    panels: Panels<u8, 4>,
    /// For each panel the sums of its rows' integers, once somebody asks.
    totals: Vec<OnceLock<[i32; PANEL_ROWS]>>,
}

impl<T: Copy + Default + PartialEq + Send + Sync, const TERMS: usize> Panels<T, TERMS> {
    /// A matrix whose panels `fill` fills.
    fn new(
        rows: usize,
        columns: usize,
        fill: impl Fn(usize, &mut [PanelGroup<T, TERMS>]) + Sync,
    ) -> Self {
        let per_panel = columns.div_ceil(TERMS);
        let panels = rows.div_ceil(PANEL_ROWS);
        let blank = [[T::default(); TERMS]; PANEL_ROWS];
        let mut groups = vec![blank; panels * per_panel];
        let mut filled = vec![Vec::new(); panels];
        let of_panels = groups.chunks_mut(per_panel.max(1)).zip(&mut filled);
        threads::for_each(of_panels, |panel, (groups, filled)| {
            fill(panel, groups);
            let is_filled = |index: &u32| groups[*index as usize] != blank;
            *filled = Vec::with_capacity(groups.len());
            filled.extend((0..groups.len() as u32).filter(is_filled));
        });
        Panels {
            rows,
            columns,
            groups,
            filled,
        }
    }

    /// The transpose of `integers`, `[columns, rows]`, each one converted.
    fn convert(rows: usize, integers: &[i16], convert: impl Fn(i16) -> T + Sync) -> Self {
        let columns = integers.len() / rows.max(1);
        Panels::new(rows, columns, |panel, groups| {
            let first = panel * PANEL_ROWS;
            let width = PANEL_ROWS.min(rows - first);
            for (group, columns) in groups.iter_mut().zip(integers.chunks(TERMS * rows)) {
                for (term, column) in columns.chunks_exact(rows).enumerate() {
                    for (row, integer) in group.iter_mut().zip(&column[first..first + width]) {
                        row[term] = convert(*integer);
                    }
                }
            }
        })
    }
}

impl<T, const TERMS: usize> Panels<T, TERMS> {
    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The number at `row`, `column`.
    fn at(&self, row: usize, column: usize) -> T
    where
        T: Copy,
    {
        assert!(row < self.rows && column < self.columns);
        self.panel(row / PANEL_ROWS)[column / TERMS][row % PANEL_ROWS][column % TERMS]
    }

    /// The groups of a panel that are not all zeros.
    pub fn filled(&self, panel: usize) -> &[u32] {
        &self.filled[panel]
    }

    /// The groups of columns of a panel.
    pub fn panel(&self, panel: usize) -> &[PanelGroup<T, TERMS>] {
        let per_panel = self.columns.div_ceil(TERMS);
        &self.groups[panel * per_panel..][..per_panel]
    }
}

impl IntegerPanels {
    /// The transpose of `integers`, `[columns, rows]`.
    pub fn pack_transposed(rows: usize, integers: &[i16]) -> IntegerPanels {
        Panels::convert(rows, integers, |integer| integer)
    }

    /// The integer at `row`, `column`.
    pub fn get(&self, row: usize, column: usize) -> i16 {
        self.at(row, column)
    }
}

impl BytePanels {
    fn new(encoding: Encoding, panels: Panels<u8, 4>) -> BytePanels {
        BytePanels {
            encoding,
            totals: vec![OnceLock::new(); panels.rows.div_ceil(PANEL_ROWS)],
            panels,
        }
    }

    /// Packs integers of an encoding of up to 8 digits that `fill` gives row by row.
    pub fn pack(
        encoding: Encoding,
        rows: usize,
        columns: usize,
        fill: impl Fn(usize, &mut [i16]) + Sync,
    ) -> BytePanels {
        assert!(encoding.digits() <= 8);
        let (smallest, _) = encoding.range();
        let panels = Panels::new(rows, columns, |panel, groups| {
            let mut integers = vec![0; columns];
            let first = panel * PANEL_ROWS;
            for row in first..rows.min(first + PANEL_ROWS) {
                fill(row, &mut integers);
                for (group, integers) in groups.iter_mut().zip(integers.chunks(4)) {
                    for (byte, integer) in group[row - first].iter_mut().zip(integers) {
                        *byte = (integer - smallest) as u8;
                    }
                }
            }
        });
        BytePanels::new(encoding, panels)
    }

    /// The transpose of `integers`, `[columns, rows]`, of an encoding of up to 8 digits.
    pub fn pack_transposed(encoding: Encoding, rows: usize, integers: &[i16]) -> BytePanels {
        assert!(encoding.digits() <= 8);
        let (smallest, _) = encoding.range();
        let panels = Panels::convert(rows, integers, |integer| (integer - smallest) as u8);
        BytePanels::new(encoding, panels)
    }

    /// The same integers, `[columns, rows]`.
    pub fn transposed(&self) -> BytePanels {
        let from = &self.panels;
        let panels = Panels::new(from.columns, from.rows, |panel, groups| {
            for (index, to) in groups.iter_mut().enumerate() {
                // Four rows of this matrix are the four terms of a group, sixteen columns its rows.
                let rows = 4 * index % PANEL_ROWS..;
                let squares = from.panel(4 * index / PANEL_ROWS)[4 * panel..].iter();
                for (to, square) in to.as_chunks_mut::<4>().0.iter_mut().zip(squares) {
                    for (column, to) in to.iter_mut().enumerate() {
                        for (to, row) in to.iter_mut().zip(&square[rows.clone()]) {
                            *to = row[column];
                        }
                    }
                }
            }
        });
        BytePanels::new(self.encoding, panels)
    }

    /// What the integers are.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The bytes.
    pub fn panels(&self) -> &Panels<u8, 4> {
        &self.panels
    }

    /// The sum of the integers of each row of a panel.
    pub fn totals(&self, panel: usize) -> &[i32; PANEL_ROWS] {
        self.totals[panel].get_or_init(|| {
            let smallest = i32::from(self.encoding.range().0);
            let mut totals = [smallest * self.panels.columns as i32; PANEL_ROWS];
            for group in self.panels.panel(panel) {
                for (total, bytes) in totals.iter_mut().zip(group) {
                    *total += bytes.iter().map(|byte| i32::from(*byte)).sum::<i32>();
                }
            }
            totals
        })
    }

    /// The integer at `row`, `column`.
    pub fn get(&self, row: usize, column: usize) -> i16 {
        i16::from(self.panels.at(row, column)) + self.encoding.range().0
    }
}
