//! Softmax cross-entropy with label smoothing and mixed labels.

use candle_core::{DType, Device, Tensor};

use crate::cuda;
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::kernel::loss;
use crate::shape;
use crate::storage::{self, Arg, Reads};

/// Mean cross-entropy between softmax and labels.
///
/// The target of a row is `(1 - s) onehot(label) + s / k`, `s` the smoothing and `k` the number of classes,
/// as in PyTorch; [`Targets`] may mix the labels of two rows before. Each row is computed in `f64`.
///
/// # Shapes
/// - `logits`, `dlogits`: `[n, k]`
/// - `labels`: `u32`, `[n]`, each below `k`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftmaxCrossEntropy {
    /// Share of the target that is spread over all classes: from 0 (default) to below 1.
    pub label_smoothing: f64,
    /// Factor of the loss and of its gradient: above 0, 1 by default.
    pub weight: f64,
}

impl Default for SoftmaxCrossEntropy {
    /// No smoothing, weight 1.
    fn default() -> Self {
        SoftmaxCrossEntropy {
            label_smoothing: 0.0,
            weight: 1.0,
        }
    }
}

/// What the rows of a batch should be. A tensor of labels is a batch whose rows are not mixed.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a> {
    /// Class of every row, `u32`, `[n]`. Hits are counted against it, mixed or not.
    pub labels: &'a Tensor,
    /// Share of a row's own label, `f32`, `[1]`, from 0 to 1, which is not checked: it lies on the device. The rest is
    /// for the label of the row as far from the end, as [`mix_with_reverse`](crate::mix_with_reverse) mixes images.
    /// None: 1.
    pub share: Option<&'a Tensor>,
}

impl<'a> From<&'a Tensor> for Targets<'a> {
    fn from(labels: &'a Tensor) -> Self {
        Targets {
            labels,
            share: None,
        }
    }
}

impl<'a> Targets<'a> {
    fn list(self, logits: &'a Tensor) -> Vec<Arg<'a>> {
        let mut reads = vec![("logits", logits), ("labels", self.labels)];
        reads.extend(self.share.map(|share| ("share", share)));
        reads
    }
}

/// What a batch yielded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossReport {
    /// Sum of the rows' losses, times the weight; divide by the number of rows for the mean.
    pub loss_sum: f64,
    /// Rows whose largest logit is their label's; the first wins a tie.
    pub correct: usize,
}

/// Losses and hits of many batches added up in the memory of a GPU, so that nothing is read back between them.
#[derive(Debug, Clone)]
pub struct LossSums {
    /// `f64`, `[3]`: losses, hits, and 1 + the row of the last label that was no class.
    pub(crate) sums: Tensor,
}

impl LossSums {
    /// Sums of nothing.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(LossSums {
            sums: Tensor::zeros(3, DType::F64, device)?,
        })
    }

    /// Back to nothing, in order with the batches.
    ///
    /// # Errors
    /// When the device fails.
    pub fn clear(&self) -> Result<()> {
        Ok(self.sums.slice_set(&self.sums.zeros_like()?, 0, 0)?)
    }

    /// As [`LossSums::clear`], but the batches to come are added to these sums.
    ///
    /// # Errors
    /// When the device fails.
    pub fn start(&self, before: LossReport) -> Result<()> {
        let sums = [before.loss_sum, before.correct as f64, 0.0];
        let sums = Tensor::new(&sums, self.sums.device())?;
        Ok(self.sums.slice_set(&sums, 0, 0)?)
    }

    /// Waits for all batches so far and reads their sums.
    ///
    /// # Errors
    /// [`Error::Cuda`] when one of the labels was no class; when the device fails.
    pub fn read(&self) -> Result<LossReport> {
        const OP: &str = "loss_sums.read";
        let sums: Vec<f64> = self.sums.to_vec1()?;
        match sums[2] {
            0.0 => Ok(LossReport {
                loss_sum: sums[0],
                correct: sums[1] as usize,
            }),
            unknown => Err(Error::Cuda {
                op: OP,
                message: format!(
                    "the label at position {} of a batch is no class",
                    unknown - 1.0
                ),
            }),
        }
    }
}

