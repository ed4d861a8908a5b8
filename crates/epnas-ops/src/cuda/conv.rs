//! Dense convolutions, factorized reductions among them.

use candle_core::Tensor;

use super::images::{Image, MOST_SOURCES, flag};
use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::{conv, factorized};
use crate::operand::{Branch, Cotangent, Operand, Output};
use crate::precision::Precision;

/// As in `conv.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Geometry {
    n: i64,
    h: i32,
    w: i32,
    ho: i32,
    wo: i32,
    kernel: i32,
    stride: i32,
    pad: i32,
    co: i32,
    offset: i32,
    pitch: i32,
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct ConvSource {
    x: Image,
    weight: Pointer,
    ci: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ConvParams {
    g: Geometry,
    sources: [ConvSource; MOST_SOURCES],
    dy: Image,
    to: Pointer,
    parts: Pointer,
    split: i64,
    sources_count: i32,
    add: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct PartsParams {
    parts: Pointer,
    to: Pointer,
    len: i64,
    count: i32,
}

// SAFETY: laid out as in `conv.cu`.
unsafe impl Params for ConvParams {}
// SAFETY: laid out as in `conv.cu`.
unsafe impl Params for PartsParams {}

/// Rows and columns of a product that one block makes: as in `conv.cu`.
const ROWS: usize = 64;
const COLUMNS: usize = 32;
const THREADS: usize = 128;

/// A convolution over some sources, into some of the channels of its output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    g: Geometry,
    precision: Precision,
}

impl From<&conv::Geometry> for Product {
    fn from(g: &conv::Geometry) -> Self {
        let [n, ho, wo, co] = g.output();
        Product {
            g: Geometry {
                n: n as i64,
                h: g.h as i32,
                w: g.w as i32,
                ho: ho as i32,
                wo: wo as i32,
                kernel: g.kernel as i32,
                stride: g.stride as i32,
                pad: (g.kernel / 2) as i32,
                co: co as i32,
                offset: 0,
                pitch: co as i32,
            },
            precision: g.precision,
        }
    }
}

impl Product {
    /// Both halves of a factorized reduction: pixels `(2i, 2j)`, then `(2i + 1, 2j + 1)`.
    pub(crate) fn halves(g: &factorized::Geometry) -> [Self; 2] {
        let first = g.co.div_ceil(2);
        let half = |pad, offset, co: usize| Product {
            g: Geometry {
                n: g.n as i64,
                h: g.h as i32,
                w: g.w as i32,
                ho: g.h.div_ceil(2) as i32,
                wo: g.w.div_ceil(2) as i32,
                kernel: 1,
                stride: 2,
                pad,
                co: co as i32,
                offset,
                pitch: g.co as i32,
            },
            precision: g.precision,
        };
        [half(0, 0, first), half(-1, first as i32, g.co - first)]
    }

    fn params(&self) -> ConvParams {
        ConvParams {
            g: self.g,
            sources: [ConvSource::default(); MOST_SOURCES],
            dy: Image::default(),
            to: Pointer::NONE,
            parts: Pointer::NONE,
            split: 0,
            sources_count: 1,
            add: 0,
        }
    }

    fn output_pixels(&self) -> usize {
        (self.g.n * i64::from(self.g.ho) * i64::from(self.g.wo)) as usize
    }

    /// Writes the channels of this product; the statistics are left to the caller.
    pub(crate) fn forward(
        &self,
        call: &Call,
        inputs: &[(&Operand, &Tensor)],
        y: &Tensor,
    ) -> Result<()> {
        let mut add = 0;
        for inputs in inputs.chunks(MOST_SOURCES) {
            let mut params = ConvParams {
                to: call.pixels(("y", y))?,
                sources_count: inputs.len() as i32,
                add,
                ..self.params()
            };
            for (source, &(x, weight)) in params.sources.iter_mut().zip(inputs) {
                *source = self.source(call, x, weight)?;
            }
            let blocks = [
                self.output_pixels().div_ceil(ROWS),
                (self.g.co as usize).div_ceil(COLUMNS),
            ];
            call.launch_product("conv_forward", self.precision, tiles(blocks, 1), &params)?;
            add = 1;
        }
        Ok(())
    }

    /// Writes or adds the gradient of a source; batch norms that wait for it are left to the caller.
    pub(crate) fn input(
        &self,
        call: &Call,
        dy: &Cotangent,
        weight: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        let ci = weight.dims()[2];
        let mut params = ConvParams {
            dy: call.cotangent(dy)?,
            to: call.pixels(("dx", dx))?,
            add: flag(acc),
            ..self.params()
        };
        params.sources[0] = ConvSource {
            x: Image::default(),
            weight: call.floats(("w", weight))?,
            ci: ci as i32,
        };
        let pixels = dx.elem_count() / ci;
        let blocks = [pixels.div_ceil(ROWS), ci.div_ceil(COLUMNS)];
        call.launch_product("conv_input", self.precision, tiles(blocks, 1), &params)
    }

    /// Writes the gradient of a weight.
    pub(crate) fn weight(
        &self,
        call: &Call,
        dy: &Cotangent,
        x: &Operand,
        dweight: &Tensor,
    ) -> Result<()> {
        /// Blocks that fill a large GPU, and the pixels below which a part is not worth its sum.
        const ENOUGH_BLOCKS: usize = 512;
        const LEAST_PIXELS: usize = 256;
        let len = dweight.elem_count();
        let rows = len / self.g.co as usize;
        let blocks = [rows.div_ceil(ROWS), (self.g.co as usize).div_ceil(COLUMNS)];
        let pixels = self.output_pixels();
        let most = ENOUGH_BLOCKS.div_ceil((blocks[0] * blocks[1]).max(1));
        let split = pixels.div_ceil(most).max(LEAST_PIXELS);
        let count = pixels.div_ceil(split);
        let mut params = ConvParams {
            dy: call.cotangent(dy)?,
            parts: call.workspace(size_of::<f32>() * count * len)?,
            split: split as i64,
            ..self.params()
        };
        params.sources[0] = ConvSource {
            x: call.operand(x)?,
            weight: Pointer::NONE,
            ci: dweight.dims()[2] as i32,
        };
        call.launch_product("conv_weight", self.precision, tiles(blocks, count), &params)?;
        let dweight = call.floats(("dw", dweight))?;
        add_parts(call, params.parts, count, dweight, len)
    }

    fn source(&self, call: &Call, x: &Operand, weight: &Tensor) -> Result<ConvSource> {
        Ok(ConvSource {
            x: call.operand(x)?,
            weight: call.floats(("w", weight))?,
            ci: weight.dims()[2] as i32,
        })
    }
}

fn tiles([rows, columns]: [usize; 2], layers: usize) -> Launch {
    Launch {
        blocks: [rows, columns, layers],
        threads: [THREADS, 1],
        shared: 0,
    }
}

/// Adds `count` parts of `len` floats each, in their order.
pub(super) fn add_parts(
    call: &Call,
    parts: Pointer,
    count: usize,
    to: Pointer,
    len: usize,
) -> Result<()> {
    let params = PartsParams {
        parts,
        to,
        len: len as i64,
        count: count as i32,
    };
    call.launch_plain("add_parts", Launch::elements(len), &params)
}

/// The sum of convolutions of all inputs, then the statistics of the result.
pub(crate) fn forward(
    queue: &Queue,
    op: &'static str,
    products: &[Product],
    inputs: &[Vec<(&Operand, &Tensor)>],
    output: &Output,
) -> Result<()> {
    let call = Call::new(op, queue, ("y", output.y))?;
    for (product, inputs) in products.iter().zip(inputs) {
        product.forward(&call, inputs, output.y)?;
    }
    call.complete(output)
}

/// The gradients that are wanted of one input, whose output is made by `products`, one weight each.
pub(crate) fn backward<const N: usize>(
    queue: &Queue,
    op: &'static str,
    products: &[Product; N],
    dy: &Cotangent,
    branch: &Branch<N>,
) -> Result<()> {
    let call = Call::new(op, queue, ("dy", &dy.dy))?;
    for (product, (_, dweight)) in products.iter().zip(branch.dw.into_iter().flatten()) {
        product.weight(&call, dy, branch.x, dweight)?;
    }
    let Some(target) = branch.dx else {
        return Ok(());
    };
    let mut acc = target.acc;
    for (product, (_, weight)) in products.iter().zip(branch.w) {
        product.input(&call, dy, weight, &target.dx, acc)?;
        acc = Accumulate::Add;
    }
    call.complete_target(target)
}
