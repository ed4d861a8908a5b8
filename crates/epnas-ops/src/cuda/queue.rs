//! Where kernels are launched: a GPU, or its emulation.

use std::ffi::c_void;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::memory::Pointer;
use crate::error::Error;
use crate::precision::Precision;

type Result<T, E = Error> = std::result::Result<T, E>;

/// What runs kernels: a GPU, or the CPU in its place.
pub(crate) trait Driver: std::fmt::Debug + Send + Sync {
    /// Launches a kernel with a structure of parameters.
    fn launch(&self, kernel: &str, launch: Launch, params: Structure) -> Result<(), String>;

    /// At least so many bytes, which the next call may give to others, in order with the launches.
    fn workspace(&self, bytes: usize) -> Result<Pointer, String>;

    /// Writes into the workspace, in order with the launches.
    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<(), String>;

    /// Waits for all launches and reads from the workspace.
    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<(), String>;

    /// Whether the library of the device's vendor should compute this convolution instead of the kernels, and can.
    fn has_dense(&self, pass: DensePass, dense: &Dense) -> Result<bool, String>;

    /// A dense convolution by that library, in order with the launches; `add` to what is there.
    fn dense(
        &self,
        pass: DensePass,
        dense: &Dense,
        at: DenseTensors,
        add: bool,
    ) -> Result<(), String>;

    /// From here on launches are recorded instead of run, until [`Driver::end`].
    fn begin(&self) -> Result<(), String>;

    /// A launch names the memory of this tensor. What is recorded keeps it.
    fn keep(&self, tensor: &Tensor);

    /// What was recorded since [`Driver::begin`].
    fn end(&self) -> Result<Box<dyn Recorded>, String>;
}

/// Launches that can be repeated.
pub(crate) trait Recorded: std::fmt::Debug + Send + Sync {
    /// Launches all of them, in order with other launches.
    fn replay(&self) -> Result<(), String>;
}

/// A dense convolution of one source, padded by half of its odd kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Dense {
    pub(super) n: i32,
    pub(super) h: i32,
    pub(super) w: i32,
    pub(super) ci: i32,
    pub(super) co: i32,
    pub(super) kernel: i32,
    pub(super) stride: i32,
    /// Of all three tensors.
    pub(super) element: Element,
}

impl Dense {
    /// Of input and of output, the fewer.
    #[cfg_attr(
        not(any(feature = "cuda", feature = "cuda-emulation")),
        expect(dead_code, reason = "no device asks")
    )]
    pub(super) fn channels(&self) -> usize {
        self.ci.min(self.co) as usize
    }
}

/// What a dense convolution computes from the other two of its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DensePass {
    /// The output.
    Forward,
    /// The gradient of the input.
    Input,
    /// The gradient of the weight.
    Weight,
}

/// Where the tensors of a dense convolution lie: `x` `[n, h, w, ci]`, `w` `[co, kernel, kernel, ci]`, `y` `[n, ho, wo, co]`,
/// or the gradients of each.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(any(feature = "cuda", feature = "cuda-emulation")),
    expect(dead_code, reason = "no device reads it")
)]
pub(crate) struct DenseTensors {
    pub(super) x: Pointer,
    pub(super) w: Pointer,
    pub(super) y: Pointer,
}

/// A kernel's parameters, made of [`Params`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Structure {
    #[cfg_attr(
        not(any(feature = "cuda", feature = "cuda-emulation")),
        expect(dead_code, reason = "no device reads it")
    )]
    pub(super) at: *const c_void,
    /// In bytes. The emulation compares it with the kernel's.
    #[cfg_attr(
        not(feature = "cuda-emulation"),
        expect(dead_code, reason = "a GPU does not ask")
    )]
    pub(super) size: usize,
}

/// The device of a call's tensors.
pub(crate) type Queue = Arc<dyn Driver>;

/// The element type of a call's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F32,
    Bf16,
}

impl Element {
    /// In bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::Bf16 => 2,
        }
    }
}

/// Threads: how many blocks, and how many threads in each.
#[cfg_attr(
    not(any(feature = "cuda", feature = "cuda-emulation")),
    expect(dead_code, reason = "no device reads it")
)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    pub(super) blocks: [usize; 3],
    pub(super) threads: [usize; 2],
    /// Bytes of shared memory beside what the kernel declares.
    pub(super) shared: usize,
}

impl Launch {
    /// A thread per element.
    pub(super) fn elements(count: usize) -> Self {
        const THREADS: usize = 256;
        Launch {
            blocks: [count.div_ceil(THREADS), 1, 1],
            threads: [THREADS, 1],
            shared: 0,
        }
    }
}

