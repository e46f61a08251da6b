//! The matrix products: bit planes by bit planes, and floats by floats, naive and in tiles. Which tile is the fastest on an
//! adapter is found in `race`; until then the first of each list is taken.

use qnn_core::bits::Encoding;
use qnn_core::measure::ProductKernel;

use crate::device::{Buffer, Gpu, GpuError, Program, constant};
use crate::passes::{Bound, Floats, Pass, Planes, encoding_number, shader, words};

/// How a product is cut into the work of workgroups and of their threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Threads of a workgroup, in rows and columns.
    pub group: [usize; 2],
    /// Sums of a thread, in rows and columns; fours of them for floats.
    pub sums: [usize; 2],
    /// What a workgroup reads at a time: times 128 bits, or terms.
    pub depth: usize,
    /// Whether ones are added up in carry-save form before they are counted.
    pub carry_save: bool,
}

impl Tile {
    const fn new(group: [usize; 2], sums: [usize; 2], depth: usize, carry_save: bool) -> Tile {
        Tile {
            group,
            sums,
            depth,
            carry_save,
        }
    }

    /// Rows and columns of the result that a workgroup computes, with `each` for every sum of a thread.
    fn area(self, each: usize) -> [usize; 2] {
        [0, 1].map(|side| self.group[side] * self.sums[side] * each)
    }

    /// Whether a device takes it.
    fn fits(self, limits: &wgpu::Limits) -> bool {
        let [rows, columns] = self.area(1);
        let memory = (rows + columns) * self.depth * READ_BYTES;
        let [group_rows, group_columns] = self.group.map(|threads| threads as u32);
        memory <= limits.max_compute_workgroup_storage_size as usize
            && group_rows * group_columns <= limits.max_compute_invocations_per_workgroup
            && group_rows <= limits.max_compute_workgroup_size_y
            && group_columns <= limits.max_compute_workgroup_size_x
    }

    fn constants(self) -> String {
        constant("GROUP_ROWS", self.group[0])
            + &constant("GROUP_COLUMNS", self.group[1])
            + &constant("ROWS", self.sums[0])
            + &constant("COLUMNS", self.sums[1])
            + &constant("DEPTH", self.depth)
    }
}

/// Tiles of bit planes to choose from; of whole words of 32 columns, which signs are packed into.
const PLANE_TILES: [Tile; 6] = [
    Tile::new([16, 16], [4, 4], 4, false),
    Tile::new([16, 16], [4, 4], 4, true),
    Tile::new([8, 16], [4, 4], 4, false),
    Tile::new([8, 32], [8, 4], 2, false),
    Tile::new([8, 8], [4, 4], 4, true),
    Tile::new([16, 16], [8, 4], 4, true),
];
/// Tiles of floats to choose from.
const FLOAT_TILES: [Tile; 4] = [
    Tile::new([16, 16], [1, 1], 16, false),
    Tile::new([16, 16], [2, 1], 8, false),
    Tile::new([16, 16], [2, 2], 8, false),
    Tile::new([8, 8], [2, 2], 8, false),
];
/// The tile for few rows: a thread a sum.
const ROW_TILE: Tile = Tile::new([1, 64], [1, 1], 8, false);
/// Bytes of 128 bits, or of four floats.
const READ_BYTES: usize = 16;
/// Rows up to which that is taken.
const FEW_ROWS: usize = 4;

/// The tiles in use.
#[derive(Clone, Copy, Debug)]
pub struct Tiles {
    pub planes: Tile,
    pub floats: Tile,
}

impl Default for Tiles {
    fn default() -> Tiles {
        Tiles {
            planes: PLANE_TILES[0],
            floats: FLOAT_TILES[0],
        }
    }
}

/// The tiles of bit planes that a device takes.
pub fn plane_tiles(gpu: &Gpu) -> Vec<Tile> {
    let mut tiles = tiles_of_many_rows(gpu);
    tiles.push(ROW_TILE);
    tiles
}

/// Those of them for products of more than a few rows.
pub(crate) fn tiles_of_many_rows(gpu: &Gpu) -> Vec<Tile> {
    fitting(gpu, &PLANE_TILES).collect()
}

/// The tiles of floats that a device takes.
pub fn float_tiles(gpu: &Gpu) -> Vec<Tile> {
    fitting(gpu, &FLOAT_TILES).collect()
}

/// Those of `tiles` that a device takes.
fn fitting<'a>(gpu: &Gpu, tiles: &'a [Tile]) -> impl Iterator<Item = Tile> + 'a {
    let limits = gpu.limits();
    tiles.iter().copied().filter(move |tile| tile.fits(&limits))
}

