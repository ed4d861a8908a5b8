//! A GPU: its stream, our kernels on it, and room for sums.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::{
    self, CUdevice_attribute, CUgraphInstantiate_flags, CUmemPool_attribute, CUresult,
    CUstreamCaptureMode,
};
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaGraph, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, result,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{Device, Tensor};

use super::cudnn::Cudnn;
use super::memory::Pointer;
use super::queue::{Dense, DensePass, DenseTensors, Driver, Launch, Queue, Recorded, Structure};
use crate::error::{Error, Result};
use crate::gpus::Gpu as Found;

type Told<T> = std::result::Result<T, String>;

/// The kernels for compute capability 9.0, for 8.0 and what is compatible with it, and for all later ones.
const SM_90: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels_sm_90.cubin"));
const SM_80: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels_sm_80.cubin"));
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// The CUDA version that the kernels were compiled with, as drivers say theirs: 1000 times the first number and 10 times
/// the second.
const COMPILED_FOR: &str = env!("EPNAS_CUDA_VERSION");

/// The oldest generation that has what the kernels use: tensor cores for bfloat16.
const LEAST_CAPABILITY: i32 = 8;

/// Bytes of room for sums that every GPU starts with.
const WORKSPACE: usize = 64 << 20;

/// The GPUs of this machine.
pub(crate) fn gpus() -> Result<Vec<Found>> {
    let count = count().map_err(Error::Gpu)?;
    (0..count).map(found).collect()
}

/// How many GPUs the driver shows; at least one.
fn count() -> Told<usize> {
    let none = "no NVIDIA GPU was found: see what `nvidia-smi` lists, and whether CUDA_VISIBLE_DEVICES hides it";
    result::init().map_err(|error| match error.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => none.to_string(),
        CUresult::CUDA_ERROR_STUB_LIBRARY => {
            "the libcuda.so.1 that was found is the CUDA toolkit's stub, not that of NVIDIA's driver: install the \
             driver, or take the folder `stubs` off LD_LIBRARY_PATH"
                .to_string()
        }
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => {
            "libcuda.so.1 and the loaded NVIDIA driver are of different versions: restart the machine after an \
             update of the driver"
                .to_string()
        }
        _ => format!("NVIDIA's driver does not start: {error}"),
    })?;
    let mut version = 0;
    // SAFETY: the driver writes one number.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) };
    asked.result().map_err(|error| error.to_string())?;
    let least = COMPILED_FOR.parse::<i32>().unwrap_or(i32::MAX);
    // candle's kernels are compiled by the driver, which must know the language of the toolkit's version.
    if version < least {
        return Err(format!(
            "NVIDIA's driver is too old: it knows CUDA {}, the kernels need {}; update the driver, or build with an \
             older toolkit",
            dotted(version),
            dotted(least)
        ));
    }
    match result::device::get_count() {
        Ok(count) if count > 0 => Ok(count as usize),
        Ok(_) => Err(none.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn dotted(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn found(ordinal: usize) -> Result<Found> {
    let told = |error: DriverError| Error::Gpu(format!("GPU {ordinal}: {error}"));
    let device = result::device::get(ordinal as i32).map_err(told)?;
    // SAFETY: the driver has just named this device.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) }.map_err(told);
    let capability = (
        attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let pools = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)?;
    let unusable = match (capability.0, pools) {
        (..LEAST_CAPABILITY, _) => Some(format!(
            "compute capability {}.{}, the kernels need {LEAST_CAPABILITY}.0 (Ampere, 2020) or later",
            capability.0, capability.1
        )),
        (_, 0) => Some("its driver has no memory pools".to_string()),
        _ => None,
    };
    Ok(Found {
        ordinal,
        name: result::device::get_name(device).map_err(told)?,
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }.map_err(told)? as u64,
        capability,
        unusable,
    })
}

/// A GPU as a device for tensors.
pub(crate) fn gpu(ordinal: usize) -> Result<Device> {
    let all = gpus()?;
    let Some(found) = all.get(ordinal) else {
        return Err(Error::Gpu(format!(
            "there is no GPU {ordinal}: the numbers go from 0 to {}",
            all.len() - 1
        )));
    };
    if let Some(reason) = &found.unusable {
        let message = format!("GPU {ordinal} ({}) cannot be used: {reason}", found.name);
        return Err(Error::Gpu(message));
    }
    let device = CudaDevice::new_with_stream(ordinal)?;
    // SAFETY: all work on this device goes through its one stream.
    unsafe { device.disable_event_tracking() };
    keep_freed_memory(ordinal).map_err(|error| Error::Gpu(error.to_string()))?;
    Ok(Device::Cuda(device))
}

/// Memory that is given back stays with this process for its next tensors, instead of going to the system with every wait.
fn keep_freed_memory(ordinal: usize) -> std::result::Result<(), DriverError> {
    let device = result::device::get(ordinal as i32)?;
    let mut all = u64::MAX;
    // SAFETY: the device exists; the attribute is one number of 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(device)?;
        let threshold = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut all).cast()).result()
    }
}

