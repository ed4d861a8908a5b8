//! Dense convolutions of many channels, by the library of the device's vendor: cuDNN.
//!
//! It knows nothing of batch norms where images are read, so what it reads is written first: images, or their gradients,
//! and weights in its own order and in the images' type. That pays where the product itself is large.

use candle_core::Tensor;

use super::elementwise::write_image;
use super::memory::Pointer;
use super::queue::{Call, Dense, DensePass, DenseTensors, Element, Launch, Params, Queue};
use crate::error::Result;
use crate::kernel::conv::Geometry;
use crate::operand::{Branch, Cotangent, Operand, Output};
use crate::precision::Precision;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct PackParams {
    weight: Pointer,
    packed: Pointer,
    taps: i32,
    ci: i32,
    co: i32,
}

// SAFETY: laid out as in `library.cu`.
unsafe impl Params for PackParams {}

/// Whether a convolution goes to the library: all its channels are many, it has one source, and its factors are what the
/// images are stored in.
pub(crate) fn takes(queue: &Queue, g: &Geometry, sources: usize, x: &Tensor) -> bool {
    let least = queue.library_channels();
    let [.., ci] = *x.dims() else { return false };
    let plain = x.dtype() == candle_core::DType::BF16 || g.precision == Precision::F32;
    sources == 1 && ci >= least && g.co >= least && plain
}

/// A convolution and the room that its arguments take.
struct Job<'a> {
    call: Call<'a>,
    dense: Dense,
    /// Elements of images, of their gradients, and of weights.
    x: usize,
    y: usize,
    w: usize,
}

impl<'a> Job<'a> {
    fn new(call: Call<'a>, g: &Geometry, ci: usize) -> Self {
        let [n, ho, wo, co] = g.output();
        Job {
            call,
            dense: Dense {
                n: g.n as i32,
                h: g.h as i32,
                w: g.w as i32,
                ci: ci as i32,
                co: co as i32,
                kernel: g.kernel as i32,
                stride: g.stride as i32,
                element: call.element,
            },
            x: n * g.h * g.w * ci,
            y: n * ho * wo * co,
            w: g.kernel * g.kernel * ci * co,
        }
    }

    /// Room for several tensors of the images' type, each of so many elements.
    fn room<const N: usize>(&self, elements: [usize; N]) -> Result<[Pointer; N]> {
        /// What vector loads ask for.
        const ALIGNMENT: usize = 256;
        let size = match self.call.element {
            Element::F32 => size_of::<f32>(),
            Element::Bf16 => size_of::<u16>(),
        };
        let bytes = elements.map(|elements| (elements * size).next_multiple_of(ALIGNMENT));
        let first = self.call.workspace(bytes.iter().sum())?;
        let mut offset = 0;
        Ok(bytes.map(|bytes| {
            let place = first.after(offset);
            offset += bytes;
            place
        }))
    }

    fn weights(&self, kernel: &str, weight: Pointer, packed: Pointer) -> Result<()> {
        let params = PackParams {
            weight,
            packed,
            taps: self.dense.kernel * self.dense.kernel,
            ci: self.dense.ci,
            co: self.dense.co,
        };
        self.call.launch(kernel, Launch::elements(self.w), &params)
    }

    /// The images as they are, or written to `room` where a batch norm comes before.
    fn images(&self, x: &Operand, room: Pointer) -> Result<Pointer> {
        match x.norm {
            None => self.call.pixels(("x", &x.x)),
            Some(_) => {
                let image = self.call.operand(x)?;
                write_image(&self.call, image, room, self.x, self.dense.ci as usize)?;
                Ok(room)
            }
        }
    }

    /// The gradient of the output, likewise.
    fn gradient(&self, dy: &Cotangent, room: Pointer) -> Result<Pointer> {
        match dy.norm {
            None => self.call.pixels(("dy", &dy.dy)),
            Some(_) => {
                let image = self.call.cotangent(dy)?;
                write_image(&self.call, image, room, self.y, self.dense.co as usize)?;
                Ok(room)
            }
        }
    }
}

/// The convolution of one input, then the statistics of the result.
pub(crate) fn forward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    (x, weight): (&Operand, &Tensor),
    output: &Output,
) -> Result<()> {
    let job = Job::new(Call::new(op, queue, ("y", output.y))?, g, weight.dims()[2]);
    let [images, packed] = job.room([job.x, job.w])?;
    job.weights("pack", job.call.floats(("w", weight))?, packed)?;
    let tensors = DenseTensors {
        x: job.images(x, images)?,
        w: packed,
        y: job.call.pixels(("y", output.y))?,
    };
    job.call.dense(DensePass::Forward, &job.dense, tensors, 0)?;
    job.call.complete(output)
}

/// The gradients that are wanted of the input.
pub(crate) fn backward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    dy: &Cotangent,
    branch: &Branch<1>,
) -> Result<()> {
    let [(_, weight)] = branch.w;
    let job = Job::new(Call::new(op, queue, ("dy", &dy.dy))?, g, weight.dims()[2]);
    let call = &job.call;
    let [images, gradient, packed] = job.room([job.x, job.y, job.w])?;
    let y = job.gradient(dy, gradient)?;
    if let Some([(_, dweight)]) = branch.dw {
        let x = job.images(branch.x, images)?;
        let tensors = DenseTensors { x, w: packed, y };
        call.dense(DensePass::Weight, &job.dense, tensors, 0)?;
        job.weights("unpack", call.floats(("dw", dweight))?, packed)?;
    }
    let Some(target) = branch.dx else {
        return Ok(());
    };
    job.weights("pack", call.floats(("w", weight))?, packed)?;
    let tensors = DenseTensors {
        x: call.pixels(("dx", &target.dx))?,
        w: packed,
        y,
    };
    let add = super::images::flag(target.acc);
    call.dense(DensePass::Input, &job.dense, tensors, add)?;
    call.complete_target(target)
}
