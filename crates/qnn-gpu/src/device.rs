//! The device: what adapter there is and what it can do, pipelines compiled once, buffers, and errors for people. What is
//! computed is `passes`' business.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, Range};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::products::Tiles;

/// Rows that all pieces of a matrix but the last one are multiples of.
const PIECE_ROWS: u64 = 128;

/// Why the GPU is not used, in a sentence or two for the person who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    #[error("There is no GPU to compute on: {0}.")]
    Absent(String),
    #[error("The GPU {0} refuses to work: {1}.")]
    Refused(String, String),
    #[error("The GPU was lost: {0}.")]
    Lost(String),
    #[error("The GPU has too little memory for {what}: {problem}.")]
    OutOfMemory { what: String, problem: String },
    #[error(
        "{what} takes {bytes} bytes in one piece; this GPU allows {limit}. Choose a smaller network."
    )]
    TooLarge {
        what: String,
        bytes: u64,
        limit: u64,
    },
    #[error("The GPU does not take a program of ours: {0}.")]
    Program(String),
}

/// What is asked of an adapter.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What the adapter is called, where whoever asks knows better than wgpu: in a browser that tells nothing.
    pub name: Option<String>,
    /// The least that the standard allows, in the place of all that the adapter has: for tests.
    pub smallest_limits: bool,
    /// Bytes of a matrix above which it is worked on in pieces, fewer than the adapter allows: for tests.
    pub largest_piece: Option<u64>,
}

/// An open device. Not for several threads: it stays on the one that opened it.
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    name: Option<String>,
    largest_piece: Option<u64>,
    lost: Arc<Mutex<Option<String>>>,
    pipelines: RefCell<HashMap<String, wgpu::ComputePipeline>>,
    chosen: RefCell<Tiles>,
}

/// A program on the device: some files of WGSL, after constants that choose among what they can do.
pub(crate) struct Program<'a> {
    pub name: &'a str,
    pub constants: String,
    pub sources: &'a [&'a str],
}

/// A constant's line for [`Program`].
pub(crate) fn constant(name: &str, value: impl Constant) -> String {
    format!("const {name} = {};\n", value.text())
}

/// What a constant may be.
pub(crate) trait Constant {
    fn text(self) -> String;
}

impl Constant for usize {
    fn text(self) -> String {
        format!("{self}u")
    }
}

impl Constant for bool {
    fn text(self) -> String {
        self.to_string()
    }
}

/// Memory of the device. It is given back with the last who holds it: a browser's collector of garbage, which is all that would
/// do so otherwise, knows nothing of how much it is.
#[derive(Clone)]
pub(crate) struct Buffer(Rc<Owned>);

struct Owned(wgpu::Buffer);

impl Drop for Owned {
    fn drop(&mut self) {
        // What was submitted before is still done.
        self.0.destroy();
    }
}

impl From<wgpu::Buffer> for Buffer {
    fn from(buffer: wgpu::Buffer) -> Buffer {
        Buffer(Rc::new(Owned(buffer)))
    }
}

impl Deref for Buffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.0.0
    }
}

type ErrorFuture = Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;

/// What may have gone wrong on the device, on its way.
pub(crate) struct Errors {
    program: [ErrorFuture; 2],
    memory: ErrorFuture,
}

impl Errors {
    /// Waits for it; an error that was found while `what` was made.
    pub async fn found(self, gpu: &Gpu, what: &str) -> Result<(), GpuError> {
        let memory = self.memory.await;
        let mut program = None;
        for error in self.program {
            program = program.or(error.await);
        }
        match (memory, program) {
            (Some(problem), _) => Err(GpuError::OutOfMemory {
                what: what.into(),
                problem: problem.to_string(),
            }),
            (None, Some(problem)) => {
                let otherwise = || GpuError::Program(problem.to_string());
                Err(gpu.lost().unwrap_or_else(otherwise))
            }
            (None, None) => Ok(()),
        }
    }
}