thread_local! {
    /// The GPUs that this thread uses. Another thread has sums of its own to add up on the same one.
    static GPUS: RefCell<Vec<(DeviceId, Arc<Gpu>)>> = const { RefCell::new(Vec::new()) };
}

/// The queue of candle's device.
pub(crate) fn queue(device: &CudaDevice) -> Told<Queue> {
    GPUS.with_borrow_mut(|gpus| {
        if let Some((_, gpu)) = gpus.iter().find(|(id, _)| *id == device.id()) {
            return Ok(gpu.clone() as Queue);
        }
        if device.is_event_tracking() {
            // Such a device orders its work by events, also between streams, of which every thread has another.
            return Err("this device was not made by `epnas_ops::gpu`".to_string());
        }
        let gpu = Gpu::new(device, library_channels()?)
            .map_err(|error| format!("cannot load the kernels: {error}"))?;
        let gpu = Arc::new(gpu);
        gpus.push((device.id(), gpu.clone()));
        Ok(gpu as Queue)
    })
}

/// Channels from which dense convolutions go to cuDNN: fewer waste its tiles. `EPNAS_CUDNN` overrides it.
fn library_channels() -> Told<usize> {
    const LEAST: usize = 64;
    match std::env::var("EPNAS_CUDNN").as_deref() {
        Err(_) => Ok(LEAST),
        Ok("off") => Ok(usize::MAX),
        Ok(text) => text.parse().map_err(|_| {
            format!("EPNAS_CUDNN is `{text}`, expected a number of channels, or `off`")
        }),
    }
}

struct Gpu {
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    functions: Mutex<HashMap<String, CudaFunction>>,
    workspace: Mutex<Arc<CudaSlice<u8>>>,
    library_channels: usize,
    cudnn: Mutex<Option<Cudnn>>,
    /// What cuDNN's algorithms work in.
    library_room: Mutex<Arc<CudaSlice<u8>>>,
    /// While a graph is captured.
    tape: Mutex<Option<Tape>>,
}

/// What a recording needs as long as it is there.
#[derive(Default)]
struct Tape {
    tensors: Vec<Tensor>,
    rooms: Vec<Arc<CudaSlice<u8>>>,
}

/// A CUDA graph and what its launches name.
struct Graph {
    /// Graphs are not for several threads at a time.
    graph: Mutex<CudaGraph>,
    #[expect(dead_code, reason = "kept, not read")]
    tape: Tape,
}

// SAFETY: the lock lets one thread at a time use the graph, and the driver binds the context to it first.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Gpu({})", self.stream.context().ordinal())
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Graph")
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
impl Gpu {
    fn new(device: &CudaDevice, library_channels: usize) -> std::result::Result<Self, DriverError> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let kernels = match context.compute_capability()?.0 {
            8 => Ptx::from_binary(SM_80.to_vec()),
            9 => Ptx::from_binary(SM_90.to_vec()),
            _ => Ptx::from_src(PTX),
        };
        let module = context.load_module(kernels)?;
        let workspace = stream.alloc_zeros(WORKSPACE)?;
        let library_room = stream.alloc_zeros(1)?;
        Ok(Gpu {
            stream,
            module,
            functions: Mutex::default(),
            workspace: Mutex::new(Arc::new(workspace)),
            library_channels,
            cudnn: Mutex::default(),
            library_room: Mutex::new(Arc::new(library_room)),
            tape: Mutex::default(),
        })
    }

    /// The stream, its device made current.
    fn ready(&self) -> Told<&Arc<CudaStream>> {
        let bound = self.stream.context().bind_to_thread();
        bound.map_err(|error| error.to_string())?;
        Ok(&self.stream)
    }

    fn function(&self, kernel: &str) -> Told<CudaFunction> {
        let mut functions = locked(&self.functions);
        if let Some(function) = functions.get(kernel) {
            return Ok(function.clone());
        }
        let function = self.module.load_function(kernel);
        let function = function.map_err(|error| format!("{kernel}: {error}"))?;
        functions.insert(kernel.to_string(), function.clone());
        Ok(function)
    }

    /// The address of a room that has at least so many bytes.
    fn room(&self, room: &Mutex<Arc<CudaSlice<u8>>>, bytes: usize) -> Told<Pointer> {
        let stream = self.ready()?;
        let (mut room, mut tape) = (locked(room), locked(&self.tape));
        if room.len() < bytes {
            if tape.is_some() {
                return Err("no room for sums while recording".to_string());
            }
            let larger = stream.alloc_zeros(bytes);
            *room = Arc::new(larger.map_err(|error| format!("{bytes} bytes for sums: {error}"))?);
        }
        if let Some(tape) = &mut *tape
            && !tape.rooms.iter().any(|kept| Arc::ptr_eq(kept, &room))
        {
            tape.rooms.push(room.clone());
        }
        Ok(Pointer(room.device_ptr(stream).0))
    }

    fn with_cudnn<R>(&self, body: impl FnOnce(&mut Cudnn) -> Told<R>) -> Told<R> {
        let stream = self.ready()?;
        let mut cudnn = locked(&self.cudnn);
        match &mut *cudnn {
            Some(cudnn) => body(cudnn),
            none => body(none.insert(Cudnn::new(stream)?)),
        }
    }

    /// The stream, for copies from and to the host.
    fn copying(&self) -> Told<&Arc<CudaStream>> {
        match *locked(&self.tape) {
            Some(_) => Err("copies from and to the host cannot be recorded".to_string()),
            None => self.ready(),
        }
    }
}

