//! `GpuNetwork`: a packed network that answers on the GPU, all layers in one submission; only the logits come back.

use qnn_core::bits::Encoding;
use qnn_core::layers::Operand;
use qnn_core::measure::ProductKernel;
use qnn_core::packed::{Edge, PackedLayer, PackedNetwork, Threshold};

use crate::device::{Buffer, Gpu, GpuError};
use crate::passes::{self, Floats, Pass, Planes};
use crate::products::{Side, Store, Target, in_planes, product_of_floats, product_of_planes};
use crate::timer::{Now, Timer, TimestampWrites};

/// A network's passes for a number of images; more of them are answered in several submissions.
pub struct GpuNetwork {
    images: usize,
    inputs: usize,
    pixels: Buffer,
    logits: Floats,
    passes: Vec<Pass>,
}

/// What goes into a layer.
enum Input {
    Planes(Planes),
    /// Whole numbers where there is an encoding.
    Levels(Floats),
}

impl GpuNetwork {
    /// The passes of `network` for `images` at a time. All products are done by `kernel`, but those of numbers that are no
    /// small integers are never done by planes.
    pub async fn new(
        gpu: &Gpu,
        network: &PackedNetwork,
        images: usize,
        kernel: ProductKernel,
    ) -> Result<GpuNetwork, GpuError> {
        gpu.checked("the network", || {
            GpuNetwork::build(gpu, network, images, kernel)
        })
        .await
    }

    fn build(
        gpu: &Gpu,
        network: &PackedNetwork,
        images: usize,
        kernel: ProductKernel,
    ) -> Result<GpuNetwork, GpuError> {
        let inputs = network.inputs();
        let pixels = gpu.zeros("the pixels", (images * inputs).div_ceil(4))?;
        let levels = Floats::new(gpu, "the pixels", images, inputs)?;
        let mut passes = vec![passes::pixels(gpu, &pixels, None, &levels)];
        let mut input = Input::Levels(levels);
        let layers = network.layers();
        for (index, layer) in layers.iter().enumerate() {
            let next = layers.get(index + 1);
            input = layer_passes(gpu, layer, next, input, images, kernel, &mut passes)?;
        }
        let Input::Levels(logits) = input else {
            unreachable!("the last layer gives numbers")
        };
        Ok(GpuNetwork {
            images,
            inputs,
            pixels,
            logits,
            passes,
        })
    }

    /// The logits of images, `[images, classes]`, from their pixels, in as many submissions as it takes.
    pub async fn logits(&self, gpu: &Gpu, pixels: &[u8]) -> Result<Vec<f32>, GpuError> {
        let all = self.upload(gpu, pixels).await?;
        self.submit(gpu, &all, &|_, _| None);
        self.read(gpu, &all, pixels).await
    }

    /// Those logits, and the milliseconds from the pixels on the device to the logits there.
    pub async fn timed_logits(
        &self,
        gpu: &Gpu,
        pixels: &[u8],
        now: Now<'_>,
    ) -> Result<(Vec<f32>, f64), GpuError> {
        let all = self.upload(gpu, pixels).await?;
        let timer = Timer::new(gpu, now);
        let milliseconds = timer.time(|writes| self.submit(gpu, &all, writes)).await?;
        Ok((self.read(gpu, &all, pixels).await?, milliseconds))
    }

    /// Brings all pixels to the device, piece by piece, each of them what a submission takes.
    async fn upload(&self, gpu: &Gpu, pixels: &[u8]) -> Result<AllImages, GpuError> {
        let pieces = pixels.chunks(self.images * self.inputs);
        let made = gpu.checked("the images", || {
            let logits = gpu.zeros(
                "the logits",
                pieces.len() * self.images * self.logits.columns,
            )?;
            let pixels = pieces.map(|piece| gpu.filled("the pixels", piece));
            Ok(AllImages {
                pixels: pixels.collect::<Result<_, _>>()?,
                logits,
            })
        });
        made.await
    }

