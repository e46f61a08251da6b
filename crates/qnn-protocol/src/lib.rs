//! The messages between the page and its engine: plain serde types, no logic.
//! Each travels by structured clone: `"Train"`, or `{ Look: { network: 0, view: "Digits" } }`; bytes travel as `Uint8Array`.

pub use qnn_core::cost;
pub use qnn_core::data::{Drawing, Point, Stroke};
pub use qnn_core::kernels::{Choice, Method};
pub use qnn_core::layers::ProductKind;
pub use qnn_core::link;
pub use qnn_core::measure::{
    GpuReport, ProductKernel, Subject, Summary, TrainingSpeed, Trial, TrialReport,
};
pub use qnn_core::spec;
pub use qnn_core::tune;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use spec::NetworkSpec;
use tune::Tuning;

/// Networks that train side by side, at most.
pub const MAX_NETWORKS: usize = 5;

/// Which network of the race; the page gives the numbers.
pub type NetworkId = u32;

/// What the page asks of the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ToEngine {
    /// Sets the spec of a network, or adds one. Where the hidden layers and the seed are those that it has, what was
    /// learned stays and training goes on under the new settings; else a new network is made.
    Configure {
        #[serde(default)]
        network: NetworkId,
        spec: NetworkSpec,
    },
    /// Takes a network out of the race.
    Remove { network: NetworkId },
    /// Trains all networks until `Pause`, on the same batches: the one that is behind comes next.
    Train,
    /// Stops after the steps under way.
    Pause,
    /// Trains every network one step, then pauses.
    Step,
    /// Forgets what was learned: new networks of the present specs.
    Reset,
    /// What the visitor looks at: sent now, and again as the network learns.
    Look {
        #[serde(default)]
        network: NetworkId,
        view: View,
    },
    /// Loads data and goes on with it; the present data stays until the new is whole.
    UseData { source: DataSource },
    /// What the visitor has drawn: pen strokes of points (x, y, width of the pen), the pad being the unit square with y
    /// pointing down, 1 the usual width. Answered by `Answer`, again and again while the network learns, until it changes.
    Draw { strokes: Vec<Stroke> },
    /// The visitor's own drawings: they come among the training images from now on, or are all there is where the data are
    /// `Drawings`. New classes begin new networks.
    UseDrawings { drawings: Vec<Drawing> },
    /// Asks for a checkpoint of every network as it stands; the last one is followed by `Saved`.
    Save,
    /// Goes on from a `Checkpoint`, in a network that there is or in a new one.
    Restore {
        #[serde(default)]
        network: NetworkId,
        #[serde(with = "serde_bytes")]
        checkpoint: Vec<u8>,
    },
    /// Takes this kernel for all products of integers that it can compute; `None` takes the fastest for each.
    ForceKernel { method: Option<Method> },
    /// Trains on the GPU, or on the processor again; what was learned stays. Answered by `Backend`, and by `Gpu` where the
    /// GPU was not there any more.
    UseGpu { wanted: bool },
    /// Compares the GPU's kernels as the paper does, beside whatever else is done; answered by `Comparing` and then by
    /// `Compared`.
    CompareGpu,
    /// Ends that.
    CancelComparison,
    /// Asks for the names of all kernels; answered by `Kernels`.
    ListKernels,
    /// Times something once more, for `milliseconds` or more; answered by `Measured`. What is to be timed again is kept ready.
    Measure {
        subject: Subject,
        milliseconds: f64,
        #[serde(default)]
        again: bool,
    },
}

/// What there is to see of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum View {
    /// Test images and their answers: `TestStrip`.
    #[default]
    Digits,
    /// A unit of a layer, both counted from 0: `Bits`.
    Bits { layer: u32, unit: u32 },
    /// The images that were read wrongly with the most confidence, or those of one class that got one answer: `Mistakes`.
    Mistakes { cell: Option<(u8, u8)> },
    /// None of these.
    Nothing,
}

/// Where images come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum DataSource {
    /// Digits drawn by the program, endless.
    Procedural,
    /// The four MNIST files: beside the page, else from a public mirror.
    Mnist,
    /// The visitor's drawings alone, those of `UseDrawings`.
    Drawings,
    /// Images of the visitor's files, as the importer gives them.
    Own(Box<OwnImages>),
}

/// Images of a visitor's files, ready to train on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnImages {
    /// "your files", or the name of a set whose checksums they have.
    pub name: String,
    /// The names of the classes.
    pub classes: Vec<String>,
    pub train: ImageSet,
    /// Of the same size.
    pub test: ImageSet,
}

/// Images of one size with a label each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImageSet {
    pub width: u32,
    pub height: u32,
    /// `[images, height, width]`, 0 is paper, 255 is ink.
    pub pixels: Pixels,
    /// `[images]`, each the place of a class.
    pub labels: ByteBuf,
}