impl Driver for Gpu {
    fn launch(&self, kernel: &str, launch: Launch, params: Structure) -> Told<()> {
        let wide = |extent: usize| {
            u32::try_from(extent).map_err(|_| format!("{kernel}: {extent} blocks or threads"))
        };
        let [x, y, z] = launch.blocks;
        let [across, down] = launch.threads;
        let grid = (wide(x)?, wide(y)?, wide(z)?);
        let threads = (wide(across)?, wide(down)?, 1);
        let function = self.function(kernel)?;
        let stream = self.ready()?;
        // SAFETY: `Params` promises that the kernel of this name takes one structure, which `params` is and the
        // driver copies before it returns. The addresses in there are of tensors of this device that the caller holds;
        // candle frees them in order with the launches of this stream.
        let launched = unsafe {
            result::launch_kernel(
                function.cu_function(),
                grid,
                threads,
                wide(launch.shared)?,
                stream.cu_stream(),
                &mut [params.at.cast_mut()],
            )
        };
        launched.map_err(|error| format!("{kernel}: {error}"))
    }

    fn workspace(&self, bytes: usize) -> Told<Pointer> {
        self.room(&self.workspace, bytes)
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Told<()> {
        let stream = self.copying()?;
        // SAFETY: the address is within the workspace; bytes that are not page-locked are copied before this returns.
        unsafe { result::memcpy_htod_async(to.0, bytes, stream.cu_stream()) }
            .map_err(|error| error.to_string())
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Told<()> {
        let stream = self.copying()?;
        // SAFETY: the address is within the workspace, and the copy has ended before the bytes are given back.
        unsafe { result::memcpy_dtoh_async(bytes, from.0, stream.cu_stream()) }
            .and_then(|()| stream.synchronize())
            .map_err(|error| error.to_string())
    }

    fn has_dense(&self, pass: DensePass, dense: &Dense) -> Told<bool> {
        if dense.channels() < self.library_channels {
            return Ok(false);
        }
        self.with_cudnn(|cudnn| Ok(cudnn.room(pass, dense)?.is_some()))
    }

    fn dense(&self, pass: DensePass, dense: &Dense, at: DenseTensors, add: bool) -> Told<()> {
        self.with_cudnn(|cudnn| {
            // Not the workspace: that holds the tensors.
            let bytes = cudnn.room(pass, dense)?.unwrap_or_default();
            let room = self.room(&self.library_room, bytes)?;
            cudnn.launch(pass, dense, at, add, room.0)
        })
    }

    fn begin(&self) -> Told<()> {
        let mut tape = locked(&self.tape);
        if tape.is_some() {
            return Err("recording within a recording".to_string());
        }
        let stream = self.ready()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream
            .begin_capture(mode)
            .map_err(|error| error.to_string())?;
        *tape = Some(Tape::default());
        Ok(())
    }

    fn keep(&self, tensor: &Tensor) {
        if let Some(tape) = &mut *locked(&self.tape) {
            tape.tensors.push(tensor.clone());
        }
    }

    fn end(&self) -> Told<Box<dyn Recorded>> {
        let tape = mem::take(&mut *locked(&self.tape)).ok_or("no recording to end")?;
        let end = || self.stream.end_capture(CUgraphInstantiate_flags(0));
        // cudarc first tells of what failed before, and does not end the capture then.
        let graph = end().or_else(|error| end().map_err(|_| error));
        let graph = graph.map_err(|error| format!("cannot make a graph: {error}"))?;
        let graph = graph.ok_or("nothing was recorded")?;
        graph.upload().map_err(|error| error.to_string())?;
        Ok(Box::new(Graph {
            graph: Mutex::new(graph),
            tape,
        }))
    }
}

impl Recorded for Graph {
    fn replay(&self) -> Told<()> {
        locked(&self.graph)
            .launch()
            .map_err(|error| error.to_string())
    }
}
