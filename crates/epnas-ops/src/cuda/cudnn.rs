//! cuDNN: dense convolutions over NHWC tensors, each shape with the first algorithm of its heuristics that repeats.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::result::{self, CudnnError};
use candle_core::cuda_backend::cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionDescriptor_t,
    cudnnConvolutionFwdAlgo_t, cudnnConvolutionMode_t, cudnnDataType_t, cudnnDeterminism_t,
    cudnnFilterDescriptor_t, cudnnHandle_t, cudnnMathType_t, cudnnStatus_t,
    cudnnTensorDescriptor_t, cudnnTensorFormat_t,
};
use candle_core::cuda_backend::cudarc::driver::CudaStream;

use super::queue::{Dense, DensePass, DenseTensors, Element};

/// Algorithms that cuDNN is asked for, of each kind; it has fewer.
const MOST_ALGORITHMS: usize = 16;

/// Bytes that an algorithm may work in: some are fast in gigabytes.
const MOST_ROOM: usize = 256 << 20;

/// The library on one stream.
pub(super) struct Cudnn {
    handle: cudnnHandle_t,
    convolutions: HashMap<(DensePass, Dense), Option<Convolution>>,
    /// What `handle` was made for.
    _stream: Arc<CudaStream>,
}

// SAFETY: cuDNN's handles may move between threads; they are used by one at a time, behind a lock.
unsafe impl Send for Cudnn {}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(cudnnConvolutionFwdAlgo_t),
    Input(cudnnConvolutionBwdDataAlgo_t),
    Weight(cudnnConvolutionBwdFilterAlgo_t),
}

/// Descriptors of one shape, and how it is computed.
struct Convolution {
    x: cudnnTensorDescriptor_t,
    w: cudnnFilterDescriptor_t,
    y: cudnnTensorDescriptor_t,
    convolution: cudnnConvolutionDescriptor_t,
    algorithm: Algorithm,
    /// Bytes of room that the algorithm takes.
    room: usize,
}

impl Drop for Convolution {
    fn drop(&mut self) {
        // SAFETY: made by `Convolution::new` and by nobody else. What fails now has no one to be told to.
        unsafe {
            let _ = result::destroy_tensor_descriptor(self.x);
            let _ = result::destroy_filter_descriptor(self.w);
            let _ = result::destroy_tensor_descriptor(self.y);
            let _ = result::destroy_convolution_descriptor(self.convolution);
        }
    }
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        self.convolutions.clear();
        // SAFETY: made by `Cudnn::new` and by nobody else.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl Cudnn {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self, String> {
        let told = |error: CudnnError| {
            format!("cuDNN does not start ({error:?}); EPNAS_CUDNN=off goes without it")
        };
        let handle = result::create_handle().map_err(told)?;
        let cudnn = Cudnn {
            handle,
            convolutions: HashMap::new(),
            _stream: stream.clone(),
        };
        // SAFETY: both are there.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(told)?;
        Ok(cudnn)
    }

    /// Bytes of room that a convolution needs; nothing where cuDNN does not compute it as it should.
    pub(super) fn room(&mut self, pass: DensePass, dense: &Dense) -> Result<Option<usize>, String> {
        Ok(self.convolution(pass, dense)?.map(|made| made.room))
    }

    fn convolution(
        &mut self,
        pass: DensePass,
        dense: &Dense,
    ) -> Result<Option<&Convolution>, String> {
        let key = (pass, *dense);
        if !self.convolutions.contains_key(&key) {
            let made = Convolution::new(self.handle, pass, dense)
                .map_err(|error| format!("cuDNN, {pass:?} of {dense:?}: {error:?}"))?;
            self.convolutions.insert(key, made);
        }
        Ok(self.convolutions[&key].as_ref())
    }

    /// Launches a convolution, with at least [`Cudnn::room`] bytes at `room`.
    pub(super) fn launch(
        &mut self,
        pass: DensePass,
        dense: &Dense,
        at: DenseTensors,
        add: bool,
        room: u64,
    ) -> Result<(), String> {
        let handle = self.handle;
        let c = self.convolution(pass, dense)?.ok_or("no algorithm")?;
        let (one, before) = (1f32, f32::from(u8::from(add)));
        let (alpha, beta) = ((&raw const one).cast(), (&raw const before).cast());
        let [x, w, y, room] = [at.x.0, at.w.0, at.y.0, room].map(|at| at as *mut c_void);
        // SAFETY: the descriptors are of these tensors, whose addresses are of memory that the caller holds, and there
        // is as much room as the algorithm takes.
        let launched = unsafe {
            match c.algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    handle,
                    alpha,
                    c.x,
                    x,
                    c.w,
                    w,
                    c.convolution,
                    algorithm,
                    room,
                    c.room,
                    beta,
                    c.y,
                    y,
                ),
                Algorithm::Input(algorithm) => result::convolution_backward_data(
                    handle,
                    alpha,
                    c.w,
                    w,
                    c.y,
                    y,
                    c.convolution,
                    algorithm,
                    room,
                    c.room,
                    beta,
                    c.x,
                    x,
                ),
                Algorithm::Weight(algorithm) => result::convolution_backward_filter(
                    handle,
                    alpha,
                    c.x,
                    x,
                    c.y,
                    y,
                    c.convolution,
                    algorithm,
                    room,
                    c.room,
                    beta,
                    c.w,
                    w,
                ),
            }
        };
        launched.map_err(|error| format!("cuDNN, {pass:?} of {dense:?}: {error:?}"))
    }
}