/// The encodings of a product that can be one of bit planes.
pub(crate) fn in_planes(a: Option<Encoding>, b: Option<Encoding>) -> Option<(Encoding, Encoding)> {
    let packs = |encoding: &Encoding| encoding.digits() <= 8;
    a.filter(packs).zip(b.filter(packs))
}

/// Where a product's numbers go.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub out: &'a Floats,
    /// The column of the first one: the other side may be a piece of something.
    pub first_column: usize,
    /// Whether they are added to what is there: the terms may be a piece of something.
    pub adds: bool,
}

impl<'a> Target<'a> {
    /// All of `out`.
    pub fn all(out: &'a Floats) -> Target<'a> {
        Target {
            out,
            first_column: 0,
            adds: false,
        }
    }

    fn words(self) -> [u32; 3] {
        [
            self.out.stride as u32,
            self.first_column as u32,
            u32::from(self.adds),
        ]
    }
}

/// What becomes of the sums of bit planes.
pub(crate) enum Store<'a> {
    /// As they are.
    Sums(&'a Buffer),
    /// Times what the rows of both sides are worth.
    Numbers {
        units: [&'a dyn Bound; 2],
        target: Target<'a>,
    },
    /// Compared with thresholds, and packed for the layer above, from one of its columns on.
    Signs {
        thresholds: &'a Buffer,
        out: &'a Planes,
        first_column: usize,
    },
}

/// The product of the rows of `a` with the rows of `b`, `[a.rows, b.rows]`.
pub(crate) fn product_of_planes(gpu: &Gpu, a: &Planes, b: &Planes, store: Store<'_>) -> Pass {
    let tile = if a.rows <= FEW_ROWS {
        ROW_TILE
    } else {
        gpu.tiles().planes
    };
    product_of_planes_with(gpu, tile, a, b, store)
}

pub(crate) fn product_of_planes_with(
    gpu: &Gpu,
    tile: Tile,
    a: &Planes,
    b: &Planes,
    store: Store<'_>,
) -> Pass {
    assert_eq!(a.columns, b.columns, "rows of different length");
    let (store_source, outputs, target): (_, Vec<&dyn Bound>, _) = match store {
        Store::Sums(out) => (shader!("store_sums"), vec![out], [b.rows as u32, 0, 0]),
        Store::Numbers {
            units: [a_units, b_units],
            target,
        } => (
            shader!("store_numbers"),
            vec![a_units, b_units, target.out],
            target.words(),
        ),
        Store::Signs {
            thresholds,
            out,
            first_column,
        } => (
            shader!("store_signs"),
            vec![thresholds, &out.bits],
            [out.columns as u32, first_column as u32, 0],
        ),
    };
    let number = |encoding: Encoding| encoding_number(encoding) as usize;
    let program = Program {
        name: "product_planes",
        constants: tile.constants()
            + &constant("CARRY_SAVE", tile.carry_save)
            + &constant("A_DIGITS", a.encoding.digits())
            + &constant("B_DIGITS", b.encoding.digits())
            + &constant("A_ENCODING", number(a.encoding))
            + &constant("B_ENCODING", number(b.encoding))
            + &constant(
                "IS_SIGNS",
                (a.encoding, b.encoding) == (Encoding::Sign, Encoding::Sign),
            ),
        sources: &[shader!("encoding"), shader!("product_planes"), store_source],
    };
    let shape = [a.rows, b.rows, a.columns, words(a.columns) / 4, 0, 0].map(|number| number as u32);
    let shape = [&shape[..], &target].concat();
    let mut buffers: Vec<&dyn Bound> = vec![&a.bits, &b.bits, &a.sums, &b.sums];
    buffers.extend(outputs);
    let [rows, columns] = tile.area(1);
    let groups = [b.rows.div_ceil(columns), a.rows.div_ceil(rows), 1];
    gpu.pass(
        &program,
        &shape,
        &buffers,
        groups.map(|groups| groups as u32),
    )
}

/// Floats as a side of a product: `rows` of `terms`, whichever way they lie.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub numbers: &'a Floats,
    /// Whether the numbers lie term by term.
    pub is_transposed: bool,
    /// What each row is worth.
    pub units: &'a dyn Bound,
}

impl Side<'_> {
    fn rows_and_terms(&self) -> (usize, usize) {
        let Floats { rows, columns, .. } = *self.numbers;
        if self.is_transposed {
            (columns, rows)
        } else {
            (rows, columns)
        }
    }