/// What a kernel takes: one structure, laid out as in its source.
///
/// # Safety
/// The type is `repr(C)`, and field by field the structure of the same name in `kernels/`.
pub(super) unsafe trait Params: Copy {}

/// One operator's launches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(super) op: &'static str,
    pub(super) queue: &'a Queue,
    pub(super) element: Element,
}

impl<'a> Call<'a> {
    /// Launches for images of the type of `image`.
    pub(crate) fn new(
        op: &'static str,
        queue: &'a Queue,
        (name, image): (&'static str, &Tensor),
    ) -> Result<Self> {
        let element = match image.dtype() {
            DType::F32 => Element::F32,
            DType::BF16 => Element::Bf16,
            found => {
                return Err(Error::DType {
                    op,
                    tensor: name,
                    found,
                    expected: DType::F32,
                });
            }
        };
        Ok(Call { op, queue, element })
    }

    /// Launches without images.
    pub(crate) fn plain(op: &'static str, queue: &'a Queue) -> Self {
        let element = Element::F32;
        Call { op, queue, element }
    }

    /// Launches the variant of a kernel for this call's images.
    pub(super) fn launch<P: Params>(&self, kernel: &str, launch: Launch, params: &P) -> Result<()> {
        let suffix = match self.element {
            Element::F32 => "f32",
            Element::Bf16 => "bf16",
        };
        self.run(&format!("{kernel}_{suffix}"), launch, params)
    }

    /// What factors are rounded to. Images in bfloat16 have no others.
    pub(super) fn factor(&self, precision: Precision) -> Element {
        match (self.element, precision) {
            (Element::F32, Precision::F32) => Element::F32,
            _ => Element::Bf16,
        }
    }

    /// Launches the variant of a product for this call's images and their factors.
    pub(super) fn launch_product<P: Params>(
        &self,
        kernel: &str,
        factor: Element,
        launch: Launch,
        params: &P,
    ) -> Result<()> {
        let suffix = match (self.element, factor) {
            (Element::Bf16, _) => "bf16",
            (Element::F32, Element::F32) => "f32",
            (Element::F32, Element::Bf16) => "mixed",
        };
        self.run(&format!("{kernel}_{suffix}"), launch, params)
    }

    /// Launches a kernel that sees no images.
    pub(super) fn launch_plain<P: Params>(
        &self,
        kernel: &str,
        launch: Launch,
        params: &P,
    ) -> Result<()> {
        self.run(&format!("{kernel}_plain"), launch, params)
    }

    fn run<P: Params>(&self, kernel: &str, launch: Launch, params: &P) -> Result<()> {
        // Nothing to do is no launch: a grid has at least one block.
        if launch.blocks.contains(&0) {
            return Ok(());
        }
        let params = Structure {
            at: std::ptr::from_ref(params).cast(),
            size: size_of::<P>(),
        };
        self.told(self.queue.launch(kernel, launch, params))
    }

    /// Whether the library of the device's vendor should compute all these passes of a convolution, and can.
    pub(super) fn has_dense(&self, passes: &[DensePass], dense: &Dense) -> Result<bool> {
        for pass in passes {
            if !self.told(self.queue.has_dense(*pass, dense))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A dense convolution by that library.
    pub(super) fn dense(
        &self,
        pass: DensePass,
        dense: &Dense,
        at: DenseTensors,
        add: i32,
    ) -> Result<()> {
        self.told(self.queue.dense(pass, dense, at, add != 0))
    }

    /// Memory for sums on the way, valid until this is called again, in order with the launches.
    pub(super) fn workspace(&self, bytes: usize) -> Result<Pointer> {
        self.told(self.queue.workspace(bytes))
    }

    /// Writes numbers into the workspace, in order with the launches.
    pub(super) fn upload(&self, to: Pointer, numbers: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        self.told(self.queue.write(to, &bytes))
    }

    /// Waits for all launches and reads numbers from the workspace.
    pub(super) fn download<const N: usize>(&self, from: Pointer) -> Result<[f64; N]> {
        let mut bytes = [[0; size_of::<f64>()]; N];
        self.told(self.queue.read(from, bytes.as_flattened_mut()))?;
        Ok(bytes.map(f64::from_ne_bytes))
    }

    fn told<R>(&self, result: Result<R, String>) -> Result<R> {
        result.map_err(|message| Error::Cuda {
            op: self.op,
            message,
        })
    }
}
