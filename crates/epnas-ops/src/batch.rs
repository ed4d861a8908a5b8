//! Batches drawn from images that lie on a GPU.

use candle_core::Tensor;

use crate::cuda;
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::shape;
use crate::storage;

/// Images on a GPU, as bytes, and what normalizes them.
#[derive(Debug, Clone)]
pub struct DeviceImages {
    /// `u8`, `[images, h, w, c]`.
    pub pixels: Tensor,
    /// Class of every image, `u32`, `[images]`.
    pub labels: Tensor,
    /// What every byte of a channel becomes, `f32`, `[c, 256]`.
    pub table: Tensor,
}

/// Random crops, mirroring and cutout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distortion {
    /// Pixels of black padding before a window of the original size is cut out; 0 for no crop.
    pub pad: usize,
    /// Whether half of the windows are mirrored.
    pub mirror: Mirror,
    /// Side of a square that becomes 0; 0 for none.
    pub cutout: usize,
}

/// Mirroring left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    /// Never.
    Off,
    /// With probability one half.
    Half,
}

impl DeviceImages {
    /// Draws the images at `order[first], order[first + 1], ..`, as many as `x` holds, and moves `cursor` behind them.
    ///
    /// `cursor` holds the seed of a stream of random numbers and `first`. It lies on the device, so that a step that
    /// was captured goes on from batch to batch. For the image at position `p` of `order`, with `d(c, n)` the number
    /// from 0 to below `n` that splitmix64's sequence number `p` of the seed gives for channel `c`: the window starts
    /// at row `d(0, 2 pad + 1) - pad` and column `d(1, 2 pad + 1) - pad`, is mirrored when the top bit of draw 2 is
    /// set, and the square of the cutout is centered at `d(3, h)`, `d(4, w)`. Positions beyond `order`, and entries
    /// beyond the images, give NaN.
    ///
    /// # Shapes
    /// - `order`: `u32`, `[positions]`; `cursor`: `i64`, `[2]`
    /// - `x`: `[n, h, w, c]`; `labels`: `u32`, `[n]`
    ///
    /// # Errors
    /// Shapes or types that do not fit; a device that is no GPU: the CPU has its images in its own memory.
    pub fn draw(
        &self,
        order: &Tensor,
        cursor: &Tensor,
        distortion: Option<&Distortion>,
        x: &Tensor,
        labels: &Tensor,
    ) -> Result<()> {
        const OP: &str = "device_images.draw";
        let [images, h, w, c] = shape::nhwc(OP, "pixels", &self.pixels)?;
        let n = shape::nhwc(OP, "x", x)?[0];
        shape::expect(OP, "all_labels", &self.labels, &[images])?;
        shape::expect(OP, "table", &self.table, &[c, 256])?;
        shape::expect(OP, "cursor", cursor, &[2])?;
        shape::expect(OP, "order", order, &[order.elem_count()])?;
        shape::expect(OP, "x", x, &[n, h, w, c])?;
        shape::expect(OP, "labels", labels, &[n])?;
        let reads = [
            ("pixels", &self.pixels),
            ("all_labels", &self.labels),
            ("table", &self.table),
            ("order", order),
        ];
        let writes = [("cursor", cursor), ("x", x), ("labels", labels)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => Err(Error::not_on_the_cpu(OP, ("x", x))),
            Backend::Cuda(queue) => {
                cuda::batch::draw(&queue, OP, self, [order, cursor], distortion, [x, labels])
            }
        }
    }
}