    /// How far rows and terms lie apart.
    fn strides(&self) -> [u32; 2] {
        let stride = self.numbers.stride as u32;
        if self.is_transposed {
            [1, stride]
        } else {
            [stride, 1]
        }
    }
}

/// The product of the rows of `a` with the rows of `b`, `[a.rows, b.rows]`.
pub(crate) fn product_of_floats(
    gpu: &Gpu,
    kernel: ProductKernel,
    a: Side<'_>,
    b: Side<'_>,
    target: Target<'_>,
) -> Pass {
    let tile = (kernel != ProductKernel::Naive).then(|| gpu.tiles().floats);
    product_of_floats_with(gpu, tile, a, b, target)
}

pub(crate) fn product_of_floats_with(
    gpu: &Gpu,
    tile: Option<Tile>,
    a: Side<'_>,
    b: Side<'_>,
    target: Target<'_>,
) -> Pass {
    let ((rows, terms), (columns, b_terms)) = (a.rows_and_terms(), b.rows_and_terms());
    assert_eq!(terms, b_terms, "rows of different length");
    let (name, constants, source, area) = match tile {
        None => (
            "product_naive",
            String::new(),
            shader!("product_naive"),
            [16, 16],
        ),
        Some(tile) => (
            "product_tiled",
            tile.constants(),
            shader!("product_tiled"),
            tile.area(4),
        ),
    };
    let program = Program {
        name,
        constants,
        sources: &[shader!("product_floats"), source],
    };
    let [rows, columns, terms] = [rows, columns, terms].map(|number| number as u32);
    let ([a_row, a_term], [b_row, b_term]) = (a.strides(), b.strides());
    let shape = [rows, columns, terms, 0, 0, 0, a_row, a_term, b_row, b_term];
    let shape = [&shape[..], &target.words()].concat();
    let groups = [
        columns.div_ceil(area[1] as u32),
        rows.div_ceil(area[0] as u32),
        1,
    ];
    let buffers: [&dyn Bound; 5] = [a.numbers, b.numbers, a.units, b.units, target.out];
    gpu.pass(&program, &shape, &buffers, groups)
}

/// The products of the rows of `a` with the rows of `b`, `[a rows, b rows]`, of small integers of `terms` a row, as bit planes.
pub async fn integer_product(
    gpu: &Gpu,
    tile: Tile,
    terms: usize,
    a: (&[i16], Encoding),
    b: (&[i16], Encoding),
) -> Result<Vec<i32>, GpuError> {
    let made = gpu.checked("a product", || {
        let (mut passes, mut sides) = (Vec::new(), Vec::new());
        for ((integers, encoding), (_, other)) in [(a, b), (b, a)] {
            let levels: Vec<f32> = integers.iter().copied().map(f32::from).collect();
            let levels = Floats::of(gpu, "integers", terms, &levels)?;
            let planes = Planes::new(gpu, "bit planes", encoding, levels.rows, terms)?;
            passes.extend(planes.pack(gpu, &levels, false, other));
            sides.push(planes);
        }
        let out = gpu.zeros("sums", sides[0].rows * sides[1].rows)?;
        let store = Store::Sums(&out);
        passes.push(product_of_planes_with(
            gpu, tile, &sides[0], &sides[1], store,
        ));
        Ok((out, passes))
    });
    let (out, passes) = made.await?;
    gpu.submit(&passes, None, |_| ());
    let mut sums = gpu.read(&out).await?;
    sums.truncate(a.0.len() / terms * (b.0.len() / terms));
    Ok(sums)
}

/// The products of the rows of `a` with the rows of `b`, `[a rows, b rows]`, of floats of `terms` a row; naive without a tile.
pub async fn float_product(
    gpu: &Gpu,
    tile: Option<Tile>,
    terms: usize,
    a: &[f32],
    b: &[f32],
) -> Result<Vec<f32>, GpuError> {
    let made = gpu.checked("a product", || {
        let [a, b] = [a, b].map(|side| Floats::of(gpu, "floats", terms, side));
        let (a, b) = (a?, b?);
        let out = Floats::new(gpu, "sums", a.rows, b.rows)?;
        let units = gpu.filled("units", &vec![1.0f32; a.rows.max(b.rows)])?;
        let [a, b] = [&a, &b].map(|numbers| Side {
            numbers,
            is_transposed: false,
            units: &units,
        });
        let pass = product_of_floats_with(gpu, tile, a, b, Target::all(&out));
        Ok((out, pass))
    });
    let (out, pass) = made.await?;
    gpu.submit([&pass], None, |_| ());
    let mut sums = gpu.read(&out.buffer).await?;
    sums.truncate(out.count());
    Ok(sums)
}
