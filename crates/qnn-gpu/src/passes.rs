//! Passes: a program with what it reads and writes, ready to be run again and again. One function for each thing that happens
//! between the products; those are in `products`.

use std::ops::Range;

use qnn_core::bits::Encoding;
use qnn_core::quant::{GradientQuantizer, Quantizer};
use qnn_core::spec::{Levels, Loss, Normalization, Optimizer};

use crate::device::{Buffer, Gpu, GpuError, Program, constant};

macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!("shaders/", $name, ".wgsl"))
    };
}
pub(crate) use shader;

/// Work groups in one direction that every adapter takes.
const MOST_GROUPS: usize = 65_535;

/// What a program can be handed: a buffer or a part of one.
pub(crate) trait Bound {
    fn buffer(&self) -> &Buffer;
    fn binding(&self) -> wgpu::BufferBinding<'_>;
}

impl Bound for Buffer {
    fn buffer(&self) -> &Buffer {
        self
    }

    fn binding(&self) -> wgpu::BufferBinding<'_> {
        self.as_entire_buffer_binding()
    }
}

/// A program with its bindings.
pub(crate) struct Pass {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    /// What is bound, for as long as this may run.
    _buffers: Vec<Buffer>,
    groups: [u32; 3],
}

impl Gpu {
    /// A pass whose first binding is a uniform buffer of `words`, the others `buffers` in their order.
    pub(crate) fn pass(
        &self,
        program: &Program<'_>,
        words: &[u32],
        buffers: &[&dyn Bound],
        groups: [u32; 3],
    ) -> Pass {
        let pipeline = self.pipeline(program);
        let words = self.uniform(words);
        let buffers: Vec<&dyn Bound> = [&words as &dyn Bound]
            .into_iter()
            .chain(buffers.iter().copied())
            .collect();
        let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers
            .iter()
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(buffer.binding()),
            })
            .collect();
        let bindings = self.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(program.name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Pass {
            pipeline,
            bindings,
            _buffers: buffers.iter().map(|bound| bound.buffer().clone()).collect(),
            groups,
        }
    }

    /// Submits passes, one after the other, and what `more` adds behind them.
    pub(crate) fn submit<'a>(
        &self,
        passes: impl IntoIterator<Item = &'a Pass>,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
        more: impl FnOnce(&mut wgpu::CommandEncoder),
    ) {
        let mut encoder = self.device().create_command_encoder(&Default::default());
        {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes,
            });
            for pass in passes {
                let [x, y, z] = pass.groups;
                compute.set_pipeline(&pass.pipeline);
                compute.set_bind_group(0, &pass.bindings, &[]);
                compute.dispatch_workgroups(x, y, z);
            }
        }
        more(&mut encoder);
        self.queue().submit([encoder.finish()]);
    }
}

/// Work groups for `count` things, `size` a group, in two directions where one does not suffice.
pub(crate) fn linear(count: usize, size: usize) -> [u32; 3] {
    let groups = count.div_ceil(size).max(1);
    let rows = groups.div_ceil(MOST_GROUPS);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

/// Numbers, `[rows, columns]`: a buffer, or some rows or some columns of it.
#[derive(Clone)]
pub(crate) struct Floats {
    pub buffer: Buffer,
    pub rows: usize,
    pub columns: usize,
    /// The first number's place in the buffer, and how far rows lie apart.
    first: usize,
    pub stride: usize,
}

impl Bound for Floats {
    fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn binding(&self) -> wgpu::BufferBinding<'_> {
        let numbers = (self.rows - 1) * self.stride + self.columns;
        wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: 4 * self.first as u64,
            size: wgpu::BufferSize::new(4 * numbers as u64),
        }
    }
}

impl Floats {
    pub fn new(gpu: &Gpu, what: &str, rows: usize, columns: usize) -> Result<Floats, GpuError> {
        Ok(Floats::in_buffer(
            gpu.zeros(what, rows * columns)?,
            rows,
            columns,
        ))
    }

    /// More of them than a pass can be handed, maybe.
    pub fn large(gpu: &Gpu, what: &str, rows: usize, columns: usize) -> Result<Floats, GpuError> {
        let buffer = gpu.large_zeros(what, rows * columns)?;
        Ok(Floats::in_buffer(buffer, rows, columns))
    }