/// Many bytes. The importer gives them as they are; the page, which only hands them on, as an address to fetch them from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Pixels {
    Bytes(ByteBuf),
    Address(String),
}

/// What the importer tells the page of a visitor's files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromImporter {
    /// How much is done, 0 to 1.
    Progress { fraction: f32 },
    /// All of it: what it is, and the images themselves.
    Read {
        preview: Preview,
        images: Box<OwnImages>,
    },
    /// A network: what it is, and what an engine goes on from.
    Network {
        preview: Box<NetworkPreview>,
        #[serde(with = "serde_bytes")]
        checkpoint: Vec<u8>,
    },
    /// The file of a network that was asked for.
    Written { file: ByteBuf },
    /// They cannot be used: why not, in a sentence for the visitor.
    Refused { message: String },
    /// The browser could not read this file.
    Unreadable { name: String },
}

/// What a network can be taken away as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkFormat {
    /// All that training goes on from.
    Training,
    /// What answers, as integers.
    Packed,
    /// What answers, as an ONNX graph: of integers where it can be packed, else of floats.
    Onnx,
    /// What answers, as one file of Rust.
    Rust,
    /// What answers, as one file of C.
    C,
}

/// A network in a visitor's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkPreview {
    pub spec: NetworkSpec,
    /// Pixels of an image.
    pub inputs: u32,
    pub classes: u32,
    pub origin: NetworkOrigin,
}

/// What of a network a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkOrigin {
    /// All that training goes on from, after so many steps.
    Training { step: u32 },
    /// What answers, alone.
    Packed,
    /// A network of another program's, of floats.
    Foreign,
}

/// What is in a visitor's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub classes: Vec<ClassPreview>,
    /// Sentences about what was done to the files.
    pub notes: Vec<String>,
}

/// A class of a visitor's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassPreview {
    pub name: String,
    /// Images to train on, and to test with.
    pub train: u32,
    pub test: u32,
    /// A few of the former, `[height, width]` each.
    pub examples: Vec<ByteBuf>,
}

/// What the engine tells the page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum FromEngine {
    /// The engine listens. Sent once, before anything else.
    Ready {
        /// Threads that train; 1 in the build without threads.
        threads: u32,
    },
    /// The data now in use.
    DataReady { data: DataSummary },
    /// How the kernels raced on the shape of the present network, and which one is forced, if one is. Sent after a race
    /// and after `ForceKernel`.
    Tuned {
        tuning: Tuning,
        forced: Option<Method>,
    },
    /// Data on its way: what is being done, and how much of it, 0 to 1.
    DataProgress { what: String, fraction: f32 },
    /// Something asked for could not be done, and all is as it was before; or training diverged, and has paused. A
    /// sentence or two for the visitor.
    Refused { message: String },
    /// The settings asked for make no sense or too large a network, and those of `spec` stay in force, if there is such a
    /// network. A sentence for the visitor.
    SpecRefused {
        network: NetworkId,
        message: String,
        spec: Option<NetworkSpec>,
    },
    /// The kernel asked for needs more memory than there is, and the others stay in use. A sentence for the visitor.
    KernelRefused { message: String },
    /// What GPU there is; sent once it is known, and when that changes.
    Gpu { state: GpuState },
    /// What trains the network. Sent when that changes; unasked for, with a sentence for the visitor.
    Backend {
        /// Whether the network is to train on the GPU: until it does, it trains on the processor.
        wants_gpu: bool,
        on_gpu: bool,
        message: Option<String>,
    },
    /// This build of the engine has no GPU: another one has.
    NeedsGpuBuild,
    /// How far the comparison is, 0 to 1.
    Comparing { what: String, fraction: f32 },
    /// The comparison is over: `None` where it was cancelled; or, in a sentence for the visitor, why it cannot be.
    Compared {
        report: Option<GpuReport>,
        problem: Option<String>,
    },
    /// A network stands at `step`: new (0), restored, or paused.
    State {
        network: NetworkId,
        training: bool,
        step: u32,
        epoch: f32,
    },
    /// Steps trained since the last such message; at most one message a frame.
    Progress {
        network: NetworkId,
        steps: Vec<StepPoint>,
        /// Epochs trained, with the fraction of the present one.
        epoch: f32,
        /// Images that this network alone trains a second, over its last second or so, tests not counted.
        images_per_second: f32,
        /// Seconds that its training has taken so far, tests not counted.
        seconds: f32,
    },
    /// The whole test set was answered.
    Evaluated {
        network: NetworkId,
        step: u32,
        epoch: f32,
        loss: f32,
        /// Share answered rightly, 0 to 1.
        accuracy: f32,
        /// Seconds of training up to there.
        seconds: f32,
        /// Images of each class and answer, `[class, answer]`.
        confusion: Vec<u32>,
    },
    /// A few test images with a network's answers.
    TestStrip {
        network: NetworkId,
        width: u32,
        height: u32,
        digits: Vec<TestDigit>,
    },
    /// Images that a network read wrongly at its last test, or those of a cell.
    Mistakes {
        network: NetworkId,
        cell: Option<(u8, u8)>,
        width: u32,
        height: u32,
        digits: Vec<TestDigit>,
    },
    /// What a unit of a network is made of, and its layer.
    Bits {
        network: NetworkId,
        bits: Box<UnitBits>,
    },
    /// A network's answer to what was drawn; `None` for an empty pad.
    Answer {
        network: NetworkId,
        answer: Option<DrawnAnswer>,
    },
    /// All that is needed to go on with a network, in this engine or another; sent after every evaluation, but for networks
    /// of over four million weights.
    Checkpoint {
        network: NetworkId,
        #[serde(with = "serde_bytes")]
        checkpoint: Vec<u8>,
    },
    /// All checkpoints that `Save` asked for have been sent.
    Saved,
    /// The kernels of this build on this machine, each operation's from the reference to the fastest.
    Kernels { names: Vec<String> },
    /// What a run of the subject took, on average; `None` where it cannot be timed.
    Measured {
        milliseconds: Option<f64>,
        /// Multiply-accumulates of a run, where it is a product; bytes, where memory is read.
        macs: f64,
    },
}

