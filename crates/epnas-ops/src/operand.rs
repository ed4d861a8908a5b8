//! What operators read and write: tensors, and batch norms that are applied on the way.
//!
//! A batch norm between two operators need not be a pass over memory of its own. Its statistics are sums over what
//! the operator before it writes ([`Output`]); its affine map and ReLU can be applied where the operators after it
//! read ([`Operand`]). Backward, its gradients are sums over what those operators write ([`Target`]), and the gradient
//! of its input can be computed where the operator before it reads ([`Cotangent`]).

use candle_core::Tensor;

use crate::batch_norm::{Activation, Running};
use crate::cuda::Queue;
use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::backward::{InputGradient, Wanted};
use crate::kernel::batch_norm::Affine;
use crate::kernel::epilogue::{Epilogue, Finish, Moments, NormSums, Nothing};
use crate::kernel::images::Images;
use crate::kernel::norm_gradient::Backflow;
use crate::scratch;
use crate::shape;
use crate::storage::{self, Arg, Reads};

/// A batch norm by statistics that are known: `activation(scale (x - mean) / deviation + shift)`.
#[derive(Debug, Clone)]
pub struct Norm {
    /// Applied to the result.
    pub activation: Activation,
    /// `[c]`
    pub scale: Tensor,
    /// `[c]`
    pub shift: Tensor,
    /// `[2, c]`: mean, then inverse deviation.
    pub saved: Tensor,
}

/// A tensor as an operator reads it.
#[derive(Debug, Clone)]
pub struct Operand {
    /// `[n, h, w, c]`
    pub x: Tensor,
    /// Applied to `x` where it is read.
    pub norm: Option<Norm>,
}

/// A batch norm with its input and the gradients of its parameters.
#[derive(Debug, Clone)]
pub struct NormGradient {
    /// The batch norm.
    pub norm: Norm,
    /// What it normalized, `[n, h, w, c]`.
    pub x: Tensor,
    /// Gradient with respect to the scale, `[c]`.
    pub dscale: Tensor,
    /// Gradient with respect to the shift, `[c]`.
    pub dshift: Tensor,
}

/// The gradient with respect to what an operator wrote.
#[derive(Debug, Clone)]
pub struct Cotangent {
    /// The gradient, `[n, h, w, c]`; with `norm`, that with respect to what the batch norm made of the output.
    pub dy: Tensor,
    /// The batch norm, whose gradients are known, that the gradient still has to pass.
    pub norm: Option<NormGradient>,
}

/// Where the gradient with respect to an operator's input goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The gradient, `[n, h, w, c]`.
    pub dx: Tensor,
    /// Whether what it holds already stays.
    pub acc: Accumulate,
    /// Batch norms whose results have this gradient: their `dscale` and `dshift` are overwritten by the gradients
    /// that follow from it. To be asked for where the last summand is added.
    pub norms: Vec<NormGradient>,
}

/// Where an operator's result goes.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// The result, `[n, h, w, c]`.
    pub y: &'a Tensor,
    /// Statistics of the result that a batch norm needs.
    pub statistics: Option<BatchStatistics<'a>>,
}

/// Statistics over a batch, taken while it is written.
#[derive(Debug, Clone, Copy)]
pub struct BatchStatistics<'a> {
    /// Added to the variance: above 0.
    pub eps: f64,
    /// `[2, c]`, overwritten: mean, then `1 / sqrt(variance + eps)`.
    pub saved: &'a Tensor,
    /// Running statistics, which move.
    pub running: Running<'a>,
}

impl From<&Tensor> for Operand {
    fn from(x: &Tensor) -> Self {
        Operand {
            x: x.clone(),
            norm: None,
        }
    }
}

impl From<&Tensor> for Cotangent {
    fn from(dy: &Tensor) -> Self {
        Cotangent {
            dy: dy.clone(),
            norm: None,
        }
    }
}

impl<'a> From<&'a Tensor> for Output<'a> {
    fn from(y: &'a Tensor) -> Self {
        Output {
            y,
            statistics: None,
        }
    }
}

impl Target {
    /// A gradient that no batch norm waits for.
    pub fn new(dx: &Tensor, acc: Accumulate) -> Self {
        Target {
            dx: dx.clone(),
            acc,
            norms: Vec::new(),
        }
    }
}

