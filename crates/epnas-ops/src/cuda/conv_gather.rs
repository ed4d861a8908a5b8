//! Dense convolutions that `conv` does not make: other strides, and factorized reductions.

use candle_core::Tensor;

use super::conv::{ConvSource, ENOUGH_BLOCKS, MOST_SUMMED, SOURCELESS};
use super::images::{Image, MOST_SOURCES, flag};
use super::memory::Pointer;
use super::queue::{Call, Launch, Params};
use super::reduction::add_parts;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::{conv, factorized};
use crate::operand::{Cotangent, Operand};
use crate::precision::Precision;

/// As in `conv_gather.cu`.
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

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct GatherParams {
    g: Geometry,
    sources: [ConvSource; MOST_SOURCES],
    dy: Image,
    to: Pointer,
    parts: Pointer,
    split: i64,
    sources_count: i32,
    add: i32,
}

// SAFETY: laid out as in `conv_gather.cu`.
unsafe impl Params for GatherParams {}

/// Rows and columns of a product that one block makes: as in `conv_gather.cu`.
const ROWS: usize = 64;
const COLUMNS: usize = 32;
const THREADS: usize = 128;
/// Terms of a step with their padding: as in `conv_gather.cu`.
const PITCH: usize = 24;

/// A convolution over some sources, into some of the channels of its output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gather {
    g: Geometry,
    precision: Precision,
}

impl From<&conv::Geometry> for Gather {
    fn from(g: &conv::Geometry) -> Self {
        let [n, ho, wo, co] = g.output();
        Gather {
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

impl Gather {
    /// Both halves of a factorized reduction: pixels `(2i, 2j)`, then `(2i + 1, 2j + 1)`.
    pub(super) fn halves(g: &factorized::Geometry) -> [Self; 2] {
        let first = g.co.div_ceil(2);
        let half = |pad, offset, co: usize| Gather {
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

    fn params(&self) -> GatherParams {
        GatherParams {
            g: self.g,
            sources: SOURCELESS,
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
    pub(super) fn forward(
        &self,
        call: &Call,
        inputs: &[(&Operand, &Tensor)],
        y: &Tensor,
    ) -> Result<()> {
        let mut add = 0;
        for inputs in inputs.chunks(MOST_SOURCES) {
            let mut params = GatherParams {
                to: call.pixels(("y", y))?,
                sources_count: inputs.len() as i32,
                add,
                ..self.params()
            };
            for (source, &(x, weight)) in params.sources.iter_mut().zip(inputs) {
                *source = ConvSource::new(call, x, weight)?;
            }
            let blocks = [
                self.output_pixels().div_ceil(ROWS),
                (self.g.co as usize).div_ceil(COLUMNS),
            ];
            self.launch(call, "gather_forward", blocks, 1, &params)?;
            add = 1;
        }
        Ok(())
    }

    /// Writes or adds the gradient of a source; batch norms that wait for it are left to the caller.
    pub(super) fn input(
        &self,
        call: &Call,
        dy: &Cotangent,
        weight: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        let ci = weight.dims()[2];
        let mut params = GatherParams {
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
        self.launch(call, "gather_input", blocks, 1, &params)
    }

    /// Writes the gradient of a weight.
    pub(super) fn weight(
        &self,
        call: &Call,
        dy: &Cotangent,
        x: &Operand,
        dweight: &Tensor,
    ) -> Result<()> {
        /// Pixels below which a part is not worth its sum.
        const LEAST_PIXELS: usize = 256;
        let len = dweight.elem_count();
        let rows = len / self.g.co as usize;
        let blocks = [rows.div_ceil(ROWS), (self.g.co as usize).div_ceil(COLUMNS)];
        let pixels = self.output_pixels();
        let most = ENOUGH_BLOCKS.div_ceil((blocks[0] * blocks[1]).max(1));
        let split = pixels.div_ceil(most).clamp(LEAST_PIXELS, MOST_SUMMED);
        let count = pixels.div_ceil(split);
        let mut params = GatherParams {
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
        self.launch(call, "gather_weight", blocks, count, &params)?;
        let dweight = call.floats(("dw", dweight))?;
        add_parts(call, params.parts, count, dweight, len)
    }

    fn launch(
        &self,
        call: &Call,
        kernel: &str,
        [rows, columns]: [usize; 2],
        layers: usize,
        params: &GatherParams,
    ) -> Result<()> {
        let factor = call.factor(self.precision);
        let launch = Launch {
            blocks: [rows, columns, layers],
            threads: [THREADS, 1],
            shared: factor.size() * (ROWS + COLUMNS) * PITCH,
        };
        call.launch_product(kernel, factor, launch, params)
    }
}