    pub fn of(gpu: &Gpu, what: &str, columns: usize, numbers: &[f32]) -> Result<Floats, GpuError> {
        let rows = numbers.len() / columns.max(1);
        Ok(Floats::in_buffer(gpu.filled(what, numbers)?, rows, columns))
    }

    pub fn in_buffer(buffer: Buffer, rows: usize, columns: usize) -> Floats {
        Floats {
            buffer,
            rows,
            columns,
            first: 0,
            stride: columns,
        }
    }

    pub fn count(&self) -> usize {
        self.rows * self.columns
    }

    /// Some of the rows, as [`Gpu::pieces`] cuts them.
    pub fn some_rows(&self, rows: &Range<usize>) -> Floats {
        Floats {
            rows: rows.len(),
            first: self.first + rows.start * self.stride,
            ..self.clone()
        }
    }

    /// Some of the columns, as [`Gpu::pieces`] cuts the rows of what they are multiplied with.
    pub fn some_columns(&self, columns: &Range<usize>) -> Floats {
        Floats {
            columns: columns.len(),
            first: self.first + columns.start,
            ..self.clone()
        }
    }
}

/// Small integers, `[rows, columns]`, as bit planes, `[digits, rows, words]`. Rows are padded with zeros to whole 128 bits.
#[derive(Clone)]
pub(crate) struct Planes {
    pub encoding: Encoding,
    pub rows: usize,
    pub columns: usize,
    pub bits: Buffer,
    /// Of the integers of each row, their offsets not counted; filled where the other side of the product is one of signs.
    pub sums: Buffer,
}

impl Planes {
    pub fn new(
        gpu: &Gpu,
        what: &str,
        encoding: Encoding,
        rows: usize,
        columns: usize,
    ) -> Result<Planes, GpuError> {
        Ok(Planes {
            encoding,
            rows,
            columns,
            bits: gpu.zeros(what, encoding.digits() * rows * words(columns))?,
            sums: gpu.zeros(what, rows)?,
        })
    }

    /// Packs whole numbers for a product with integers of the `other` encoding; where `is_transposed` the columns of
    /// `levels` are the rows.
    pub fn pack(
        &self,
        gpu: &Gpu,
        levels: &Floats,
        is_transposed: bool,
        other: Encoding,
    ) -> impl Iterator<Item = Pass> + use<> {
        let words = words(self.columns);
        let encoding = encoding_number(self.encoding);
        let digits = self.encoding.digits() as u32;
        let shape = [
            levels.rows as u32,
            levels.columns as u32,
            words as u32,
            digits,
            encoding,
            levels.stride as u32,
        ];
        let (name, source, groups) = if is_transposed {
            let groups = [levels.columns.div_ceil(64) as u32, words as u32, 1];
            ("pack_columns", shader!("pack_columns"), groups)
        } else {
            let [y, z, _] = linear(self.rows, 1);
            let groups = [(32 * words).div_ceil(256) as u32, y, z];
            ("pack_rows", shader!("pack_rows"), groups)
        };
        let program = Program {
            name,
            constants: String::new(),
            sources: &[shader!("encoding"), shader!("pack"), source],
        };
        let pack = gpu.pass(&program, &shape, &[levels, &self.bits], groups);
        // A product with signs corrects for their offset, unless both sides are signs.
        let needs_sums = other == Encoding::Sign && self.encoding != Encoding::Sign;
        [Some(pack), needs_sums.then(|| self.sum(gpu))]
            .into_iter()
            .flatten()
    }

    /// Sums up each row.
    fn sum(&self, gpu: &Gpu) -> Pass {
        let program = Program {
            name: "digit_sums",
            constants: String::new(),
            sources: &[shader!("encoding"), shader!("digit_sums")],
        };
        let shape = [
            self.rows as u32,
            words(self.columns) as u32,
            self.encoding.digits() as u32,
            encoding_number(self.encoding),
        ];
        gpu.pass(
            &program,
            &shape,
            &[&self.bits, &self.sums],
            linear(self.rows, 1),
        )
    }
}

/// Words of 32 bits in a packed row.
pub(crate) fn words(columns: usize) -> usize {
    columns.div_ceil(128) * 4
}