/// Images that are read, their batch norm ready to be applied.
pub(crate) struct Held<'a> {
    data: &'a [f32],
    affine: Option<Affine>,
    through: Option<(&'a [f32], Backflow)>,
}

impl Held<'_> {
    pub(crate) fn images(&self) -> Images<'_> {
        match (&self.affine, &self.through) {
            (Some(affine), Some((x, flow))) => Images::Through {
                dy: self.data,
                x,
                affine,
                flow,
            },
            (Some(affine), None) => Images::Normalized {
                x: self.data,
                affine,
            },
            _ => Images::Plain(self.data),
        }
    }
}

/// Takes arguments in the order in which they were listed.
pub(crate) struct Cursor<'a> {
    reads: &'a Reads<'a>,
    next: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(reads: &'a Reads<'a>) -> Self {
        Cursor::after(reads, 0)
    }

    /// Behind the first `taken` arguments.
    pub(crate) fn after(reads: &'a Reads<'a>, taken: usize) -> Self {
        Cursor { reads, next: taken }
    }

    pub(crate) fn take(&mut self) -> Result<&'a [f32]> {
        self.next += 1;
        self.reads.get(self.next - 1)
    }
}

impl Norm {
    fn list<'a>(&'a self, op: &'static str, c: usize, reads: &mut Vec<Arg<'a>>) -> Result<()> {
        shape::expect(op, "norm.scale", &self.scale, &[c])?;
        shape::expect(op, "norm.shift", &self.shift, &[c])?;
        shape::expect(op, "norm.saved", &self.saved, &[2, c])?;
        reads.extend([
            ("norm.scale", &self.scale),
            ("norm.shift", &self.shift),
            ("norm.saved", &self.saved),
        ]);
        Ok(())
    }

    pub(crate) fn hold(&self, cursor: &mut Cursor) -> Result<Affine> {
        let (scale, shift, saved) = (cursor.take()?, cursor.take()?, cursor.take()?);
        Ok(Affine::of(scale, shift, saved, self.activation))
    }
}

impl Operand {
    /// Lists the arguments; the shape of `x` has been checked.
    pub(crate) fn list<'a>(
        &'a self,
        op: &'static str,
        name: &'static str,
        reads: &mut Vec<Arg<'a>>,
    ) -> Result<()> {
        let c = shape::nhwc(op, name, &self.x)?[3];
        reads.push((name, &self.x));
        match &self.norm {
            Some(norm) => norm.list(op, c, reads),
            None => Ok(()),
        }
    }

    pub(crate) fn hold<'a>(&self, cursor: &mut Cursor<'a>) -> Result<Held<'a>> {
        let data = cursor.take()?;
        let norm = self.norm.as_ref();
        Ok(Held {
            data,
            affine: norm.map(|norm| norm.hold(cursor)).transpose()?,
            through: None,
        })
    }
}

impl NormGradient {
    pub(crate) fn list<'a>(
        &'a self,
        op: &'static str,
        of: &Tensor,
        reads: &mut Vec<Arg<'a>>,
    ) -> Result<[Arg<'a>; 2]> {
        let c = shape::nhwc(op, "norm.x", &self.x)?[3];
        shape::expect(op, "norm.x", &self.x, of.dims())?;
        shape::expect(op, "norm.dscale", &self.dscale, &[c])?;
        shape::expect(op, "norm.dshift", &self.dshift, &[c])?;
        reads.push(("norm.x", &self.x));
        self.norm.list(op, c, reads)?;
        Ok([("norm.dscale", &self.dscale), ("norm.dshift", &self.dshift)])
    }
}

impl Cotangent {
    /// Lists the arguments; the shape of `dy` has been checked.
    pub(crate) fn list<'a>(&'a self, op: &'static str, reads: &mut Vec<Arg<'a>>) -> Result<()> {
        reads.push(("dy", &self.dy));
        if let Some(norm) = &self.norm {
            let gradients = norm.list(op, &self.dy, reads)?;
            reads.extend(gradients);
        }
        Ok(())
    }

    pub(crate) fn hold<'a>(&self, cursor: &mut Cursor<'a>) -> Result<Held<'a>> {
        let data = cursor.take()?;
        let Some(norm) = &self.norm else {
            return Ok(Held {
                data,
                affine: None,
                through: None,
            });
        };
        let x = cursor.take()?;
        let affine = norm.norm.hold(cursor)?;
        let (dscale, dshift) = (cursor.take()?, cursor.take()?);
        let flow = Backflow::of(&affine, dscale, dshift, x.len() / affine.channels());
        Ok(Held {
            data,
            affine: Some(affine),
            through: Some((x, flow)),
        })
    }
}

