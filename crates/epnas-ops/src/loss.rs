//! Softmax cross-entropy with label smoothing.

use candle_core::{DType, Device, Tensor};

use crate::cuda;
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::kernel::loss;
use crate::shape;
use crate::storage::{self, Reads};

/// Mean cross-entropy between softmax and labels.
///
/// The target of a row is `(1 - s) onehot(label) + s / k`, `s` the smoothing and `k` the number of classes,
/// as in PyTorch. Each row is computed in `f64`.
///
/// # Shapes
/// - `logits`, `dlogits`: `[n, k]`
/// - `labels`: `u32`, `[n]`, each below `k`
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SoftmaxCrossEntropy {
    /// Share of the target that is spread over all classes: from 0 (default) to below 1.
    pub label_smoothing: f64,
}

/// What a batch yielded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossReport {
    /// Sum of the rows' losses; divide by the number of rows for the mean.
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
    /// Loss, and the gradient of the *mean* loss in `dlogits`.
    ///
    /// # Errors
    /// Shapes that do not fit; a label that is no class; smoothing out of range; wrong type or layout;
    /// aliasing; unsupported device.
    pub fn forward_backward(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        dlogits: &Tensor,
    ) -> Result<LossReport> {
        const OP: &str = "softmax_cross_entropy.forward_backward";
        let classes = self.classes(OP, logits, labels)?;
        shape::expect(OP, "dlogits", dlogits, logits.dims())?;
        let reads = [("logits", logits), ("labels", labels)];
        match storage::check(OP, &reads, &[("dlogits", dlogits)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (logits, labels) = (reads.get(0)?, reads.get(1)?);
                check_labels(OP, labels, classes)?;
                storage::write(OP, ("dlogits", dlogits), |dlogits| {
                    Ok(loss::rows(
                        classes,
                        logits,
                        labels,
                        self.label_smoothing,
                        Some(dlogits),
                    ))
                })
            }
            Backend::Cuda(queue) => cuda::loss::rows(
                &queue,
                OP,
                self.label_smoothing,
                [logits, labels],
                Some(dlogits),
            ),
        }
    }

    /// Loss alone.
    ///
    /// # Errors
    /// As for [`SoftmaxCrossEntropy::forward_backward`].
    pub fn forward(&self, logits: &Tensor, labels: &Tensor) -> Result<LossReport> {
        const OP: &str = "softmax_cross_entropy.forward";
        let classes = self.classes(OP, logits, labels)?;
        let reads = [("logits", logits), ("labels", labels)];
        match storage::check(OP, &reads, &[])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (logits, labels) = (reads.get(0)?, reads.get(1)?);
                check_labels(OP, labels, classes)?;
                Ok(loss::rows(
                    classes,
                    logits,
                    labels,
                    self.label_smoothing,
                    None,
                ))
            }
            Backend::Cuda(queue) => {
                cuda::loss::rows(&queue, OP, self.label_smoothing, [logits, labels], None)
            }
        }
    }

    /// As [`SoftmaxCrossEntropy::forward_backward`], or without `dlogits` as [`SoftmaxCrossEntropy::forward`], with
    /// loss and hits added to `sums` instead of read back. A row whose label is no class shows in [`LossSums::read`].
    ///
    /// # Errors
    /// As there; [`Error::UnsupportedDevice`] on the CPU, which has nothing to gain.
    pub fn add_to(
        &self,
        logits: &Tensor,
        labels: &Tensor,
        dlogits: Option<&Tensor>,
        sums: &LossSums,
    ) -> Result<()> {
        const OP: &str = "softmax_cross_entropy.add_to";
        self.classes(OP, logits, labels)?;
        if let Some(dlogits) = dlogits {
            shape::expect(OP, "dlogits", dlogits, logits.dims())?;
        }
        let mut writes = vec![("sums", &sums.sums)];
        writes.extend(dlogits.map(|dlogits| ("dlogits", dlogits)));
        let reads = [("logits", logits), ("labels", labels)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => Err(Error::not_on_the_cpu(OP, ("logits", logits))),
            Backend::Cuda(queue) => cuda::loss::add_rows(
                &queue,
                OP,
                self.label_smoothing,
                [logits, labels],
                dlogits,
                sums,
            ),
        }
    }

    fn classes(&self, op: &'static str, logits: &Tensor, labels: &Tensor) -> Result<usize> {
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::Setting {
                op,
                setting: "label_smoothing",
                found: self.label_smoothing.to_string(),
                expected: "a number from 0 to below 1",
            });
        }
        let [n, classes] = shape::matrix(op, "logits", logits, "[batch, classes]")?;
        shape::expect(op, "labels", labels, &[n])?;
        Ok(classes)
    }
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
