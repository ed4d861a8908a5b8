//! Dense two-dimensional convolution, also over several sources at once.

use candle_core::Tensor;

use crate::cuda::{self, DensePass, Queue, library::Job};
use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::{Error, Result};
use crate::kernel::backward::Wanted;
use crate::kernel::conv::{self, Geometry, Source};
use crate::kernel::images::Images;
use crate::operand::{self, Branch, Cotangent, Cursor, Operand, Output, Target};
use crate::precision::Precision;
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
    /// What products are computed in.
    pub precision: Precision,
}

/// One source of a convolution in the backward pass, and where its gradients go.
#[derive(Debug, Clone)]
pub struct ConvGradient {
    /// The source.
    pub x: Operand,
    /// Its weight.
    pub w: Tensor,
    /// Gradient of the weight, overwritten; none when it is not wanted.
    pub dw: Option<Tensor>,
    /// Gradient of the source; none when it is not wanted.
    pub dx: Option<Target>,
}

impl Conv2d {
    /// A convolution in single precision.
    pub const fn new(kernel: usize, stride: usize) -> Self {
        Conv2d {
            kernel,
            stride,
            precision: Precision::F32,
        }
    }

    /// Convolves every `(x, w)` of `inputs` and writes the sum into `y`.
    ///
    /// # Errors
    /// No input; shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward(&self, inputs: &[(&Tensor, &Tensor)], y: &Tensor) -> Result<()> {
        let operands: Vec<(Operand, &Tensor)> =
            inputs.iter().map(|&(x, w)| (x.into(), w)).collect();
        let inputs: Vec<(&Operand, &Tensor)> = operands.iter().map(|(x, w)| (x, *w)).collect();
        self.forward_fused(&inputs, y.into())
    }

    /// As [`Conv2d::forward`], with batch norms where sources are read and statistics of what is written.
    ///
    /// # Errors
    /// As for [`Conv2d::forward`].
    pub fn forward_fused(&self, inputs: &[(&Operand, &Tensor)], output: Output) -> Result<()> {
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
        let geometry = self.geometry(OP, &first.x, weight)?;
        let mut reads = Vec::with_capacity(5 * inputs.len());
        for &(x, w) in inputs {
            let ci = shape::nhwc(OP, "x", &x.x)?[3];
            shape::expect(OP, "x", &x.x, &[geometry.n, geometry.h, geometry.w, ci])?;
            shape::expect(OP, "w", w, &[self.kernel, self.kernel, ci, geometry.co])?;
            x.list(OP, "x", &mut reads)?;
            reads.push(("w", w));
        }
        shape::expect(OP, "y", output.y, &geometry.output())?;
        let mut writes = Vec::with_capacity(4);
        output.list(OP, &mut writes)?;
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let mut cursor = Cursor::new(&reads);
                let mut held = Vec::with_capacity(inputs.len());
                for (x, _) in inputs {
                    held.push((x.hold(&mut cursor)?, cursor.take()?, x.x.dims()[3]));
                }
                let sources: Vec<Source> = held
                    .iter()
                    .map(|(x, w, ci)| Source {
                        x: x.images(),
                        w,
                        ci: *ci,
                    })
                    .collect();
                output.write(OP, |y, finish| {
                    conv::forward(&geometry, &sources, y, finish)
                })
            }
            Backend::Cuda(queue) => {
                if let &[input] = inputs {
                    let passes = [DensePass::Forward];
                    if let Some(job) = Job::take(&queue, OP, &geometry, &first.x, &passes)? {
                        return job.forward(input, &output);
                    }
                }
                let product = (&geometry).into();
                cuda::conv::forward(&queue, OP, &[product], &[inputs.to_vec()], &output)
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
        let source = ConvGradient {
            x: dx.into(),
            w: w.clone(),
            dw: None,
            dx: Some(Target::new(dx, acc)),
        };
        self.backward("conv2d.backward_input", &dy.into(), &[source])
    }

    /// Gradient with respect to the weight of one source, `[kernel, kernel, ci, co]`; `dw` is overwritten.
    ///
    /// # Errors
    /// As for [`Conv2d::forward`].
    pub fn backward_weight(&self, x: &Tensor, dy: &Tensor, dw: &Tensor) -> Result<()> {
        let source = ConvGradient {
            x: x.into(),
            w: dw.clone(),
            dw: Some(dw.clone()),
            dx: None,
        };
        self.backward("conv2d.backward_weight", &dy.into(), &[source])
    }

    /// All gradients of [`Conv2d::forward_fused`] in one pass over the gradient of the output.
    ///
    /// # Errors
    /// As for [`Conv2d::forward`].
    pub fn backward_fused(&self, dy: &Cotangent, sources: &[ConvGradient]) -> Result<()> {
        self.backward("conv2d.backward", dy, sources)
    }

    fn backward(&self, op: &'static str, dy: &Cotangent, sources: &[ConvGradient]) -> Result<()> {
        shape::kernel_and_stride(op, self.kernel, self.stride)?;
        let Some(first) = sources.first() else {
            return Ok(());
        };
        let geometry = self.geometry(op, &first.x.x, &first.w)?;
        shape::expect(op, "dy", &dy.dy, &geometry.output())?;
        let mut branches = Vec::with_capacity(sources.len());
        for source in sources {
            let Geometry { n, h, w, co, .. } = self.geometry(op, &source.x.x, &source.w)?;
            let same = [geometry.n, geometry.h, geometry.w, geometry.co] == [n, h, w, co];
            if !same {
                let expected = format!("as the first source, {:?}", first.x.x.dims());
                return Err(shape::mismatch(op, "x", &source.x.x, expected));
            }
            branches.push(Branch {
                x: &source.x,
                w: [("w", &source.w)],
                dw: source.dw.as_ref().map(|dw| [("dw", dw)]),
                dx: source.dx.as_ref(),
            });
        }
        let cpu = |dy: Images, wanted: Vec<Wanted<1>>| {
            let channels = sources.iter().map(|source| source.w.dims()[2]);
            conv::backward(&geometry, dy, channels.zip(wanted).collect());
        };
        let cuda = |queue: &Queue, branches: &[Branch<1>]| {
            if let [branch] = branches {
                let passes = [DensePass::Weight, DensePass::Input];
                if let Some(job) = Job::take(queue, op, &geometry, &branch.x.x, &passes)? {
                    return job.backward(dy, branch);
                }
            }
            let product = [(&geometry).into()];
            let mut branches = branches.iter();
            branches.try_for_each(|b| cuda::conv::backward(queue, op, &product, dy, b))
        };
        operand::backward(op, geometry.n, dy, &branches, cpu, cuda)
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
            co,
            kernel: self.kernel,
            stride: self.stride,
            precision: self.precision,
        })
    }
}