    /// Submits the passes for all images.
    fn submit(&self, gpu: &Gpu, all: &AllImages, writes: &TimestampWrites<'_>) {
        let last = all.pixels.len() - 1;
        let bytes = 4 * (self.images * self.logits.columns) as u64;
        for (index, pixels) in all.pixels.iter().enumerate() {
            gpu.submit([], None, |encoder| {
                let length = pixels.size().min(self.pixels.size());
                encoder.copy_buffer_to_buffer(pixels, 0, &self.pixels, 0, length);
            });
            let writes = writes(index == 0, index == last);
            gpu.submit(&self.passes, writes, |encoder| {
                let to = index as u64 * bytes;
                encoder.copy_buffer_to_buffer(&self.logits.buffer, 0, &all.logits, to, bytes);
            });
        }
    }

    /// The logits of the images that there are: the last submission may have been filled up.
    async fn read(&self, gpu: &Gpu, all: &AllImages, pixels: &[u8]) -> Result<Vec<f32>, GpuError> {
        let mut logits = gpu.read(&all.logits).await?;
        logits.truncate(pixels.len() / self.inputs * self.logits.columns);
        Ok(logits)
    }
}

/// Images on the device: the pixels of each submission, and the logits of all.
struct AllImages {
    pixels: Vec<Buffer>,
    logits: Buffer,
}

/// Rows of so many numbers as columns.
fn transposed(numbers: &[f32], columns: usize) -> Vec<f32> {
    let places = (0..columns).flat_map(|column| (column..numbers.len()).step_by(columns));
    places.map(|place| numbers[place]).collect()
}

/// What the product of a layer gives.
enum Output<'a> {
    Signs(&'a [Threshold], Planes),
    Sums(Floats),
}

/// Thresholds as the shaders take them.
fn threshold_buffer(gpu: &Gpu, thresholds: &[Threshold]) -> Result<Buffer, GpuError> {
    let pairs: Vec<[i32; 2]> = thresholds
        .iter()
        .map(|threshold| [threshold.least, i32::from(threshold.above)])
        .collect();
    gpu.filled("thresholds", &pairs)
}

/// The encodings of a layer's product, where that is one of bit planes.
fn plane_encodings(kernel: ProductKernel, layer: &PackedLayer) -> Option<(Encoding, Encoding)> {
    in_planes(layer.input_encoding(), layer.weights().encoding())
        .filter(|_| kernel == ProductKernel::Planes)
}