/// What the shaders call an encoding.
pub(crate) fn encoding_number(encoding: Encoding) -> u32 {
    match encoding {
        Encoding::Sign => 0,
        Encoding::TwosComplement(_) => 1,
        Encoding::Unsigned8 => 2,
    }
}

/// Fills `chances`, those of `place`: a layer and a purpose, as [`qnn_core::random::place`] writes it.
pub(crate) fn chances(gpu: &Gpu, place: u32, step: &Buffer, chances: &Floats) -> Pass {
    let program = Program {
        name: "chances",
        constants: String::new(),
        sources: &[shader!("step"), shader!("chances")],
    };
    // A piece of a matrix goes on where the one before it ended.
    let first = chances.first / 16;
    gpu.pass(
        &program,
        &[place, chances.count() as u32, first as u32],
        &[step, chances],
        linear(chances.count().div_ceil(16), 64),
    )
}

/// Dropout of a matrix: the share that is left out, and the chances that say which.
#[derive(Clone)]
pub(crate) struct GpuDropout {
    pub share: f32,
    pub chances: Floats,
}

impl GpuDropout {
    /// What the inputs that stay are multiplied with.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.share)
    }
}

/// Quantizes `values` to `levels`: whole numbers where there is an encoding.
pub(crate) fn quantize(
    gpu: &Gpu,
    quantizer: Quantizer,
    values: &Floats,
    chances: Option<&Floats>,
    dropout: Option<&GpuDropout>,
    levels: &Floats,
) -> Pass {
    let program = Program {
        name: "quantize",
        constants: constant("BITS", usize::from(quantizer.bits.get()))
            + &constant("IS_LOGARITHMIC", quantizer.levels == Levels::Logarithmic)
            + &constant("IS_STOCHASTIC", chances.is_some())
            + &constant("IN_STEPS", quantizer.encoding().is_some())
            + &constant("HAS_DROPOUT", dropout.is_some()),
        sources: &[shader!("rounding"), shader!("quantize")],
    };
    let numbers = [
        values.count() as u32,
        quantizer.step().to_bits(),
        dropout.map_or(0.0, |dropout| dropout.share).to_bits(),
        dropout.map_or(1.0, GpuDropout::scale).to_bits(),
    ];
    let drop_chances = dropout.map_or(values, |dropout| &dropout.chances);
    gpu.pass(
        &program,
        &numbers,
        &[values, chances.unwrap_or(values), drop_chances, levels],
        linear(values.count(), 256),
    )
}

/// Makes whole numbers of 8-bit pixels.
pub(crate) fn pixels(
    gpu: &Gpu,
    bytes: &Buffer,
    dropout: Option<&GpuDropout>,
    levels: &Floats,
) -> Pass {
    let program = Program {
        name: "pixels",
        constants: constant("HAS_DROPOUT", dropout.is_some()),
        sources: &[shader!("pixels")],
    };
    let share = dropout.map_or(0.0, |dropout| dropout.share);
    let drop_chances: &dyn Bound = match dropout {
        Some(dropout) => &dropout.chances,
        None => bytes,
    };
    gpu.pass(
        &program,
        &[levels.count() as u32, share.to_bits()],
        &[bytes, drop_chances, levels],
        linear(levels.count(), 256),
    )
}

/// Turns rows into columns.
pub(crate) fn transpose(gpu: &Gpu, from: &Floats, to: &Floats) -> Pass {
    let program = Program {
        name: "transpose",
        constants: String::new(),
        sources: &[shader!("transpose")],
    };
    gpu.pass(
        &program,
        &[from.rows as u32, from.columns as u32],
        &[from, to],
        [
            from.columns.div_ceil(16) as u32,
            from.rows.div_ceil(16) as u32,
            1,
        ],
    )
}

