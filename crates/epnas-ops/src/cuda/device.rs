//! A GPU: its stream, our kernels on it, and room for sums.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, result,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaDevice, DeviceId};

use super::memory::Pointer;
use super::queue::{Driver, Launch, Queue, Structure};

/// The kernels for compute capability 9.0, for 8.0 and what is compatible with it, and for all later ones.
const SM_90: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels_sm_90.cubin"));
const SM_80: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels_sm_80.cubin"));
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// Bytes of room for sums that every GPU starts with.
const WORKSPACE: usize = 64 << 20;

/// GPUs in use, each once.
static GPUS: Mutex<Vec<(DeviceId, Arc<Gpu>)>> = Mutex::new(Vec::new());

struct Gpu {
    /// Whose per-thread stream this is: launches of another would not be in order with its.
    thread: ThreadId,
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    functions: Mutex<HashMap<String, CudaFunction>>,
    /// The last is in use. Captured launches may still name the ones before, so none is given back.
    workspaces: Mutex<Vec<CudaSlice<u8>>>,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Gpu({})", self.stream.context().ordinal())
    }
}

/// The queue of candle's device.
pub(crate) fn queue(device: &CudaDevice) -> Result<Queue, String> {
    let mut gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, gpu)) = gpus.iter().find(|(id, _)| *id == device.id()) {
        return Ok(gpu.clone());
    }
    let gpu =
        Arc::new(Gpu::new(device).map_err(|error| format!("cannot load the kernels: {error}"))?);
    gpus.push((device.id(), gpu.clone()));
    Ok(gpu)
}

impl Gpu {
    fn new(device: &CudaDevice) -> Result<Self, DriverError> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let major =
            context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let kernels = match major {
            8 => Ptx::from_binary(SM_80.to_vec()),
            9 => Ptx::from_binary(SM_90.to_vec()),
            _ => Ptx::from_src(PTX),
        };
        let module = context.load_module(kernels)?;
        let workspace = stream.alloc_zeros(WORKSPACE)?;
        Ok(Gpu {
            thread: std::thread::current().id(),
            stream,
            module,
            functions: Mutex::default(),
            workspaces: Mutex::new(vec![workspace]),
        })
    }

    /// The stream, its device made current.
    fn ready(&self) -> Result<&Arc<CudaStream>, String> {
        if std::thread::current().id() != self.thread {
            return Err("a GPU is used by the thread that used it first, and no other".to_string());
        }
        let bound = self.stream.context().bind_to_thread();
        bound.map_err(|error| error.to_string())?;
        Ok(&self.stream)
    }

    fn function(&self, kernel: &str) -> Result<CudaFunction, String> {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(kernel) {
            return Ok(function.clone());
        }
        let function = self.module.load_function(kernel);
        let function = function.map_err(|error| format!("{kernel}: {error}"))?;
        functions.insert(kernel.to_string(), function.clone());
        Ok(function)
    }
}

impl Driver for Gpu {
    fn launch(&self, kernel: &str, launch: Launch, params: Structure) -> Result<(), String> {
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

    fn workspace(&self, bytes: usize) -> Result<Pointer, String> {
        let stream = self.ready()?;
        let mut all = self
            .workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if all.last().is_none_or(|last| last.len() < bytes) {
            let more = stream.alloc_zeros(bytes);
            all.push(more.map_err(|error| format!("{bytes} bytes for sums: {error}"))?);
        }
        let Some(last) = all.last() else {
            return Err("no room for sums".to_string());
        };
        Ok(Pointer(last.device_ptr(stream).0))
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<(), String> {
        let stream = self.ready()?;
        // SAFETY: the address is within the workspace; bytes that are not page-locked are copied before this returns.
        unsafe { result::memcpy_htod_async(to.0, bytes, stream.cu_stream()) }
            .map_err(|error| error.to_string())
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<(), String> {
        let stream = self.ready()?;
        // SAFETY: the address is within the workspace, and the copy has ended before the bytes are given back.
        unsafe { result::memcpy_dtoh_async(bytes, from.0, stream.cu_stream()) }
            .and_then(|()| stream.synchronize())
            .map_err(|error| error.to_string())
    }
}