/// Adds the passes of a layer; what goes into the layer above.
fn layer_passes(
    gpu: &Gpu,
    layer: &PackedLayer,
    next: Option<&PackedLayer>,
    input: Input,
    images: usize,
    kernel: ProductKernel,
    passes: &mut Vec<Pass>,
) -> Result<Input, GpuError> {
    let weights: &Operand = layer.weights();
    let (units, inputs) = (weights.rows(), weights.columns());
    let encodings = plane_encodings(kernel, layer);
    let input = match (encodings, input) {
        (Some((a, b)), Input::Levels(levels)) => {
            let planes = Planes::new(gpu, "the inputs", a, images, inputs)?;
            passes.extend(planes.pack(gpu, &levels, false, b));
            Input::Planes(planes)
        }
        (_, input) => input,
    };
    // Signs that the next layer takes as planes are packed as the sums leave the product.
    let next_planes = next.is_some_and(|next| plane_encodings(kernel, next).is_some());
    let output = match (layer.edge(), &input) {
        (Edge::Signs(thresholds), Input::Planes(_)) if next_planes => {
            let signs = Planes::new(gpu, "the signs", Encoding::Sign, images, units)?;
            Output::Signs(thresholds, signs)
        }
        _ => Output::Sums(Floats::new(gpu, "the sums", images, units)?),
    };
    let unit = weights.units().first().copied().unwrap_or(1.0);
    let input_unit = layer.input_encoding().map_or(1.0, |_| layer.input_step());
    let input_units = gpu.filled("units", &vec![input_unit; images])?;
    let weight_units = gpu.filled("units", &vec![unit; units])?;
    let levels = weights.levels();
    for piece in gpu.pieces(units, inputs) {
        let of_piece = &levels[piece.start * inputs..piece.end * inputs];
        let target = |out| Target {
            out,
            first_column: piece.start,
            adds: false,
        };
        passes.push(match (&input, encodings) {
            (Input::Planes(input), Some((a, b))) => {
                let of_piece = Floats::of(gpu, "the weights", inputs, of_piece)?;
                let packed = Planes::new(gpu, "the weights", b, piece.len(), inputs)?;
                // Once is enough, and done before anything else is submitted.
                let pack: Vec<Pass> = packed.pack(gpu, &of_piece, false, a).collect();
                gpu.submit(&pack, None, |_| ());
                match &output {
                    Output::Signs(thresholds, out) => {
                        let thresholds = threshold_buffer(gpu, &thresholds[piece.clone()])?;
                        let store = Store::Signs {
                            thresholds: &thresholds,
                            out,
                            first_column: piece.start,
                        };
                        product_of_planes(gpu, input, &packed, store)
                    }
                    Output::Sums(sums) => {
                        let store = Store::Numbers {
                            units: [&input_units, &weight_units],
                            target: target(sums),
                        };
                        product_of_planes(gpu, input, &packed, store)
                    }
                }
            }
            (Input::Levels(levels), _) => {
                let Output::Sums(sums) = &output else {
                    unreachable!("only sums of planes are made signs at once")
                };
                // Term by term, so that neighbouring threads, whose units are neighbours, read neighbouring numbers.
                let of_piece = transposed(of_piece, inputs);
                let of_piece = Floats::of(gpu, "the weights", piece.len(), &of_piece)?;
                let a = Side {
                    numbers: levels,
                    is_transposed: false,
                    units: &input_units,
                };
                let b = Side {
                    numbers: &of_piece,
                    is_transposed: true,
                    units: &weight_units,
                };
                let kernel = match kernel {
                    ProductKernel::Planes => ProductKernel::Tiled,
                    other => other,
                };
                product_of_floats(gpu, kernel, a, b, target(sums))
            }
            (Input::Planes(_), None) => unreachable!("signs are only packed for planes"),
        });
    }
    let sums = match output {
        Output::Signs(_, signs) => return Ok(Input::Planes(signs)),
        Output::Sums(sums) => sums,
    };
    let (map, activations) = match layer.edge() {
        Edge::Signs(thresholds) => {
            // With thresholds in the place of zero: the sign of `above` (sum - least), half a unit off so that it is exact.
            let worth = input_unit * unit;
            let map: Vec<[f32; 2]> = thresholds
                .iter()
                .map(|threshold| {
                    let above = f32::from(threshold.above);
                    [above / worth, -above * (threshold.least as f32 - 0.5)]
                })
                .collect();
            (map, next.and(Some(SIGN)))
        }
        Edge::Affine {
            scale,
            shift,
            activations,
        } => {
            let map = scale.iter().zip(shift);
            (
                map.map(|(scale, shift)| [*scale, *shift]).collect(),
                *activations,
            )
        }
    };
    let map = gpu.filled("affine maps", &map)?;
    passes.push(passes::affine(gpu, &map, &sums));
    let Some(quantizer) = activations else {
        return Ok(Input::Levels(sums));
    };
    let levels = Floats::new(gpu, "the activations", images, units)?;
    passes.push(passes::quantize(gpu, quantizer, &sums, None, None, &levels));
    Ok(Input::Levels(levels))
}

/// What makes signs.
const SIGN: qnn_core::quant::Quantizer = qnn_core::quant::Quantizer {
    bits: qnn_core::spec::Bits::ONE,
    levels: qnn_core::spec::Levels::Linear,
    rounding: qnn_core::spec::Rounding::Deterministic,
};
