//! Packed formats: what a bit means and how rows are padded is said here, once.
//! No arithmetic on them lives here; that is `kernels`.
//!
//! In a matrix of signs, bit 1 is +1 (x >= 0) and bit 0 is -1. Rows are padded with zero bits to a whole
//! number of 128-bit vectors, on both sides of a product alike, so padding always agrees and counts nothing.

mod matrix;
mod panels;
mod planes;
mod stream;
mod tiles;

pub use matrix::{BitMatrix, BitRows};
pub use panels::{BytePanels, IntegerPanels, PANEL_ROWS, PanelGroup, Panels};
pub use planes::BitPlanes;
pub use qnn_infer::Encoding;
pub use stream::{from_stream, stream_length, to_stream};
pub use tiles::{BitTile, BitTiles, TILE_COLUMNS, TILE_ROWS, pack_row};
