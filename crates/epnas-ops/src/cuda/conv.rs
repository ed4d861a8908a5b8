//! Dense convolutions: by tiles of images where the stride is 1, and gathered otherwise.

use candle_core::Tensor;

use super::batch_norm::Moments;
use super::conv_gather::Gather;
use super::images::{Image, MOST_SOURCES, flag};
use super::memory::Pointer;
use super::queue::{Call, Element, Launch, Params, Queue};
use super::reduction::add_parts;
use super::tiling::{MOST_READ, PIXELS, Tiling};
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::{conv, factorized};
use crate::operand::{Branch, Cotangent, Operand, Output};
use crate::precision::Precision;

/// As in `product.cuh`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct ConvSource {
    pub(super) x: Image,
    pub(super) weight: Pointer,
    pub(super) ci: i32,
}

/// As in `conv.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ConvParams {
    tiling: Tiling,
    sources: [ConvSource; MOST_SOURCES],
    dy: Image,
    to: Pointer,
    parts: Pointer,
    counts: Pointer,
    sources_count: i32,
    add: i32,
    co: i32,
    columns: i32,
    tiles: i32,
    side: i32,
}

// SAFETY: laid out as in `conv.cu`.
unsafe impl Params for ConvParams {}

/// Blocks that fill a large GPU: three, of which each fits beside two others, on 132 multiprocessors or so.
pub(super) const ENOUGH_BLOCKS: usize = 384;

/// Pixels that one number in `f32` sums at most, so that its error does not grow with the batch.
pub(super) const MOST_SUMMED: usize = 1 << 14;

/// As in `product.cuh`, `tile.cuh` and `conv.cu`.
const THREADS: usize = 128;
const COLUMNS: usize = 32;
const TAPS: usize = 9;

/// How factors lie in shared memory: as in `tile.cuh`.
#[derive(Debug, Clone, Copy)]
struct Layout {
    factor: Element,
    /// Channels at a time, in eights.
    octets: usize,
    /// Distance of pixels.
    pixel: usize,
    /// Distance of rows of weights.
    row: usize,
}

impl Layout {
    fn of(factor: Element) -> Self {
        let [octets, pixel, row] = match factor {
            Element::F32 => [2, 20, 32],
            Element::Bf16 => [3, 24, 40],
        };
        Layout {
            factor,
            octets,
            pixel,
            row,
        }
    }

    /// Bytes of the weights of a step, whether or not they stand transposed.
    fn weights(&self, taps: usize) -> usize {
        let octets = taps.min(TAPS) * self.octets;
        let terms = match self.factor {
            Element::F32 => 8 * octets,
            Element::Bf16 => 8 * octets.next_multiple_of(2),
        };
        let transposed = COLUMNS * (terms + 16 / self.factor.size());
        self.factor.size() * transposed.max(terms * self.row)
    }

    /// Bytes of a tile of the result's gradient.
    fn gradients(&self) -> usize {
        self.factor.size() * PIXELS * self.row
    }

    /// Bytes of all shared memory.
    fn shared(&self, tiling: &Tiling, side: usize) -> usize {
        /// Two numbers for each pixel of a tile, one for each that it reads, 32 for octets, and 5 for each of two times 32
        /// channels.
        const TABLES: usize = size_of::<i32>() * (2 * PIXELS + MOST_READ + 32 + 5 * 2 * COLUMNS);
        /// The result, with padding.
        const STAGE: usize = size_of::<f32>() * PIXELS * 40;
        let halo = self.factor.size() * self.pixel * tiling.read();
        TABLES + STAGE.max(side + halo)
    }
}

/// A convolution of stride 1 by tiles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiles {
    tiling: Tiling,
    co: usize,
    precision: Precision,
}

impl Tiles {
    fn of(g: &conv::Geometry) -> Option<Self> {
        if g.stride != 1 {
            return None;
        }
        Some(Tiles {
            tiling: Tiling::of([g.n, g.h, g.w], g.kernel)?,
            co: g.co,
            precision: g.precision,
        })
    }

    /// For a result of so many channels.
    fn params(&self, channels: usize) -> ConvParams {
        let blocks = channels.div_ceil(COLUMNS);
        ConvParams {
            tiling: self.tiling,
            sources: SOURCELESS,
            dy: Image::default(),
            to: Pointer::NONE,
            parts: Pointer::NONE,
            counts: Pointer::NONE,
            sources_count: 1,
            add: 0,
            co: channels as i32,
            columns: channels.div_ceil(blocks).next_multiple_of(8) as i32,
            tiles: 0,
            side: 0,
        }
    }

    fn launch(&self, call: &Call, kernel: &str, params: ConvParams) -> Result<()> {
        let layout = Layout::of(call.factor(self.precision));
        let side = layout.weights(self.tiling.taps());
        let params = ConvParams {
            side: side as i32,
            ..params
        };
        let launch = Launch {
            blocks: [
                self.tiling.tiles(),
                (params.co as usize).div_ceil(params.columns as usize),
                1,
            ],
            threads: [THREADS, 1],
            shared: layout.shared(&self.tiling, side),
        };
        call.launch_product(kernel, layout.factor, launch, &params)
    }

