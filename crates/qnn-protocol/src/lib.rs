//! The messages between the page and its engine: plain serde types, no logic.
//! Each travels as one structured-clone object with a `type` field; bytes travel as `Uint8Array`.

pub use qnn_core::cost;
pub use qnn_core::kernels::{Choice, Method};
pub use qnn_core::layers::ProductKind;
pub use qnn_core::measure::{
    GpuReport, ProductKernel, Subject, Summary, TrainingSpeed, Trial, TrialReport,
};
pub use qnn_core::spec;
pub use qnn_core::tune;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use spec::NetworkSpec;
use tune::Tuning;

/// What the page asks of the engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum ToEngine {
    /// Sets the spec. Where its hidden layers and seed are those of the present network, what was learned stays
    /// and training goes on under the new settings; else a new network is made.
    Configure { spec: NetworkSpec },
    /// Trains until `Pause`.
    Train,
    /// Stops after the step under way.
    Pause,
    /// Trains one step, then pauses.
    Step,
    /// Forgets what was learned: a new network of the present spec.
    Reset,
    /// Loads data and goes on with it; the present data stays until the new is whole.
    UseData { source: DataSource },
    /// What the visitor has drawn: pen strokes of (x, y) points, the pad being the unit square with y
    /// pointing down. Answered by `Answer`, again and again while the network learns, until it changes.
    Draw { strokes: Vec<Vec<(f32, f32)>> },
    /// Goes on from a `Checkpoint` of an engine that died.
    Restore {
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
    /// Times something once more, for `milliseconds` or more; answered by `Measured`.
    Measure { subject: Subject, milliseconds: f64 },
}

/// Where images come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum DataSource {
    /// Digits drawn by the program, endless.
    Procedural,
    /// The four MNIST files: beside the page, else from a public mirror.
    Mnist,
    /// IDX files that the visitor dropped, gzipped or not, in any order.
    Files { files: Vec<NamedFile> },
}

/// A file the visitor dropped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamedFile {
    pub name: String,
    pub bytes: ByteBuf,
}

/// What the engine tells the page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
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
    /// The settings asked for make no sense or too large a network, and those of `spec` stay in force. A sentence for the
    /// visitor.
    SpecRefused { message: String, spec: NetworkSpec },
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
    /// How far the comparison is, 0 to 1.
    Comparing { what: String, fraction: f32 },
    /// The comparison is over: `None` where it was cancelled; or, in a sentence for the visitor, why it cannot be.
    Compared {
        report: Option<GpuReport>,
        problem: Option<String>,
    },
    /// A network stands at `step`: new (0), restored, or paused.
    State {
        training: bool,
        step: u32,
        epoch: f32,
    },
    /// Steps trained since the last such message; at most one message a frame.
    Progress {
        steps: Vec<StepPoint>,
        /// Epochs trained, with the fraction of the present one.
        epoch: f32,
        /// Images trained a second over the last second or so, evaluation not counted.
        images_per_second: f32,
    },
    /// The whole test set was answered.
    Evaluated {
        step: u32,
        epoch: f32,
        loss: f32,
        /// Share answered rightly, 0 to 1.
        accuracy: f32,
    },
    /// A few test images with the present network's answers.
    TestStrip {
        width: u32,
        height: u32,
        digits: Vec<TestDigit>,
    },
    /// The present network's answer to what was drawn; `None` for an empty pad.
    Answer { answer: Option<DrawnAnswer> },
    /// All that is needed to go on after an engine's death; sent after every evaluation, but for networks of over
    /// four million weights.
    Checkpoint {
        #[serde(with = "serde_bytes")]
        checkpoint: Vec<u8>,
    },
    /// The kernels of this build on this machine, each operation's from the reference to the fastest.
    Kernels { names: Vec<String> },
    /// What a run of the subject took, on average; `None` where it cannot be timed.
    Measured {
        milliseconds: Option<f64>,
        /// Multiply-accumulates of a run, where it is a product.
        macs: f64,
    },
}

/// The GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
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
    /// "procedural digits", "MNIST" (its checksums agree), "Fashion-MNIST" or "your files".
    pub name: String,
    /// Training images; `None` where they are endless.
    pub train_images: Option<u32>,
    pub test_images: u32,
    pub width: u32,
    pub height: u32,
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
