//! A network compiled for a batch size: a list of operators over tensors that are allocated once.
//!
//! A child is trained for about a thousand steps, so everything that can be decided once is decided once: the order,
//! which values share memory, whether a gradient overwrites or adds. A step then allocates no tensors.
//!
//! ```
//! use epnas_arch::{Arch, Network, NetworkConfig, Shape};
//! use epnas_supernet::{Mode, Plan, WeightStore};
//!
//! let arch: Arch = "macro:c3.0/mp.1".parse()?;
//! let network = Network::build(&arch, 2, &NetworkConfig::default(), Shape::new(8, 8, 3), 10)?;
//! let mut weights = WeightStore::new(1);
//! let mut plan = Plan::compile(&network, &mut weights, 4, Mode::Train)?;
//! plan.fill(|pixels, labels| {
//!     pixels.fill(0.5); // [4, 8, 8, 3]
//!     labels.copy_from_slice(&[0, 1, 2, 3]);
//! })?;
//! plan.forward()?;
//! let loss = plan.loss()?;
//! plan.backward()?; // the gradients are in plan.parameters()
//! assert!(loss.loss_sum > 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffers;
mod compile;
mod describe;
mod liveness;
mod step;
mod traffic;

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use epnas_arch::{Network, Param, Shape};
use epnas_ops::{
    LossReport, LossSums, Precision, SoftmaxCrossEntropy, StepRows, Targets, mix_with_reverse,
};

pub use buffers::{Arena, BufferReuse};
pub use describe::{Phase, PlanDescription, StepDescription, StepTiming};
pub(crate) use step::Statistics;
use step::{BN_MOMENTUM, Backward, Forward};

use crate::{error::SupernetError, host, weights::WeightStore};

/// What a plan can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Forward with batch statistics, loss and backward.
    #[default]
    Train,
    /// Forward with running statistics.
    Infer,
    /// Forward with the statistics of the batch; running averages stay as they are.
    InferBatchStatistics,
}

/// What activations and their gradients are stored in; weights, statistics and sums are `f32` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Activations {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, in which products are computed too: on GPUs only.
    Bf16,
}

impl Activations {
    pub(crate) fn dtype(self) -> DType {
        match self {
            Activations::F32 => DType::F32,
            Activations::Bf16 => DType::BF16,
        }
    }
}

/// How to compile a plan.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PlanOptions {
    /// What the plan can do.
    pub mode: Mode,
    /// Whether buffers are shared between values.
    pub reuse: BufferReuse,
    /// Share of the target probability that the training loss spreads over all classes, from 0 to below 1.
    pub label_smoothing: f64,
    /// What the products of dense convolutions are computed in, forward and backward, whether or not this CPU has
    /// instructions for it.
    pub precision: Precision,
    /// What activations are stored in.
    pub activations: Activations,
    /// Whether images and targets are mixed in pairs, in training.
    pub mixup: bool,
    /// Whether branches of sums ([`Network::branches`]) have a factor for every image, in training.
    pub drop_path: bool,
    /// Weight of the loss of an auxiliary head ([`Network::with_auxiliary_head`]), where the network has one.
    pub auxiliary_weight: f64,
}

/// A second head, whose loss trains what is before it.
#[derive(Debug)]
struct Auxiliary {
    loss: SoftmaxCrossEntropy,
    logits: Tensor,
    dlogits: Tensor,
    /// Where a GPU adds losses up; the training reports those of the network's own head.
    sums: LossSums,
}

/// A trainable tensor and its gradient.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The weight's path.
    pub path: String,
    /// The weight itself, shared with the store.
    pub value: Tensor,
    /// Its gradient: the loss is the mean over the batch. Overwritten by every backward pass.
    pub gradient: Tensor,
}

/// A compiled network.
#[derive(Debug)]
pub struct Plan {
    batch: usize,
    mode: Mode,
    shape: Shape,
    classes: usize,
    input: Tensor,
    labels: Tensor,
    logits: Tensor,
    dlogits: Option<Tensor>,
    loss: SoftmaxCrossEntropy,
    auxiliary: Option<Auxiliary>,
    /// The share of each image in its mixture, then a factor for every branch and image.
    chances: Option<Tensor>,
    /// The first of them.
    share: Option<Tensor>,
    branches: usize,
    forward: Vec<Forward>,
    backward: Vec<Backward>,
    statistics: Vec<Statistics>,
    parameters: Vec<Parameter>,
    description: PlanDescription,
    profile: Option<Vec<StepTiming>>,
}