/// Quantizes gradients row by row to `levels`, whole numbers where there is an encoding, each row worth its `units`.
pub(crate) fn quantize_gradients(
    gpu: &Gpu,
    quantizer: GradientQuantizer,
    gradient: &Floats,
    chances: Option<&Floats>,
    levels: &Floats,
    units: &Floats,
) -> Pass {
    let program = Program {
        name: "quantize_gradients",
        constants: constant("BITS", usize::from(quantizer.bits.get()))
            + &constant("IS_LOGARITHMIC", quantizer.levels == Levels::Logarithmic)
            + &constant("IS_STOCHASTIC", chances.is_some())
            + &constant("IN_UNITS", quantizer.encoding().is_some()),
        sources: &[shader!("rounding"), shader!("quantize_gradients")],
    };
    let largest = if quantizer.bits.is_float() {
        1.0
    } else {
        quantizer.largest()
    };
    gpu.pass(
        &program,
        &[
            gradient.rows as u32,
            gradient.columns as u32,
            largest.to_bits(),
        ],
        &[gradient, chances.unwrap_or(gradient), levels, units],
        linear(gradient.rows, 1),
    )
}

/// What all passes of a training step share.
pub(crate) struct StepBuffers {
    /// What changes from step to step; the shaders' `Step`.
    pub step: Buffer,
    /// Where and when training failed.
    pub failed: Buffer,
}

/// The buffers of a layer's batch normalization.
pub(crate) struct NormBuffers<'a> {
    pub normalization: Normalization,
    pub gamma: &'a Buffer,
    pub beta: &'a Buffer,
    pub running: [&'a Buffer; 2],
    /// Mean and 1 / deviation of each unit over the batch.
    pub statistics: &'a Buffer,
    /// x̂, `[batch, units]`.
    pub normalized: &'a Floats,
}

impl NormBuffers<'_> {
    fn constants(&self) -> String {
        constant(
            "IS_SHIFT",
            self.normalization == Normalization::ShiftBatchNorm,
        )
    }

    /// Normalizes `outputs`, the sums, in place.
    pub fn forward(
        &self,
        gpu: &Gpu,
        shared: &StepBuffers,
        outputs: &Floats,
        failure: u32,
    ) -> [Pass; 2] {
        let Floats {
            rows: batch,
            columns: units,
            ..
        } = *outputs;
        let statistics = Program {
            name: "batch_statistics",
            constants: self.constants(),
            sources: &[
                shader!("rounding"),
                shader!("batch_norm"),
                shader!("step"),
                shader!("failure"),
                shader!("batch_statistics"),
            ],
        };
        let normalize = Program {
            name: "normalize",
            constants: self.constants(),
            sources: &[
                shader!("rounding"),
                shader!("batch_norm"),
                shader!("normalize"),
            ],
        };
        let share = self.normalization.running_share();
        let [running_mean, running_variance] = self.running;
        [
            gpu.pass(
                &statistics,
                &[batch as u32, units as u32, share.to_bits(), failure],
                &[
                    &shared.step,
                    &shared.failed,
                    outputs,
                    self.statistics,
                    running_mean,
                    running_variance,
                ],
                [units.div_ceil(64) as u32, 1, 1],
            ),
            gpu.pass(
                &normalize,
                &[outputs.count() as u32, units as u32],
                &[
                    outputs,
                    self.normalized,
                    self.statistics,
                    self.gamma,
                    self.beta,
                ],
                linear(outputs.count(), 256),
            ),
        ]
    }

    /// Turns `gradient`, that to the outputs, into that to the sums, and finds those `to` gamma and beta. Where `hidden`,
    /// with what was left out of them, if anything, the gradient is one to the quantized outputs.
    pub fn backward(
        &self,
        (gpu, shared): (&Gpu, &StepBuffers),
        outputs: &Floats,
        hidden: Option<Option<&GpuDropout>>,
        gradient: &Floats,
        to: [&Buffer; 2],
        failures: [u32; 2],
    ) -> [Pass; 2] {
        let dropout = hidden.flatten();
        let Floats {
            rows: batch,
            columns: units,
            ..
        } = *gradient;
        let gradients = Program {
            name: "batch_norm_gradients",
            constants: constant("IS_HIDDEN", hidden.is_some())
                + &constant("HAS_DROPOUT", dropout.is_some()),
            sources: &[
                shader!("step"),
                shader!("failure"),
                shader!("batch_norm_gradients"),
            ],
        };
        let to_sums = Program {
            name: "gradient_to_sums",
            constants: self.constants(),
            sources: &[
                shader!("rounding"),
                shader!("batch_norm"),
                shader!("step"),
                shader!("failure"),
                shader!("gradient_to_sums"),
            ],
        };
        let share = dropout.map_or(0.0, |dropout| dropout.share);
        let scale = dropout.map_or(1.0, GpuDropout::scale);
        let drop_chances = dropout.map_or(outputs, |dropout| &dropout.chances);
        let [to_gamma, to_beta] = to;
        [
            gpu.pass(
                &gradients,
                &[
                    batch as u32,
                    units as u32,
                    share.to_bits(),
                    scale.to_bits(),
                    failures[0],
                ],
                &[
                    &shared.step,
                    &shared.failed,
                    outputs,
                    self.normalized,
                    drop_chances,
                    gradient,
                    to_gamma,
                    to_beta,
                ],
                [units.div_ceil(64) as u32, 1, 1],
            ),
            gpu.pass(
                &to_sums,
                &[batch as u32, units as u32, failures[1]],
                &[
                    &shared.step,
                    &shared.failed,
                    self.normalized,
                    self.statistics,
                    self.gamma,
                    to_gamma,
                    to_beta,
                    gradient,
                ],
                linear(gradient.count(), 256),
            ),
        ]
    }
}

