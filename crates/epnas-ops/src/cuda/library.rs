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

/// A convolution that goes to the library, and the room that its arguments take.
pub(crate) struct Job<'a> {
    call: Call<'a>,
    dense: Dense,
    /// Elements of images, of their gradients, and of weights.
    x: usize,
    y: usize,
    w: usize,
}

impl<'a> Job<'a> {
    /// The convolution of one source `x`, if the library should compute these passes and can: its factors must be what
    /// the images are stored in.
    pub(crate) fn take(
        queue: &'a Queue,
        op: &'static str,
        g: &Geometry,
        x: &Tensor,
        passes: &[DensePass],
    ) -> Result<Option<Self>> {
        let call = Call::new(op, queue, ("x", x))?;
        let [n, ho, wo, co] = g.output();
        let ci = x.dims()[3];
        let job = Job {
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
        };
        let taken =
            call.factor(g.precision) == call.element && call.has_dense(passes, &job.dense)?;
        Ok(taken.then_some(job))
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

    /// The convolution, then the statistics of the result.
    pub(crate) fn forward(&self, (x, weight): (&Operand, &Tensor), output: &Output) -> Result<()> {
        let [images, packed] = self.room([self.x, self.w])?;
        self.weights("pack", self.call.floats(("w", weight))?, packed)?;
        let tensors = DenseTensors {
            x: self.images(x, images)?,
            w: packed,
            y: self.call.pixels(("y", output.y))?,
        };
        self.call
            .dense(DensePass::Forward, &self.dense, tensors, 0)?;
        self.call.complete(output)
    }

    /// The gradients that are wanted of the input.
    pub(crate) fn backward(&self, dy: &Cotangent, branch: &Branch<1>) -> Result<()> {
        let call = &self.call;
        let [(_, weight)] = branch.w;
        let [images, gradient, packed] = self.room([self.x, self.y, self.w])?;
        let y = self.gradient(dy, gradient)?;
        if let Some([(_, dweight)]) = branch.dw {
            let x = self.images(branch.x, images)?;
            let tensors = DenseTensors { x, w: packed, y };
            call.dense(DensePass::Weight, &self.dense, tensors, 0)?;
            self.weights("unpack", call.floats(("dw", dweight))?, packed)?;
        }
        let Some(target) = branch.dx else {
            return Ok(());
        };
        self.weights("pack", call.floats(("w", weight))?, packed)?;
        let tensors = DenseTensors {
            x: call.pixels(("dx", &target.dx))?,
            w: packed,
            y,
        };
        let add = super::images::flag(target.acc);
        call.dense(DensePass::Input, &self.dense, tensors, add)?;
        call.complete_target(target)
    }
}