impl Gpu {
    /// Opens the fastest adapter there is, a software one if need be.
    pub async fn open(request: Request) -> Result<Gpu, GpuError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::all(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..Default::default()
            })
            .await
            .map_err(|error| GpuError::Absent(error.to_string()))?;
        let info = adapter.get_info();
        let wanted = wgpu::Features::TIMESTAMP_QUERY;
        let (features, limits) = if request.smallest_limits {
            (wgpu::Features::empty(), wgpu::Limits::default())
        } else {
            (adapter.features() & wanted, adapter.limits())
        };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("qnn"),
                required_features: features,
                required_limits: limits,
                ..Default::default()
            })
            .await
            .map_err(|error| GpuError::Refused(info.name.clone(), error.to_string()))?;
        let lost = Arc::new(Mutex::new(None));
        let note = |lost: &Arc<Mutex<Option<String>>>, why: String| {
            if let Ok(mut lost) = lost.lock() {
                lost.get_or_insert(why);
            }
        };
        let on_loss = lost.clone();
        device.set_device_lost_callback(move |_, why| note(&on_loss, why));
        // An error that no scope caught: what was computed cannot be trusted, so the device counts as lost.
        let on_error = lost.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            note(&on_error, error.to_string());
        }));
        Ok(Gpu {
            device,
            queue,
            info,
            name: request.name,
            largest_piece: request.largest_piece,
            lost,
            pipelines: RefCell::default(),
            chosen: RefCell::default(),
        })
    }

    /// The adapter's name, as its driver gives it.
    pub fn name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let info = &self.info;
        let parts = [&info.name, &info.driver, &info.driver_info];
        let parts: Vec<&str> = parts
            .into_iter()
            .map(|part| part.trim())
            .filter(|part| !part.is_empty())
            .collect();
        if parts.is_empty() {
            return "an adapter without a name".into();
        }
        parts.join(", ")
    }

    /// Whether the adapter is a program on the processor, whose speed says nothing of a GPU's.
    pub fn is_software(&self) -> bool {
        let name = self.name().to_lowercase();
        self.info.device_type == wgpu::DeviceType::Cpu
            || ["swiftshader", "llvmpipe", "lavapipe", "basic render"]
                .iter()
                .any(|software| name.contains(software))
    }

    /// Whether passes can be timed on the device itself.
    pub fn has_timestamps(&self) -> bool {
        self.device
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Why the device is lost, if it is: nothing that it holds can be had any more.
    pub fn lost(&self) -> Option<GpuError> {
        let lost = self.lost.lock().ok()?;
        lost.clone().map(GpuError::Lost)
    }

    /// Makes the device lost, as a driver may do at any time: for tests.
    pub fn destroy(&self) {
        self.device.destroy();
        if let Ok(mut lost) = self.lost.lock() {
            lost.get_or_insert_with(|| "it was given up".into());
        }
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    pub(crate) fn limits(&self) -> wgpu::Limits {
        self.device.limits()
    }

    pub(crate) fn tiles(&self) -> Tiles {
        *self.chosen.borrow()
    }

    /// Takes these tiles for whatever is made on the device from now on.
    pub fn choose(&self, tiles: Tiles) {
        self.chosen.replace(tiles);
    }

    /// Does what makes buffers and pipelines, and asks what went wrong with them.
    pub(crate) fn scoped<T>(&self, make: impl FnOnce() -> T) -> (T, Errors) {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = make();
        // All at once: whoever else comes along while these are waited for has scopes, too.
        let program = [
            Box::pin(internal.pop()) as ErrorFuture,
            Box::pin(validation.pop()),
        ];
        let memory = Box::pin(memory.pop());
        (made, Errors { program, memory })
    }

    /// Does what makes buffers and pipelines, and says what went wrong with them.
    pub(crate) async fn checked<T>(
        &self,
        what: &str,
        make: impl FnOnce() -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let (made, errors) = self.scoped(make);
        errors.found(self, what).await?;
        made
    }

    /// A buffer of zeros for `count` numbers of four bytes, or what is too much about it.
    pub(crate) fn zeros(&self, what: &str, count: usize) -> Result<Buffer, GpuError> {
        self.buffer(what, count, self.limits().max_storage_buffer_binding_size)
    }

    /// The same, but for more numbers than a pass can be handed at once: they are worked on in [pieces](Self::pieces).
    pub(crate) fn large_zeros(&self, what: &str, count: usize) -> Result<Buffer, GpuError> {
        self.buffer(what, count, u64::MAX)
    }

    /// The rows of a matrix in pieces that a pass can be handed, each but the last one a multiple of 128 rows: so they begin where
    /// a binding may, and with whole words of bits.
    pub(crate) fn pieces(&self, rows: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
        let limit = self.limits().max_storage_buffer_binding_size;
        let largest = self.largest_piece.map_or(limit, |bytes| bytes.min(limit));
        let step = largest / (4 * columns.max(1) as u64) / PIECE_ROWS * PIECE_ROWS;
        let step = step.clamp(PIECE_ROWS, u64::from(u32::MAX)) as usize;
        (0..rows)
            .step_by(step)
            .map(move |first| first..rows.min(first.saturating_add(step)))
    }

    fn buffer(&self, what: &str, count: usize, limit: u64) -> Result<Buffer, GpuError> {
        let bytes = 4 * count.max(1).next_multiple_of(4) as u64;
        let limit = limit.min(self.limits().max_buffer_size);
        if bytes > limit {
            return Err(GpuError::TooLarge {
                what: what.into(),
                bytes,
                limit,
            });
        }
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Ok(buffer.into())
    }

    /// A buffer of these numbers, which may be [large](Self::large_zeros).
    pub(crate) fn filled<T: bytemuck::NoUninit>(
        &self,
        what: &str,
        numbers: &[T],
    ) -> Result<Buffer, GpuError> {
        let bytes: &[u8] = bytemuck::cast_slice(numbers);
        let buffer = self.large_zeros(what, bytes.len().div_ceil(4))?;
        self.write(&buffer, bytes);
        Ok(buffer)
    }

    /// Writes bytes to the beginning of a buffer, those after the last whole word with zeros behind them.
    pub(crate) fn write(&self, buffer: &Buffer, bytes: &[u8]) {
        let (whole, rest) = bytes.split_at(bytes.len() / 4 * 4);
        self.queue.write_buffer(buffer, 0, whole);
        if !rest.is_empty() {
            let mut word = [0; 4];
            word[..rest.len()].copy_from_slice(rest);
            self.queue.write_buffer(buffer, whole.len() as u64, &word);
        }
    }

    /// A uniform buffer of these words.
    pub(crate) fn uniform(&self, words: &[u32]) -> Buffer {
        let size = 4 * words.len().next_multiple_of(4) as u64;
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let buffer = Buffer::from(buffer);
        self.write(&buffer, bytemuck::cast_slice(words));
        buffer
    }

    /// The pipeline of a program, compiled when it is first asked for.
    pub(crate) fn pipeline(&self, program: &Program<'_>) -> wgpu::ComputePipeline {
        let text = format!("{}{}", program.constants, program.sources.concat());
        let mut pipelines = self.pipelines.borrow_mut();
        if let Some(pipeline) = pipelines.get(&text) {
            return pipeline.clone();
        }
        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(program.name),
                source: wgpu::ShaderSource::Wgsl(text.as_str().into()),
            });
        let pipeline = self
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(program.name),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: Default::default(),
                cache: None,
            });
        pipelines.insert(text, pipeline.clone());
        pipeline
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    fn gpu() -> Gpu {
        pollster::block_on(Gpu::open(Request::default())).expect("an adapter")
    }

    #[test]
    fn a_program_that_does_not_compile_is_told_and_the_device_works_on() {
        let gpu = gpu();
        let program = |sources| Program {
            name: "broken",
            constants: String::new(),
            sources,
        };
        let make = |sources| {
            pollster::block_on(gpu.checked("a test", || Ok(gpu.pipeline(&program(sources)))))
        };
        let error = make(&["fn main() { let x = ; }"]).unwrap_err();
        assert!(matches!(error, GpuError::Program(_)), "{error}");
        make(&["@compute @workgroup_size(1) fn main() {}"]).unwrap();
        assert_eq!(gpu.lost(), None);
    }

    #[test]
    fn more_memory_than_there_is_is_told_and_the_device_works_on() {
        let gpu = gpu();
        let count = gpu.limits().max_buffer_size as usize / 4;
        // Nothing is written to them, so that a software adapter does not take the memory in truth.
        let mut buffers = Vec::new();
        let error = loop {
            assert!(buffers.len() < 100_000, "an endless memory");
            let made = gpu.checked("a test", || gpu.large_zeros("much", count / 4 * 4));
            match pollster::block_on(made) {
                Ok(buffer) => buffers.push(buffer),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, GpuError::OutOfMemory { .. }), "{error}");
        drop(buffers);
        pollster::block_on(gpu.checked("a test", || gpu.zeros("little", 4))).unwrap();
        assert_eq!(gpu.lost(), None);
    }

    #[test]
    fn pieces_cover_all_rows_and_begin_where_bindings_may() {
        let gpu = Gpu {
            largest_piece: Some(4 * 300 * 10),
            ..gpu()
        };
        let pieces: Vec<_> = gpu.pieces(700, 10).collect();
        assert_eq!(pieces, [0..256, 256..512, 512..700]);
        assert_eq!(gpu.pieces(5, 10).last(), Some(0..5));
    }
}
