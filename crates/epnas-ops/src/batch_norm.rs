//! Batch normalization over batch, height and width, with an optional fused ReLU.

use candle_core::{DType, Tensor};

use crate::cuda::{self, Call};
use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::{Error, Result};
use crate::kernel::batch_norm::{self, Affine, Geometry};
use crate::kernel::norm_gradient::{self, Backflow};
use crate::kernel::statistics::{Statistics, statistics};
use crate::operand::{Cotangent, Cursor, Norm, NormGradient, Operand};
use crate::shape;
use crate::storage::{self, Arg, Reads};

/// Function applied after an affine operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Identity.
    None,
    /// `max(0, v)`; its derivative at 0 is 0.
    Relu,
}

/// Running statistics of a training pass.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// Running mean, `[c]`, updated in place.
    pub mean: &'a Tensor,
    /// Running unbiased variance, `[c]`, updated in place.
    pub variance: &'a Tensor,
    /// Weight of this batch, 0 to 1: `running = (1 - momentum) running + momentum batch`. 0.1 in training;
    /// `1 / t` in the `t`-th batch of a recalibration makes the statistics the plain average of the batches.
    pub momentum: f64,
}

impl Running<'_> {
    /// What is written, checked for `c` channels.
    pub(crate) fn list(&self, op: &'static str, c: usize) -> Result<[Arg<'_>; 2]> {
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::Setting {
                op,
                setting: "momentum",
                found: self.momentum.to_string(),
                expected: "a number from 0 to 1",
            });
        }
        shape::expect(op, "running.mean", self.mean, &[c])?;
        shape::expect(op, "running.variance", self.variance, &[c])?;
        Ok([
            ("running.mean", self.mean),
            ("running.variance", self.variance),
        ])
    }

    pub(crate) fn update(&self, op: &'static str, statistics: &Statistics) -> Result<()> {
        storage::write(op, ("running.mean", self.mean), |mean| {
            statistics.move_mean(self.momentum, mean);
            Ok(())
        })?;
        storage::write(op, ("running.variance", self.variance), |variance| {
            statistics.move_variance(self.momentum, variance);
            Ok(())
        })
    }
}

/// `y = activation(scale (x - mean) / sqrt(variance + eps) + shift)`, per channel (Ioffe & Szegedy, 2015).
///
/// Batch statistics use the biased variance, running statistics the unbiased one, as in PyTorch. Sums run
/// over fixed blocks of rows and are combined in `f64` in a fixed order.
///
/// # Shapes
/// - `x`, `y`, `dy`, `dx`: `[n, h, w, c]`
/// - `scale`, `shift`, running statistics, `dscale`, `dshift`: `[c]`
/// - `saved`: `[2, c]`: mean, then `1 / sqrt(variance + eps)`, of the batch
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance: above 0, 1e-5 by default.
    pub eps: f64,
    /// Applied to the result.
    pub activation: Activation,
}

impl Default for BatchNorm {
    /// `eps` 1e-5, no activation.
    fn default() -> Self {
        BatchNorm {
            eps: 1e-5,
            activation: Activation::None,
        }
    }
}