impl Convolution {
    /// Nothing where no algorithm is to be had.
    fn new(
        handle: cudnnHandle_t,
        pass: DensePass,
        dense: &Dense,
    ) -> Result<Option<Self>, CudnnError> {
        let &Dense {
            n,
            h,
            w,
            ci,
            co,
            kernel,
            stride,
            element,
        } = dense;
        let (format, kind) = (
            cudnnTensorFormat_t::CUDNN_TENSOR_NHWC,
            match element {
                Element::F32 => cudnnDataType_t::CUDNN_DATA_FLOAT,
                Element::Bf16 => cudnnDataType_t::CUDNN_DATA_BFLOAT16,
            },
        );
        let mut made = Convolution {
            x: result::create_tensor_descriptor()?,
            w: result::create_filter_descriptor()?,
            y: result::create_tensor_descriptor()?,
            convolution: result::create_convolution_descriptor()?,
            algorithm: Algorithm::Forward(
                cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
            ),
            room: 0,
        };
        let math = match element {
            // Single precision as it is, not rounded to TF32.
            Element::F32 => cudnnMathType_t::CUDNN_FMA_MATH,
            Element::Bf16 => cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        let sizes = [n, co, (h + stride - 1) / stride, (w + stride - 1) / stride];
        // SAFETY: the descriptors were just made.
        unsafe {
            result::set_tensor4d_descriptor(made.x, format, kind, [n, ci, h, w])?;
            result::set_filter4d_descriptor(made.w, kind, format, [co, ci, kernel, kernel])?;
            result::set_tensor4d_descriptor(made.y, format, kind, sizes)?;
            result::set_convolution2d_descriptor(
                made.convolution,
                kernel / 2,
                kernel / 2,
                stride,
                stride,
                1,
                1,
                cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                cudnnDataType_t::CUDNN_DATA_FLOAT,
            )?;
            result::set_convolution_math_type(made.convolution, math)?;
        }
        Ok(made.choose(handle, pass, math)?.then_some(made))
    }

    /// Takes the first algorithm, in the order of cuDNN's heuristics, that works as it is asked for, gives the same bits
    /// each time and needs no more than [`MOST_ROOM`]; false where there is none. The heuristics know shapes and the GPU,
    /// not the clock, so that another run takes the same.
    fn choose(
        &mut self,
        handle: cudnnHandle_t,
        pass: DensePass,
        math: cudnnMathType_t,
    ) -> Result<bool, CudnnError> {
        /// Of the answers of one kind. They are given for several ways to multiply.
        macro_rules! first_that_works {
            ($ask:path, [$($descriptor:expr),*], $variant:path) => {
                // SAFETY: the descriptors are there, and there is room for as many answers as are asked for.
                answers(|count, all| unsafe {
                    $ask(handle, $($descriptor),*, MOST_ALGORITHMS as i32, count, all)
                })?
                .iter()
                .find(|answer| {
                    answer.status == cudnnStatus_t::CUDNN_STATUS_SUCCESS
                        && answer.determinism == cudnnDeterminism_t::CUDNN_DETERMINISTIC
                        && answer.mathType == math
                        && answer.memory <= MOST_ROOM
                })
                .map(|answer| ($variant(answer.algo), answer.memory))
            };
        }
        let (x, w, y, convolution) = (self.x, self.w, self.y, self.convolution);
        let chosen = match pass {
            DensePass::Forward => first_that_works!(
                result::get_convolution_forward_algorithm,
                [x, w, convolution, y],
                Algorithm::Forward
            ),
            DensePass::Input => first_that_works!(
                result::get_convolution_backward_data_algorithm,
                [w, y, convolution, x],
                Algorithm::Input
            ),
            DensePass::Weight => first_that_works!(
                result::get_convolution_backward_filter_algorithm,
                [x, y, convolution, w],
                Algorithm::Weight
            ),
        };
        if let Some(chosen) = chosen {
            (self.algorithm, self.room) = chosen;
        }
        Ok(chosen.is_some())
    }
}

/// What cuDNN answers: `ask` gets where the number of answers goes, and where at most [`MOST_ALGORITHMS`] of them go.
fn answers<T: Copy>(
    ask: impl FnOnce(*mut i32, *mut T) -> Result<(), CudnnError>,
) -> Result<Vec<T>, CudnnError> {
    let mut all = [const { MaybeUninit::<T>::uninit() }; MOST_ALGORITHMS];
    let mut count = 0;
    ask(&raw mut count, all.as_mut_ptr().cast())?;
    let written = &all[..(count as usize).min(MOST_ALGORITHMS)];
    // SAFETY: cuDNN has written as many answers as it counted.
    Ok(written
        .iter()
        .map(|answer| unsafe { answer.assume_init() })
        .collect())
}