/// The GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum GpuState {
    /// The browser has no WebGPU here: only pages from secure addresses have.
    NotSecure,
    /// The browser has no WebGPU, or it is switched off.
    NoWebGpu,
    /// The browser has WebGPU and no adapter for it: there is none, or it is blocked. With the reason.
    NoAdapter { reason: String },
    Present {
        adapter: String,
        /// Whether it is a program on the processor, which is slower than the engine itself.
        is_software: bool,
        /// Known after the race of tiles, which a software adapter is spared.
        speeds: Option<GpuSpeeds>,
    },
}

/// What the GPU's products were measured to do, in 10^9 multiply-accumulates a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuSpeeds {
    /// Of signs in bit planes, and of floats in tiles.
    pub planes: f64,
    pub floats: f64,
    /// Of the same inner loops where nothing is fetched.
    pub limits: [f64; 2],
}

/// What is known of the data in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataSummary {
    /// "procedural digits", "MNIST" (its checksums agree), "Fashion-MNIST", "your files" or "your drawings".
    pub name: String,
    /// Training images; `None` where they are endless.
    pub train_images: Option<u32>,
    pub test_images: u32,
    pub width: u32,
    pub height: u32,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The visitor's drawings among the training images.
    pub drawings: u32,
}

/// One training step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// Counts from 1.
    pub step: u32,
    pub loss: f32,
    /// Share of the batch answered rightly, 0 to 1.
    pub accuracy: f32,
}

/// A test image and what the network says of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TestDigit {
    /// `[height, width]`, 0 is paper, 255 is ink.
    pub pixels: ByteBuf,
    pub label: u8,
    pub answer: u8,
    /// The share, 0 to 1, that the network gives its answer.
    pub share: f32,
}

/// A unit of a layer, and what there is to say of the layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitBits {
    pub step: u32,
    pub layer: u32,
    pub unit: u32,
    /// Units of every layer.
    pub units: Vec<u32>,
    /// The unit's latent weights, `[inputs]`, and what they are quantized to.
    pub latent: Vec<f32>,
    pub weights: Vec<f32>,
    /// Whose sign changed in the last step, of this unit by their numbers, and how many in each layer.
    pub flipped: Vec<u32>,
    pub flips: Vec<u32>,
    /// Weights of each layer.
    pub layer_weights: Vec<u32>,
    /// The layer's latent weights in bins of equal width from -1 to 1, and how many are at the clip, -1 or 1.
    pub histogram: Vec<u32>,
    pub clipped: u32,
    /// Different words of so many neighbouring weights' signs in the layer, and words in all.
    pub words: Vec<DistinctWords>,
    /// What the network makes of the drawing, or of the first test image: the activations of each hidden layer, and the
    /// logits.
    pub activations: Vec<Vec<f32>>,
    /// Whether that image is the drawing.
    pub of_drawing: bool,
    /// The inputs of the unit, `[inputs]`: the pixels from 0 to 1, or the layer below's activations.
    pub inputs: Vec<f32>,
    /// Where the unit's sums become +1, where its activations are signs of sums of integers.
    pub threshold: Option<SumThreshold>,
}

/// How often the signs of neighbouring weights repeat.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DistinctWords {
    pub bits: u32,
    pub distinct: u32,
    pub words: u32,
}

/// The smallest sum with the sign `above`; smaller ones have the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SumThreshold {
    pub sum: i32,
    pub least: i32,
    pub above: i32,
}

/// The answer to a drawing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrawnAnswer {
    /// The drawing as the network sees it: scaled and centred as MNIST does it, `[height, width]`.
    pub pixels: ByteBuf,
    pub answer: u8,
    /// A share for each class, summing to 1: the softmax of the logits.
    pub shares: Vec<f32>,
}