/// The loss of `logits`, its gradient, and the metrics of the step.
pub(crate) fn loss(
    (gpu, shared): (&Gpu, &StepBuffers),
    loss: Loss,
    logits: &Floats,
    labels: &Buffer,
    gradient: &Floats,
    [outcomes, metrics]: [&Buffer; 2],
    failure: u32,
) -> [Pass; 2] {
    let batch = logits.rows;
    let of_images = Program {
        name: "loss",
        constants: constant("CLASSES", logits.columns)
            + &constant("IS_SQUARED_HINGE", loss == Loss::SquaredHinge),
        sources: &[shader!("loss")],
    };
    let of_batch = Program {
        name: "metrics",
        constants: String::new(),
        sources: &[shader!("step"), shader!("failure"), shader!("metrics")],
    };
    [
        gpu.pass(
            &of_images,
            &[batch as u32],
            &[logits, labels, gradient, outcomes],
            [batch.div_ceil(64) as u32, 1, 1],
        ),
        gpu.pass(
            &of_batch,
            &[batch as u32, failure],
            &[&shared.step, &shared.failed, outcomes, metrics],
            [1, 1, 1],
        ),
    ]
}

/// Moves a parameter, its numbers and its optimizer's means, along its gradient.
pub(crate) fn optimize(
    (gpu, shared): (&Gpu, &StepBuffers),
    optimizer: Optimizer,
    (scale, limit): (f32, f32),
    gradient: &Floats,
    parameter: [&Floats; 3],
    failure: u32,
) -> Pass {
    const NAMES: [&str; 4] = ["SGD", "ADAM", "ADAMAX", "SHIFT_ADAMAX"];
    let number: usize = match optimizer {
        Optimizer::Sgd { .. } => 0,
        Optimizer::Adam => 1,
        Optimizer::AdaMax => 2,
        Optimizer::ShiftAdaMax => 3,
    };
    let names = NAMES.into_iter().zip(0..);
    let names: String = names
        .map(|(name, number): (_, usize)| constant(name, number))
        .collect();
    let program = Program {
        name: "optimizer",
        constants: names + &constant("OPTIMIZER", number),
        sources: &[
            shader!("rounding"),
            shader!("step"),
            shader!("failure"),
            shader!("optimizer"),
        ],
    };
    let count = gradient.count();
    let (beta1, beta2) = optimizer.betas();
    let [values, momentum, variance] = parameter;
    gpu.pass(
        &program,
        &[
            count as u32,
            scale.to_bits(),
            limit.to_bits(),
            0,
            beta1.to_bits(),
            beta2.to_bits(),
            failure,
        ],
        &[
            &shared.step,
            &shared.failed,
            gradient,
            values,
            momentum,
            variance,
        ],
        linear(count, 256),
    )
}

/// The affine map of each unit on `outputs`, in place.
pub(crate) fn affine(gpu: &Gpu, map: &Buffer, outputs: &Floats) -> Pass {
    let program = Program {
        name: "edge",
        constants: String::new(),
        sources: &[shader!("edge")],
    };
    gpu.pass(
        &program,
        &[outputs.count() as u32, outputs.columns as u32],
        &[map, outputs],
        linear(outputs.count(), 256),
    )
}