    /// Writes the sum over all inputs and its statistics.
    fn forward(&self, call: &Call, inputs: &[(&Operand, &Tensor)], output: &Output) -> Result<()> {
        let chunks = inputs.chunks(MOST_SOURCES);
        let last = chunks.len().saturating_sub(1);
        for (index, inputs) in chunks.enumerate() {
            let mut params = ConvParams {
                to: call.pixels(("y", output.y))?,
                sources_count: inputs.len() as i32,
                add: i32::from(index > 0),
                ..self.params(self.co)
            };
            for (source, &(x, weight)) in params.sources.iter_mut().zip(inputs) {
                *source = ConvSource::new(call, x, weight)?;
            }
            let Some(wanted) = output.statistics.filter(|_| index == last) else {
                self.launch(call, "conv_forward", params)?;
                continue;
            };
            let moments = Moments::room(call, self.tiling.tiles(), self.co)?;
            params.parts = moments.parts;
            params.counts = moments.counts;
            self.launch(call, "conv_forward", params)?;
            moments.combine(call, wanted.eps, wanted.saved, Some(wanted.running))?;
        }
        Ok(())
    }

    /// Writes or adds the gradient of a source.
    fn input(
        &self,
        call: &Call,
        dy: &Cotangent,
        weight: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        let mut params = ConvParams {
            to: call.pixels(("dx", dx))?,
            add: flag(acc),
            ..self.params(weight.dims()[2])
        };
        params.sources[0] = ConvSource {
            x: call.cotangent(dy)?,
            weight: call.floats(("w", weight))?,
            ci: self.co as i32,
        };
        self.launch(call, "conv_input", params)
    }

    /// Writes the gradient of a weight.
    fn weight(&self, call: &Call, dy: &Cotangent, x: &Operand, dweight: &Tensor) -> Result<()> {
        let layout = Layout::of(call.factor(self.precision));
        let ci = dweight.dims()[2];
        let mut params = ConvParams {
            dy: call.cotangent(dy)?,
            side: layout.gradients() as i32,
            ..self.params(self.co)
        };
        params.sources[0] = ConvSource {
            x: call.operand(x)?,
            weight: Pointer::NONE,
            ci: ci as i32,
        };
        let chunks = ci.div_ceil(8 * layout.octets) * self.tiling.taps().div_ceil(TAPS);
        let columns = self.co.div_ceil(params.columns as usize);
        let (tiles, len) = (self.tiling.tiles(), dweight.elem_count());
        let most = ENOUGH_BLOCKS.div_ceil((chunks * columns).max(1));
        let share = tiles
            .div_ceil(most)
            .clamp(1, MOST_SUMMED / self.tiling.made().max(1));
        let count = tiles.div_ceil(share);
        params.tiles = share as i32;
        params.parts = call.workspace(size_of::<f32>() * count * len)?;
        let launch = Launch {
            blocks: [chunks, columns, count],
            threads: [THREADS, 1],
            shared: layout.shared(&self.tiling, layout.gradients()),
        };
        call.launch_product("conv_weight", layout.factor, launch, &params)?;
        let dweight = call.floats(("dw", dweight))?;
        add_parts(call, params.parts, count, dweight, len)
    }
}

/// No sources.
pub(super) const SOURCELESS: [ConvSource; MOST_SOURCES] = [ConvSource {
    x: Image::NONE,
    weight: Pointer::NONE,
    ci: 0,
}; MOST_SOURCES];

impl ConvSource {
    pub(super) fn new(call: &Call, x: &Operand, weight: &Tensor) -> Result<Self> {
        Ok(ConvSource {
            x: call.operand(x)?,
            weight: call.floats(("w", weight))?,
            ci: weight.dims()[2] as i32,
        })
    }
}

/// A convolution over some sources, into some of the channels of its output.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Product {
    Tiles(Tiles),
    Gather(Gather),
}

impl From<&conv::Geometry> for Product {
    fn from(g: &conv::Geometry) -> Self {
        match Tiles::of(g) {
            Some(tiles) => Product::Tiles(tiles),
            None => Product::Gather(g.into()),
        }
    }
}

impl Product {
    /// Both halves of a factorized reduction.
    pub(crate) fn halves(g: &factorized::Geometry) -> [Self; 2] {
        Gather::halves(g).map(Product::Gather)
    }
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
    if let ([Product::Tiles(tiles)], [inputs]) = (products, inputs) {
        return tiles.forward(&call, inputs, output);
    }
    for (product, inputs) in products.iter().zip(inputs) {
        match product {
            Product::Tiles(tiles) => tiles.forward(&call, inputs, &output.y.into())?,
            Product::Gather(gather) => gather.forward(&call, inputs, output.y)?,
        }
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
        match product {
            Product::Tiles(tiles) => tiles.weight(&call, dy, branch.x, dweight)?,
            Product::Gather(gather) => gather.weight(&call, dy, branch.x, dweight)?,
        }
    }
    let Some(target) = branch.dx else {
        return Ok(());
    };
    let mut acc = target.acc;
    for (product, (_, weight)) in products.iter().zip(branch.w) {
        match product {
            Product::Tiles(tiles) => tiles.input(&call, dy, weight, &target.dx, acc)?,
            Product::Gather(gather) => gather.input(&call, dy, weight, &target.dx, acc)?,
        }
        acc = Accumulate::Add;
    }
    call.complete_target(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than 48 KiB would have to be asked for.
    #[test]
    fn shared_memory_is_what_every_block_has() {
        for factor in [Element::F32, Element::Bf16] {
            let layout = Layout::of(factor);
            for kernel in [1, 3, 5, 7, 9, 17] {
                for [h, w] in [[1, 1], [4, 4], [8, 8], [33, 17], [32, 32], [1, 500]] {
                    let tiling = Tiling::of([64, h, w], kernel).unwrap();
                    for side in [layout.weights(tiling.taps()), layout.gradients()] {
                        let bytes = layout.shared(&tiling, side);
                        assert!(bytes <= 48 << 10, "{bytes}: {tiling:?} {factor:?}");
                    }
                }
            }
        }
    }
}
