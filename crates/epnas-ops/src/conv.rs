//! Dense two-dimensional convolution, also over several sources at once.

use candle_core::Tensor;

use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::{Error, Result};
use crate::kernel::conv::{self, Geometry, Source};
use crate::shape;
use crate::storage::{self, Reads};

/// Dense convolution without bias, padding `kernel / 2`.
///
/// `y[n, i, j, o] = sum over sources, u, v, c of x[n, s i + u - k/2, s j + v - k/2, c] w[u, v, c, o]`, where
/// `k` is the kernel, `s` the stride, and `x` is zero outside of the image.
///
/// With several sources the result is the sum of their convolutions, which equals one convolution over the
/// concatenation of the sources, without making it: the way macro layers join their inputs and micro cells
/// their blocks (Perez-Rua et al., 2018, section 3).
///
/// # Shapes
/// - `x`: `[n, h, w, ci]`; sources may differ in `ci` only
/// - `w`: `[kernel, kernel, ci, co]` (HWIO)
/// - `y`, `dy`: `[n, ceil(h / stride), ceil(w / stride), co]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Height and width of the window: odd.
    pub kernel: usize,
    /// Step of the window: 1 or 2.
    pub stride: usize,
}

impl Conv2d {
    /// Convolves every `(x, w)` of `inputs` and writes the sum into `y`.
    ///
    /// # Errors
    /// No input; shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward(&self, inputs: &[(&Tensor, &Tensor)], y: &Tensor) -> Result<()> {
        const OP: &str = "conv2d.forward";
        shape::kernel_and_stride(OP, self.kernel, self.stride)?;
        let Some(&(first, weight)) = inputs.first() else {
            return Err(Error::Setting {
                op: OP,
                setting: "number of inputs",
                found: "0".to_string(),
                expected: "at least 1",
            });
        };
        let geometry = self.geometry(OP, first, weight)?;
        let mut reads = Vec::with_capacity(2 * inputs.len());
        for &(x, w) in inputs {
            let ci = shape::nhwc(OP, "x", x)?[3];
            shape::expect(OP, "x", x, &[geometry.n, geometry.h, geometry.w, ci])?;
            shape::expect(OP, "w", w, &[self.kernel, self.kernel, ci, geometry.co])?;
            reads.extend([("x", x), ("w", w)]);
        }
        shape::expect(OP, "y", y, &geometry.output())?;
        match storage::check(OP, &reads, &[("y", y)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let sources = inputs
                    .iter()
                    .enumerate()
                    .map(|(i, (x, _))| {
                        Ok(Source {
                            x: reads.get(2 * i)?,
                            w: reads.get(2 * i + 1)?,
                            ci: x.dims()[3],
                        })
                    })
                    .collect::<Result<Vec<_>>>()?;
                storage::write(OP, ("y", y), |y| {
                    conv::forward(&geometry, &sources, y);
                    Ok(())
                })
            }
        }
    }

    /// Gradient with respect to one source, `[n, h, w, ci]`.
    ///
    /// # Errors
    /// As for [`Conv2d::forward`].
    pub fn backward_input(
        &self,
        dy: &Tensor,
        w: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        const OP: &str = "conv2d.backward_input";
        shape::kernel_and_stride(OP, self.kernel, self.stride)?;
        let geometry = self.geometry(OP, dx, w)?;
        shape::expect(OP, "dy", dy, &geometry.output())?;
        let reads = [("dy", dy), ("w", w)];
        match storage::check(OP, &reads, &[("dx", dx)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (dy, w) = (reads.get(0)?, reads.get(1)?);
                storage::write(OP, ("dx", dx), |dx| {
                    conv::backward_input(&geometry, dy, w, dx, acc);
                    Ok(())
                })
            }
        }
    }

    /// Gradient with respect to the weight of one source, `[kernel, kernel, ci, co]`; `dw` is overwritten.
    ///
    /// # Errors
    /// As for [`Conv2d::forward`].
    pub fn backward_weight(&self, x: &Tensor, dy: &Tensor, dw: &Tensor) -> Result<()> {
        const OP: &str = "conv2d.backward_weight";
        shape::kernel_and_stride(OP, self.kernel, self.stride)?;
        let geometry = self.geometry(OP, x, dw)?;
        shape::expect(OP, "dy", dy, &geometry.output())?;
        let reads = [("x", x), ("dy", dy)];
        match storage::check(OP, &reads, &[("dw", dw)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (x, dy) = (reads.get(0)?, reads.get(1)?);
                storage::write(OP, ("dw", dw), |dw| {
                    conv::backward_weight(&geometry, x, dy, dw);
                    Ok(())
                })
            }
        }
    }

    /// The geometry, all settings and shapes checked.
    pub(crate) fn checked_geometry(
        &self,
        op: &'static str,
        x: &Tensor,
        w: &Tensor,
    ) -> Result<Geometry> {
        shape::kernel_and_stride(op, self.kernel, self.stride)?;
        let args = [("x", x), ("w", w)];
        storage::expect_dtype::<f32>(op, &args)?;
        self.geometry(op, x, w)
    }

    /// Reads the geometry off an input-shaped and a weight-shaped tensor.
    fn geometry(&self, op: &'static str, x: &Tensor, w: &Tensor) -> Result<Geometry> {
        let name = if op == "conv2d.backward_input" {
            "dx"
        } else {
            "x"
        };
        let [n, h, width, ci] = shape::nhwc(op, name, x)?;
        let co = match *w.dims() {
            [a, b, c, co] if a == self.kernel && b == self.kernel && c == ci && co > 0 => co,
            _ => {
                let name = if op == "conv2d.backward_weight" {
                    "dw"
                } else {
                    "w"
                };
                let k = self.kernel;
                return Err(shape::mismatch(
                    op,
                    name,
                    w,
                    format!("[{k}, {k}, {ci}, output channels]"),
                ));
            }
        };
        Ok(Geometry {
            n,
            h,
            w: width,
            ci,
            co,
            kernel: self.kernel,
            stride: self.stride,
        })
    }
}