impl Target {
    /// Lists the arguments; the shape of `dx` has been checked.
    pub(crate) fn list<'a>(
        &'a self,
        op: &'static str,
        reads: &mut Vec<Arg<'a>>,
        writes: &mut Vec<Arg<'a>>,
    ) -> Result<()> {
        writes.push(("dx", &self.dx));
        for norm in &self.norms {
            writes.extend(norm.list(op, &self.dx, reads)?);
        }
        Ok(())
    }

    pub(crate) fn hold<'a>(&self, cursor: &mut Cursor<'a>) -> Result<NormSums<'a>> {
        let mut norms = Vec::with_capacity(self.norms.len());
        for norm in &self.norms {
            let x = cursor.take()?;
            norms.push((norm.norm.hold(cursor)?, x));
        }
        Ok(NormSums { norms })
    }
}

/// A target whose memory is there.
pub(crate) struct OpenTarget<'r, 'w> {
    acc: Accumulate,
    dx: &'w mut [f32],
    sums: NormSums<'r>,
    /// Gradients of scale and shift of every batch norm.
    gradients: Vec<[&'w mut [f32]; 2]>,
}

impl<'r, 'w> OpenTarget<'r, 'w> {
    /// Takes the slices that the target listed.
    pub(crate) fn new(
        target: &Target,
        sums: NormSums<'r>,
        slices: &mut impl Iterator<Item = &'w mut [f32]>,
    ) -> Option<Self> {
        let dx = slices.next()?;
        let mut gradients = Vec::with_capacity(target.norms.len());
        for _ in &target.norms {
            gradients.push([slices.next()?, slices.next()?]);
        }
        Some(OpenTarget {
            acc: target.acc,
            dx,
            sums,
            gradients,
        })
    }
}

/// One input of an operator in the backward pass, with its `N` weights, and where the gradients go. Shapes of `x` and
/// `w` have been checked.
pub(crate) struct Branch<'a, const N: usize> {
    pub(crate) x: &'a Operand,
    pub(crate) w: [Arg<'a>; N],
    pub(crate) dw: Option<[Arg<'a>; N]>,
    pub(crate) dx: Option<&'a Target>,
}

/// Runs the backward pass of a linear operator over `n` images: checks and takes the memory of all arguments, and hands
/// the CPU's kernel the gradient of the output and what is wanted of each branch; or checks them and calls the GPU's.
pub(crate) fn backward<const N: usize>(
    op: &'static str,
    n: usize,
    dy: &Cotangent,
    branches: &[Branch<N>],
    cpu: impl FnOnce(Images, Vec<Wanted<N>>),
    cuda: impl FnOnce(&Queue, &[Branch<N>]) -> Result<()>,
) -> Result<()> {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    dy.list(op, &mut reads)?;
    for Branch { x, w, dw, dx } in branches {
        if let Some(dw) = dw {
            for ((name, dw), (_, w)) in dw.iter().zip(w) {
                shape::expect(op, name, dw, w.dims())?;
            }
            x.list(op, "x", &mut reads)?;
            writes.extend(dw);
        }
        if let Some(target) = dx {
            shape::expect(op, "dx", &target.dx, x.x.dims())?;
            reads.extend(w);
            target.list(op, &mut reads, &mut writes)?;
        }
    }
    match storage::check(op, &reads, &writes)? {
        Backend::Cpu => {
            let reads = Reads::lock(op, &reads);
            let mut cursor = Cursor::new(&reads);
            let dy = dy.hold(&mut cursor)?;
            let mut inputs = Vec::with_capacity(branches.len());
            let mut weights = Vec::with_capacity(branches.len());
            for Branch { x, dw, dx, .. } in branches {
                inputs.push(match dw {
                    Some(_) => Some(x.hold(&mut cursor)?),
                    None => None,
                });
                weights.push(match dx {
                    Some(target) => {
                        let mut slices: [&[f32]; N] = [&[]; N];
                        for slice in &mut slices {
                            *slice = cursor.take()?;
                        }
                        Some((slices, target.hold(&mut cursor)?))
                    }
                    None => None,
                });
            }
            storage::write_all(op, &writes, |mut slices| {
                let mut targets = Vec::with_capacity(branches.len());
                let mut gradients = Vec::with_capacity(branches.len());
                for ((branch, x), weights) in branches.iter().zip(&inputs).zip(weights) {
                    let dw = branch
                        .dw
                        .map(|names| names.map(|_| slices.next().unwrap_or_default()));
                    let (w, sums) = weights.unzip();
                    let target = branch.dx.zip(sums);
                    targets
                        .push(target.and_then(|(dx, sums)| OpenTarget::new(dx, sums, &mut slices)));
                    gradients.push((w, x.as_ref().map(Held::images).zip(dw)));
                }
                into_targets(n, &mut targets, |inputs| {
                    let wanted = inputs.into_iter().zip(gradients);
                    let wanted = wanted.map(|(input, (w, weight))| Wanted {
                        input: w.zip(input),
                        weight,
                    });
                    cpu(dy.images(), wanted.collect());
                });
                Ok(())
            })
        }
        Backend::Cuda(queue) => cuda(&queue, branches),
    }
}

/// Runs the backward pass of a batch of `n` images into the targets, then completes the gradients of their batch norms.
pub(crate) fn into_targets<R>(
    n: usize,
    targets: &mut [Option<OpenTarget>],
    body: impl FnOnce(Vec<Option<InputGradient>>) -> R,
) -> R {
    let len = |target: &OpenTarget| n * target.sums.part_len();
    let room = targets.iter().flatten().map(len).sum();
    scratch::with(room, |room| {
        let mut rest = &mut *room;
        let mut inputs = Vec::with_capacity(targets.len());
        for target in &mut *targets {
            inputs.push(target.as_mut().map(|target| {
                let (parts, after) = std::mem::take(&mut rest).split_at_mut(len(target));
                rest = after;
                let epilogue = &target.sums;
                InputGradient {
                    dx: &mut *target.dx,
                    acc: target.acc,
                    finish: Finish { epilogue, parts },
                }
            }));
        }
        let result = body(inputs);
        let mut rest = &*room;
        for target in targets.iter_mut().flatten() {
            let (parts, after) = rest.split_at(len(target));
            rest = after;
            let sums = target.sums.combine(parts);
            for (sums, [dscale, dshift]) in sums.iter().zip(&mut target.gradients) {
                sums.save_scale(dscale);
                sums.save_shift(dshift);
            }
        }
        result
    })
}

impl Output<'_> {
    /// Lists what is written; the shape of `y` has been checked.
    pub(crate) fn list<'a>(&'a self, op: &'static str, writes: &mut Vec<Arg<'a>>) -> Result<()> {
        writes.push(("y", self.y));
        if let Some(statistics) = &self.statistics {
            let c = shape::nhwc(op, "y", self.y)?[3];
            shape::expect(op, "saved", statistics.saved, &[2, c])?;
            writes.push(("saved", statistics.saved));
            writes.extend(statistics.running.list(op, c)?);
        }
        Ok(())
    }

    /// Runs the forward pass into `y` and completes the statistics.
    pub(crate) fn write(
        &self,
        op: &'static str,
        body: impl FnOnce(&mut [f32], &mut Finish),
    ) -> Result<()> {
        let [n, h, w, c] = shape::nhwc(op, "y", self.y)?;
        let moments = Moments { channels: c };
        let epilogue: &dyn Epilogue = match self.statistics {
            Some(_) => &moments,
            None => &Nothing,
        };
        scratch::with(n * epilogue.part_len(), |parts| {
            storage::write(op, ("y", self.y), |y| {
                let parts = &mut *parts;
                body(y, &mut Finish { epilogue, parts });
                Ok(())
            })?;
            let Some(BatchStatistics {
                eps,
                saved,
                running,
            }) = &self.statistics
            else {
                return Ok(());
            };
            let statistics = moments.combine(parts, h * w);
            storage::write(op, ("saved", saved), |saved| {
                statistics.save(*eps, saved);
                Ok(())
            })?;
            running.update(op, &statistics)
        })
    }
}