impl SoftmaxCrossEntropy {
    /// Loss, and the gradient of the *mean* loss in `dlogits`. Labels that are not mixed are [`Targets`] as they are.
    ///
    /// # Errors
    /// Shapes that do not fit; a label that is no class; smoothing or weight out of range; wrong type or layout;
    /// aliasing; unsupported device.
    pub fn forward_backward<'a>(
        &self,
        logits: &Tensor,
        targets: impl Into<Targets<'a>>,
        dlogits: &Tensor,
    ) -> Result<LossReport> {
        const OP: &str = "softmax_cross_entropy.forward_backward";
        let targets = targets.into();
        let classes = self.classes(OP, logits, targets)?;
        shape::expect(OP, "dlogits", dlogits, logits.dims())?;
        let reads = targets.list(logits);
        match storage::check(OP, &reads, &[("dlogits", dlogits)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (logits, labels, share) = open(OP, &reads, targets, classes)?;
                storage::write(OP, ("dlogits", dlogits), |dlogits| {
                    let dlogits = Some(dlogits);
                    Ok(loss::rows(self, classes, logits, labels, share, dlogits))
                })
            }
            Backend::Cuda(queue) => {
                cuda::loss::rows(&queue, OP, self, (logits, targets), Some(dlogits))
            }
        }
    }

    /// Loss alone.
    ///
    /// # Errors
    /// As for [`SoftmaxCrossEntropy::forward_backward`].
    pub fn forward<'a>(
        &self,
        logits: &Tensor,
        targets: impl Into<Targets<'a>>,
    ) -> Result<LossReport> {
        const OP: &str = "softmax_cross_entropy.forward";
        let targets = targets.into();
        let classes = self.classes(OP, logits, targets)?;
        let reads = targets.list(logits);
        match storage::check(OP, &reads, &[])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (logits, labels, share) = open(OP, &reads, targets, classes)?;
                Ok(loss::rows(self, classes, logits, labels, share, None))
            }
            Backend::Cuda(queue) => cuda::loss::rows(&queue, OP, self, (logits, targets), None),
        }
    }

    /// As [`SoftmaxCrossEntropy::forward_backward`], or without `dlogits` as [`SoftmaxCrossEntropy::forward`], with
    /// loss and hits added to `sums` instead of read back. A row whose label is no class shows in [`LossSums::read`].
    ///
    /// # Errors
    /// As there; [`Error::UnsupportedDevice`] on the CPU, which has nothing to gain.
    pub fn add_to<'a>(
        &self,
        logits: &Tensor,
        targets: impl Into<Targets<'a>>,
        dlogits: Option<&Tensor>,
        sums: &LossSums,
    ) -> Result<()> {
        const OP: &str = "softmax_cross_entropy.add_to";
        let targets = targets.into();
        self.classes(OP, logits, targets)?;
        if let Some(dlogits) = dlogits {
            shape::expect(OP, "dlogits", dlogits, logits.dims())?;
        }
        let mut writes = vec![("sums", &sums.sums)];
        writes.extend(dlogits.map(|dlogits| ("dlogits", dlogits)));
        match storage::check(OP, &targets.list(logits), &writes)? {
            Backend::Cpu => Err(Error::not_on_the_cpu(OP, ("logits", logits))),
            Backend::Cuda(queue) => {
                cuda::loss::add_rows(&queue, OP, self, (logits, targets), dlogits, sums)
            }
        }
    }

    fn classes(&self, op: &'static str, logits: &Tensor, targets: Targets) -> Result<usize> {
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::Setting {
                op,
                setting: "label_smoothing",
                found: self.label_smoothing.to_string(),
                expected: "a number from 0 to below 1",
            });
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return Err(Error::Setting {
                op,
                setting: "weight",
                found: self.weight.to_string(),
                expected: "a finite number above 0",
            });
        }
        let [n, classes] = shape::matrix(op, "logits", logits, "[batch, classes]")?;
        shape::expect(op, "labels", targets.labels, &[n])?;
        if let Some(share) = targets.share {
            shape::expect(op, "share", share, &[1])?;
        }
        Ok(classes)
    }
}

/// The memory of what [`Targets::list`] lists, its labels checked.
fn open<'r>(
    op: &'static str,
    reads: &'r Reads,
    targets: Targets,
    classes: usize,
) -> Result<(&'r [f32], &'r [u32], Option<f32>)> {
    let (logits, labels) = (reads.get(0)?, reads.get(1)?);
    check_labels(op, labels, classes)?;
    let share = match targets.share {
        Some(_) => reads.get(2)?.first().copied(),
        None => None,
    };
    Ok((logits, labels, share))
}

fn check_labels(op: &'static str, labels: &[u32], classes: usize) -> Result<()> {
    match labels.iter().position(|&label| label as usize >= classes) {
        None => Ok(()),
        Some(position) => Err(Error::Label {
            op,
            position,
            label: labels[position],
            classes,
        }),
    }
}