impl BatchNorm {
    /// Normalizes by the statistics of the batch, keeps them in `saved` for [`BatchNorm::backward`] and
    /// moves the running statistics. With one value per channel the unbiased variance is undefined; the
    /// running variance then takes the biased one, 0.
    ///
    /// # Errors
    /// Shapes that do not fit (see the type); `eps` not above 0; momentum outside 0 to 1; wrong type or
    /// layout; aliasing; unsupported device.
    pub fn forward_train(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        running: Running,
        saved: &Tensor,
        y: &Tensor,
    ) -> Result<()> {
        const OP: &str = "batch_norm.forward_train";
        let geometry = self.checked_geometry(OP, x)?;
        let c = [geometry.c];
        shape::expect(OP, "scale", scale, &c)?;
        shape::expect(OP, "shift", shift, &c)?;
        let [mean, variance] = running.list(OP, geometry.c)?;
        shape::expect(OP, "saved", saved, &[2, geometry.c])?;
        shape::expect(OP, "y", y, x.dims())?;
        let reads = [("x", x), ("scale", scale), ("shift", shift)];
        let writes = [mean, variance, ("saved", saved), ("y", y)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                storage::expect_dtype::<f32>(OP, &writes)?;
                let reads = Reads::lock(OP, &reads);
                let (x, scale, shift) = (reads.get(0)?, reads.get(1)?, reads.get(2)?);
                storage::write(OP, writes[2], |saved| {
                    let statistics = statistics(&geometry, x);
                    statistics.save(self.eps, saved);
                    running.update(OP, &statistics)?;
                    let affine = Affine::of(scale, shift, saved, self.activation);
                    storage::write(OP, writes[3], |y| {
                        batch_norm::apply(&geometry, &affine, x, y);
                        Ok(())
                    })
                })
            }
            Backend::Cuda(queue) => {
                let call = Call::new(OP, &queue, ("x", x))?;
                cuda::batch_norm::statistics(&call, x, self.eps, saved, Some(running))?;
                cuda::batch_norm::apply(&call, &self.operand(x, scale, shift, saved), y)
            }
        }
    }

    /// The statistics of [`BatchNorm::forward_train`] alone.
    pub(crate) fn statistics(&self, x: &Tensor) -> Result<Tensor> {
        const OP: &str = "batch_norm.statistics";
        let geometry = self.checked_geometry(OP, x)?;
        let saved = Tensor::zeros((2, geometry.c), x.dtype(), x.device())?;
        let reads = [("x", x)];
        match storage::check(OP, &reads, &[("saved", &saved)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let statistics = statistics(&geometry, reads.get(0)?);
                storage::write(OP, ("saved", &saved), |saved| {
                    statistics.save(self.eps, saved);
                    Ok(())
                })?;
            }
            Backend::Cuda(queue) => {
                let call = Call::new(OP, &queue, ("x", x))?;
                cuda::batch_norm::statistics(&call, x, self.eps, &saved, None)?;
            }
        }
        Ok(saved)
    }

    /// Writes the statistics of a batch as `saved` ones and moves the running ones: [`BatchNorm::forward_train`] without
    /// the pass that normalizes, where a [`Norm`](crate::Norm) does that on the way.
    ///
    /// # Errors
    /// As for [`BatchNorm::forward_train`].
    pub fn save_batch(&self, x: &Tensor, running: Running, saved: &Tensor) -> Result<()> {
        const OP: &str = "batch_norm.save_batch";
        let geometry = self.checked_geometry(OP, x)?;
        let [mean, variance] = running.list(OP, geometry.c)?;
        shape::expect(OP, "saved", saved, &[2, geometry.c])?;
        let reads = [("x", x)];
        match storage::check(OP, &reads, &[mean, variance, ("saved", saved)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let statistics = statistics(&geometry, reads.get(0)?);
                storage::write(OP, ("saved", saved), |saved| {
                    statistics.save(self.eps, saved);
                    Ok(())
                })?;
                running.update(OP, &statistics)
            }
            Backend::Cuda(queue) => {
                let call = Call::new(OP, &queue, ("x", x))?;
                cuda::batch_norm::statistics(&call, x, self.eps, saved, Some(running))
            }
        }
    }

    /// Writes running statistics as `saved` ones, so that a [`Norm`](crate::Norm) normalizes by them.
    ///
    /// # Errors
    /// As for [`BatchNorm::forward_train`].
    pub fn save_running(&self, mean: &Tensor, variance: &Tensor, saved: &Tensor) -> Result<()> {
        const OP: &str = "batch_norm.save_running";
        let c = mean.elem_count();
        shape::expect(OP, "variance", variance, &[c])?;
        shape::expect(OP, "saved", saved, &[2, c])?;
        let reads = [("mean", mean), ("variance", variance)];
        match storage::check(OP, &reads, &[("saved", saved)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (mean, variance) = (reads.get(0)?, reads.get(1)?);
                storage::write(OP, ("saved", saved), |saved| {
                    batch_norm::saved_of(mean, variance, self.eps, saved);
                    Ok(())
                })
            }
            Backend::Cuda(queue) => {
                cuda::batch_norm::save_running(&queue, OP, [mean, variance, saved], self.eps)
            }
        }
    }

    /// The gradients with respect to scale and shift that follow from that of the result, where no operator took
    /// them along (see [`Target`](crate::Target)).
    ///
    /// # Errors
    /// As for [`BatchNorm::forward_train`].
    pub fn backward_parameters(dy: &Tensor, norm: &NormGradient) -> Result<()> {
        const OP: &str = "batch_norm.backward_parameters";
        let [n, h, w, c] = shape::nhwc(OP, "dy", dy)?;
        let geometry = Geometry { rows: n * h * w, c };
        let mut reads = vec![("dy", dy)];
        let writes = norm.list(OP, dy, &mut reads)?;
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let mut cursor = Cursor::new(&reads);
                let (dy, x) = (cursor.take()?, cursor.take()?);
                let affine = norm.norm.hold(&mut cursor)?;
                let sums = norm_gradient::gradient_sums(&geometry, &affine, x, dy);
                storage::write(OP, writes[0], |dscale| {
                    sums.save_scale(dscale);
                    Ok(())
                })?;
                storage::write(OP, writes[1], |dshift| {
                    sums.save_shift(dshift);
                    Ok(())
                })
            }
            Backend::Cuda(queue) => {
                let call = Call::new(OP, &queue, ("dy", dy))?;
                cuda::batch_norm::gradient(&call, dy, norm)
            }
        }
    }

    /// The gradient of what was normalized, where no operator reads it as a [`Cotangent`]. The
    /// gradients of scale and shift are known.
    ///
    /// # Errors
    /// As for [`BatchNorm::forward_train`].
    pub fn backward_input(
        dy: &Tensor,
        norm: &NormGradient,
        dx: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        const OP: &str = "batch_norm.backward_input";
        let [n, h, w, c] = shape::nhwc(OP, "dy", dy)?;
        let geometry = Geometry { rows: n * h * w, c };
        shape::expect(OP, "dx", dx, dy.dims())?;
        let mut reads = vec![("dy", dy)];
        let gradients = norm.list(OP, dy, &mut reads)?;
        reads.extend(gradients);
        let writes = [("dx", dx)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let mut cursor = Cursor::new(&reads);
                let (dy, x) = (cursor.take()?, cursor.take()?);
                let affine = norm.norm.hold(&mut cursor)?;
                let (dscale, dshift) = (cursor.take()?, cursor.take()?);
                let flow = Backflow::of(&affine, dscale, dshift, geometry.rows);
                storage::write(OP, writes[0], |dx| {
                    norm_gradient::input_gradient(&geometry, &affine, &flow, x, dy, dx, acc);
                    Ok(())
                })
            }
            Backend::Cuda(queue) => {
                let call = Call::new(OP, &queue, ("dy", dy))?;
                let dy = Cotangent {
                    dy: dy.clone(),
                    norm: Some(norm.clone()),
                };
                cuda::batch_norm::input_gradient(&call, &dy, dx, acc)
            }
        }
    }

    /// Normalizes by given statistics, for example the running ones.
    ///
    /// # Errors
    /// As for [`BatchNorm::forward_train`].
    pub fn forward_eval(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        mean: &Tensor,
        variance: &Tensor,
        y: &Tensor,
    ) -> Result<()> {
        const OP: &str = "batch_norm.forward_eval";
        let geometry = self.checked_geometry(OP, x)?;
        let vectors = [
            ("scale", scale),
            ("shift", shift),
            ("mean", mean),
            ("variance", variance),
        ];
        for (name, vector) in vectors {
            shape::expect(OP, name, vector, &[geometry.c])?;
        }
        shape::expect(OP, "y", y, x.dims())?;
        let reads = [vectors[0], vectors[1], vectors[2], vectors[3], ("x", x)];
        match storage::check(OP, &reads, &[("y", y)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let mut saved = vec![0.0; 2 * geometry.c];
                batch_norm::saved_of(reads.get(2)?, reads.get(3)?, self.eps, &mut saved);
                let affine = Affine::of(reads.get(0)?, reads.get(1)?, &saved, self.activation);
                let x = reads.get(4)?;
                storage::write(OP, ("y", y), |y| {
                    batch_norm::apply(&geometry, &affine, x, y);
                    Ok(())
                })
            }
            Backend::Cuda(queue) => {
                let call = Call::new(OP, &queue, ("x", x))?;
                let saved = Tensor::zeros((2, geometry.c), DType::F32, x.device())?;
                cuda::batch_norm::save_running(&queue, OP, [mean, variance, &saved], self.eps)?;
                cuda::batch_norm::apply(&call, &self.operand(x, scale, shift, &saved), y)
            }
        }
    }

    /// Gradients of [`BatchNorm::forward_train`], which depends on `x` through the statistics too. The ReLU
    /// mask is computed again from `x`, so `y` need not be kept. `dscale` and `dshift` are overwritten.
    ///
    /// # Errors
    /// As for [`BatchNorm::forward_train`].
    #[expect(clippy::too_many_arguments, reason = "one per tensor of the operator")]
    pub fn backward(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        saved: &Tensor,
        dy: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
        dscale: &Tensor,
        dshift: &Tensor,
    ) -> Result<()> {
        const OP: &str = "batch_norm.backward";
        let geometry = self.checked_geometry(OP, x)?;
        let c = [geometry.c];
        shape::expect(OP, "scale", scale, &c)?;
        shape::expect(OP, "shift", shift, &c)?;
        shape::expect(OP, "saved", saved, &[2, geometry.c])?;
        shape::expect(OP, "dy", dy, x.dims())?;
        shape::expect(OP, "dx", dx, x.dims())?;
        shape::expect(OP, "dscale", dscale, &c)?;
        shape::expect(OP, "dshift", dshift, &c)?;
        let reads = [
            ("x", x),
            ("scale", scale),
            ("shift", shift),
            ("saved", saved),
            ("dy", dy),
        ];
        let writes = [("dx", dx), ("dscale", dscale), ("dshift", dshift)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                storage::expect_dtype::<f32>(OP, &writes)?;
                let reads = Reads::lock(OP, &reads);
                let (scale, shift, saved) = (reads.get(1)?, reads.get(2)?, reads.get(3)?);
                let affine = Affine::of(scale, shift, saved, self.activation);
                let (x, dy) = (reads.get(0)?, reads.get(4)?);
                let sums = norm_gradient::gradient_sums(&geometry, &affine, x, dy);
                let flow = storage::write(OP, writes[1], |dscale| {
                    sums.save_scale(dscale);
                    storage::write(OP, writes[2], |dshift| {
                        sums.save_shift(dshift);
                        Ok(Backflow::of(&affine, dscale, dshift, geometry.rows))
                    })
                })?;
                storage::write(OP, writes[0], |dx| {
                    norm_gradient::input_gradient(&geometry, &affine, &flow, x, dy, dx, acc);
                    Ok(())
                })
            }
            Backend::Cuda(queue) => {
                let call = Call::new(OP, &queue, ("x", x))?;
                let operand = self.operand(x, scale, shift, saved);
                let norm = operand.norm.into_iter().map(|norm| NormGradient {
                    norm,
                    x: x.clone(),
                    dscale: dscale.clone(),
                    dshift: dshift.clone(),
                });
                for norm in norm {
                    cuda::batch_norm::gradient(&call, dy, &norm)?;
                    let dy = Cotangent {
                        dy: dy.clone(),
                        norm: Some(norm),
                    };
                    cuda::batch_norm::input_gradient(&call, &dy, dx, acc)?;
                }
                Ok(())
            }
        }
    }

    /// `x` with this batch norm before it.
    fn operand(&self, x: &Tensor, scale: &Tensor, shift: &Tensor, saved: &Tensor) -> Operand {
        let norm = Norm {
            activation: self.activation,
            scale: scale.clone(),
            shift: shift.clone(),
            saved: saved.clone(),
        };
        Operand {
            x: x.clone(),
            norm: Some(norm),
        }
    }

    /// The geometry, settings and the shape of the input checked.
    pub(crate) fn checked_geometry(&self, op: &'static str, x: &Tensor) -> Result<Geometry> {
        if self.eps.is_nan() || self.eps <= 0.0 {
            return Err(Error::Setting {
                op,
                setting: "eps",
                found: self.eps.to_string(),
                expected: "a number above 0",
            });
        }
        let [n, h, w, c] = shape::nhwc(op, "x", x)?;
        Ok(Geometry { rows: n * h * w, c })
    }
}