impl Plan {
    /// Compiles a network with shared buffers of its own; weights that the store lacks are created in it.
    ///
    /// # Errors
    /// A weight of another shape, a network that is not in order, or an empty batch.
    pub fn compile(
        network: &Network,
        weights: &mut WeightStore,
        batch: usize,
        mode: Mode,
    ) -> Result<Plan, SupernetError> {
        let options = PlanOptions {
            mode,
            ..PlanOptions::default()
        };
        Plan::compile_with(network, weights, batch, options, &mut Arena::new())
    }

    /// Compiles a network with buffers from an arena. Plans with buffers from one arena must not be used at the same
    /// time: each of them overwrites the others' activations.
    ///
    /// # Errors
    /// As [`Plan::compile`].
    pub fn compile_with(
        network: &Network,
        weights: &mut WeightStore,
        batch: usize,
        options: PlanOptions,
        arena: &mut Arena,
    ) -> Result<Plan, SupernetError> {
        compile::compile(network, weights, batch, options, arena)
    }

    /// Images in a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What the plan can do.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Size of one input image.
    pub fn image_shape(&self) -> Shape {
        self.shape
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Writes the next batch: `f` gets the pixels, `[batch, height, width, channels]` row-major and normalized, and
    /// the labels, `[batch]`.
    ///
    /// # Errors
    /// When the device refuses the write.
    pub fn fill<R>(
        &mut self,
        f: impl FnOnce(&mut [f32], &mut [u32]) -> R,
    ) -> Result<R, SupernetError> {
        let fill = |input: &Tensor| {
            host::with_mut(input, |pixels: &mut [f32]| {
                host::with_mut(&self.labels, |labels: &mut [u32]| f(pixels, labels))
            })
        };
        if self.input.dtype() == DType::F32 {
            return Ok(fill(&self.input)??);
        }
        let wide = Tensor::zeros(self.input.dims(), DType::F32, &Device::Cpu)?;
        let result = fill(&wide)??;
        let narrow = wide.to_dtype(self.input.dtype())?;
        let narrow = narrow.to_device(self.input.device())?;
        self.input.slice_set(&narrow, 0, 0)?;
        Ok(result)
    }

    /// Runs the network on the batch. In [`Mode::Train`] the running statistics move by a tenth.
    ///
    /// # Errors
    /// When an operator fails.
    pub fn forward(&mut self) -> Result<(), SupernetError> {
        self.forward_averaging(BN_MOMENTUM)
    }

    /// As [`Plan::forward`], where running statistics move by `momentum` of the way to the batch's.
    pub(crate) fn forward_averaging(&mut self, momentum: f64) -> Result<(), SupernetError> {
        for (index, step) in self.forward.iter().enumerate() {
            timed(&mut self.profile, index, || {
                step.run(&self.statistics, momentum)
            })?;
        }
        Ok(())
    }

    /// The loss of the batch after [`Plan::forward`], and in [`Mode::Train`] the gradient of the logits. Label
    /// smoothing takes part in training only.
    ///
    /// # Errors
    /// When an operator fails, as for a label outside the classes.
    pub fn loss(&mut self) -> Result<LossReport, SupernetError> {
        let index = self.forward.len();
        let (loss, logits) = (&self.loss, &self.logits);
        let targets = targets(&self.labels, self.share.as_ref());
        let auxiliary = self.auxiliary.as_ref();
        match &self.dlogits {
            Some(dlogits) => timed(&mut self.profile, index, || {
                if let Some(head) = auxiliary {
                    head.loss
                        .forward_backward(&head.logits, targets, &head.dlogits)?;
                }
                Ok(loss.forward_backward(logits, targets, dlogits)?)
            }),
            None => timed(&mut self.profile, index, || {
                Ok(loss.forward(logits, targets)?)
            }),
        }
    }

    /// As [`Plan::loss`], with loss and hits added to sums in the memory of a GPU.
    pub(crate) fn add_loss_to(&mut self, sums: &LossSums) -> Result<(), SupernetError> {
        let index = self.forward.len();
        let (loss, logits) = (&self.loss, &self.logits);
        let targets = targets(&self.labels, self.share.as_ref());
        let (auxiliary, dlogits) = (self.auxiliary.as_ref(), self.dlogits.as_ref());
        timed(&mut self.profile, index, || {
            if let Some(head) = auxiliary {
                head.loss
                    .add_to(&head.logits, targets, Some(&head.dlogits), &head.sums)?;
            }
            Ok(loss.add_to(logits, targets, dlogits, sums)?)
        })
    }

    /// Mixes the images of the batch in pairs, each with the one as far from the end of the batch, where the plan was
    /// compiled for it ([`PlanOptions::mixup`]). [`Plan::loss`] mixes the targets alike.
    ///
    /// # Errors
    /// When the operator fails.
    pub fn mix(&self) -> Result<(), SupernetError> {
        if let Some(share) = &self.share {
            mix_with_reverse(&self.input, share)?;
        }
        Ok(())
    }

    /// How many branches of sums may be dropped ([`PlanOptions::drop_path`]).
    pub fn branches(&self) -> usize {
        self.branches
    }

    /// Writes what chance decides in the next step: the share of each image in its mixture, from 0 to 1, then a factor for
    /// every branch and image, `[branches, batch]` in the order of [`Network::branches`].
    ///
    /// # Errors
    /// When the device refuses the write.
    pub fn set_chances(&self, write: impl FnOnce(&mut [f32])) -> Result<(), SupernetError> {
        if let Some(chances) = &self.chances {
            host::with_mut(chances, write)?;
        }
        Ok(())
    }

    /// As [`Plan::set_chances`], with the next row that a device has.
    pub(crate) fn take_chances(&self, rows: &StepRows) -> Result<(), SupernetError> {
        if let Some(chances) = &self.chances {
            rows.next(chances)?;
        }
        Ok(())
    }

    /// Images and labels of the batch.
    pub(crate) fn batch_tensors(&self) -> (&Tensor, &Tensor) {
        (&self.input, &self.labels)
    }

    /// Computes the gradients of all parameters after [`Plan::loss`].
    ///
    /// # Errors
    /// [`SupernetError::NotForTraining`] unless compiled for it; when an operator fails.
    pub fn backward(&mut self) -> Result<(), SupernetError> {
        if self.mode != Mode::Train {
            return Err(SupernetError::NotForTraining {
                what: "backward pass",
            });
        }
        let first = self.forward.len() + 1;
        for (index, step) in self.backward.iter().enumerate() {
            timed(&mut self.profile, first + index, || step.run())?;
        }
        Ok(())
    }

    /// The logits of the last forward pass, `[batch, classes]`.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// The trainable parameters in the order of the network, with gradients. Empty in the inference modes.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Exchanges the running statistics that batch norm reads and, in training, updates.
    pub(crate) fn swap_statistics(&mut self, statistics: &mut Vec<Statistics>) {
        std::mem::swap(&mut self.statistics, statistics);
    }

    /// Running statistics of the same shapes with zeros, to average into.
    pub(crate) fn blank_statistics(&self) -> Result<Vec<Statistics>, SupernetError> {
        let blank = |entry: &Statistics| -> Result<Statistics, SupernetError> {
            Ok(Statistics {
                mean: entry.mean.zeros_like()?,
                variance: entry.variance.zeros_like()?,
            })
        };
        self.statistics.iter().map(blank).collect()
    }

    pub(crate) fn statistics(&self) -> &[Statistics] {
        &self.statistics
    }

    /// The steps with their shapes, memory and work.
    pub fn describe(&self) -> &PlanDescription {
        &self.description
    }

    /// Starts (or restarts) timing every step.
    pub fn start_profile(&mut self) {
        self.profile = Some(self.description.steps.iter().map(StepTiming::new).collect());
    }

    /// The time spent in every step since [`Plan::start_profile`]; empty if it was not called.
    pub fn profile(&self) -> &[StepTiming] {
        self.profile.as_deref().unwrap_or(&[])
    }
}

/// The labels of a batch, mixed in pairs if there is a share.
fn targets<'a>(labels: &'a Tensor, share: Option<&'a Tensor>) -> Targets<'a> {
    Targets { labels, share }
}

/// Runs one step and, while profiling, adds its time to its entry.
fn timed<R>(
    profile: &mut Option<Vec<StepTiming>>,
    index: usize,
    step: impl FnOnce() -> Result<R, SupernetError>,
) -> Result<R, SupernetError> {
    let Some(entry) = profile.as_mut().and_then(|entries| entries.get_mut(index)) else {
        return step();
    };
    let start = Instant::now();
    let result = step()?;
    entry.seconds += start.elapsed().as_secs_f64();
    entry.calls += 1;
    Ok(result)
}

/// Every parameter of a network, running statistics included, in the order of its nodes.
pub fn network_params(network: &Network) -> Vec<&Param> {
    network
        .nodes
        .iter()
        .flat_map(|node| compile::node_params(&node.kind))
        .collect()
}
