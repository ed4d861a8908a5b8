//! The steps of a plan: operators with the tensors they work on.

use candle_core::Tensor;
use epnas_ops::{
    Accumulate, AvgPool2d, BatchNorm, BatchStatistics, Conv2d, ConvGradient, Cotangent,
    DepthwiseConv2d, FactorizedConv, Head, MaxPool2d, NormGradient, Operand, Output, Running,
    SeparableConv2d, Target, Term, accumulate, accumulate_scaled, sum,
};

use crate::error::SupernetError;

/// Momentum of the running averages of batch norm, as torch's default (0.1 of the new value).
pub(super) const BN_MOMENTUM: f64 = 0.1;

/// The running statistics of one batch norm.
#[derive(Debug, Clone)]
pub(crate) struct Statistics {
    pub(crate) mean: Tensor,
    pub(crate) variance: Tensor,
}

/// The result of a convolution, and the batch norm that follows it.
#[derive(Debug)]
pub(super) struct Produced {
    pub(super) y: Tensor,
    pub(super) norm: Option<ProducedNorm>,
}

/// Statistics that are taken while a result is written.
#[derive(Debug)]
pub(super) struct ProducedNorm {
    pub(super) eps: f64,
    pub(super) saved: Tensor,
    /// The entry whose running averages move.
    pub(super) statistics: usize,
}

impl Produced {
    fn output<'a>(&'a self, statistics: &'a [Statistics], momentum: f64) -> Output<'a> {
        Output {
            y: &self.y,
            statistics: self.norm.as_ref().map(|norm| {
                let Statistics { mean, variance } = &statistics[norm.statistics];
                BatchStatistics {
                    eps: norm.eps,
                    saved: &norm.saved,
                    running: Running {
                        mean,
                        variance,
                        momentum,
                    },
                }
            }),
        }
    }
}

/// One operator of the forward pass. Batch norms are applied where their results are read.
#[derive(Debug)]
pub(super) enum Forward {
    Conv {
        op: Conv2d,
        inputs: Vec<(Operand, Tensor)>,
        y: Produced,
    },
    Depthwise {
        op: DepthwiseConv2d,
        x: Operand,
        weight: Tensor,
        y: Produced,
    },
    /// Depthwise, then pointwise.
    Separable {
        op: SeparableConv2d,
        x: Operand,
        weights: [Tensor; 2],
        y: Produced,
    },
    Factorized {
        op: FactorizedConv,
        x: Operand,
        weights: [Tensor; 2],
        y: Produced,
    },
    /// Takes the statistics of a result that others than the batch norm read too, or that no convolution made.
    NormBatch {
        op: BatchNorm,
        x: Tensor,
        statistics: usize,
        saved: Tensor,
    },
    /// Makes the running averages of entry `statistics` those that a batch norm normalizes by.
    NormRunning {
        op: BatchNorm,
        statistics: usize,
        saved: Tensor,
    },
    MaxPool {
        op: MaxPool2d,
        x: Operand,
        argmax: Option<Tensor>,
        y: Tensor,
    },
    AvgPool {
        op: AvgPool2d,
        x: Operand,
        y: Tensor,
    },
    Add {
        /// With a factor for every image, if any.
        inputs: Vec<(Operand, Option<Tensor>)>,
        y: Tensor,
    },
    Head {
        /// With the rows of the weight and the room for the average that belong to each.
        inputs: Vec<(Operand, Tensor, Tensor)>,
        bias: Tensor,
        logits: Tensor,
    },
}

impl Forward {
    pub(super) fn run(
        &self,
        statistics: &[Statistics],
        momentum: f64,
    ) -> Result<(), SupernetError> {
        match self {
            Forward::Conv { op, inputs, y } => {
                let inputs: Vec<(&Operand, &Tensor)> =
                    inputs.iter().map(|(x, weight)| (x, weight)).collect();
                op.forward_fused(&inputs, y.output(statistics, momentum))?;
            }
            Forward::Depthwise { op, x, weight, y } => {
                op.forward_fused(x, weight, y.output(statistics, momentum))?;
            }
            Forward::Separable {
                op,
                x,
                weights: [depthwise, pointwise],
                y,
            } => {
                let y = y.output(statistics, momentum);
                op.forward_fused(x, [depthwise, pointwise], y)?;
            }
            Forward::Factorized {
                op,
                x,
                weights: [first, second],
                y,
            } => {
                let y = y.output(statistics, momentum);
                op.forward_fused(x, [first, second], y)?;
            }
            Forward::NormBatch {
                op,
                x,
                statistics: entry,
                saved,
            } => {
                let Statistics { mean, variance } = &statistics[*entry];
                let running = Running {
                    mean,
                    variance,
                    momentum,
                };
                op.save_batch(x, running, saved)?;
            }
            Forward::NormRunning {
                op,
                statistics: entry,
                saved,
            } => {
                let Statistics { mean, variance } = &statistics[*entry];
                op.save_running(mean, variance, saved)?;
            }
            Forward::MaxPool { op, x, argmax, y } => op.forward_fused(x, y, argmax.as_ref())?,
            Forward::AvgPool { op, x, y } => op.forward_fused(x, y)?,
            Forward::Add { inputs, y } => {
                let terms = inputs.iter().map(|(x, factors)| Term {
                    x,
                    factors: factors.as_ref(),
                });
                sum(&terms.collect::<Vec<_>>(), y)?;
            }
            Forward::Head {
                inputs,
                bias,
                logits,
            } => {
                let mut acc = Accumulate::Overwrite;
                for (x, weight, pooled) in inputs {
                    Head.forward_fused(x, weight, bias, pooled, logits, acc)?;
                    acc = Accumulate::Add;
                }
            }
        }
        Ok(())
    }
}

/// One operator of the backward pass.
#[derive(Debug)]
pub(super) enum Backward {
    Conv {
        op: Conv2d,
        dy: Cotangent,
        inputs: Vec<ConvGradient>,
    },
    Depthwise {
        op: DepthwiseConv2d,
        dy: Cotangent,
        x: Operand,
        weight: Tensor,
        dweight: Tensor,
        dx: Option<Target>,
    },
    Separable {
        op: SeparableConv2d,
        dy: Cotangent,
        x: Operand,
        weights: [Tensor; 2],
        dweights: [Tensor; 2],
        dx: Target,
    },
    Factorized {
        op: FactorizedConv,
        dy: Cotangent,
        x: Operand,
        weights: [Tensor; 2],
        dweights: [Tensor; 2],
        dx: Option<Target>,
    },
    /// The gradients of a batch norm's parameters that no operator took along.
    NormParameters { dy: Tensor, norm: NormGradient },
    /// The gradient of what a batch norm or ReLU read, where no convolution takes it along; that of its parameters
    /// before, unless another operator took them along or there are none.
    Norm {
        dy: Tensor,
        norm: NormGradient,
        parameters: NormParameters,
        dx: (Tensor, Accumulate),
    },
    MaxPool {
        op: MaxPool2d,
        dy: Tensor,
        argmax: Tensor,
        dx: Target,
    },
    AvgPool {
        op: AvgPool2d,
        dy: Tensor,
        dx: Target,
    },
    /// A sum whose inputs have other readers too, or factors: its gradient is added to theirs.
    Add {
        dy: Tensor,
        dx: Vec<(Tensor, Accumulate, Option<Tensor>)>,
    },
    Head {
        dlogits: Tensor,
        dbias: Tensor,
        inputs: Vec<HeadGradient>,
    },
}

/// Whether a step computes the gradients of a batch norm's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormParameters {
    Here,
    /// Another operator did, or there are none.
    Elsewhere,
}

/// One input of a head in the backward pass.
#[derive(Debug)]
pub(super) struct HeadGradient {
    pub(super) pooled: Tensor,
    /// Its rows of the weight.
    pub(super) weight: Tensor,
    pub(super) dweight: Tensor,
    pub(super) dx: (Tensor, Accumulate),
}

impl Backward {
    pub(super) fn run(&self) -> Result<(), SupernetError> {
        match self {
            Backward::Conv { op, dy, inputs } => op.backward_fused(dy, inputs)?,
            Backward::Depthwise {
                op,
                dy,
                x,
                weight,
                dweight,
                dx,
            } => op.backward_fused(dy, x, weight, dweight, dx.as_ref())?,
            Backward::Separable {
                op,
                dy,
                x,
                weights: [depthwise, pointwise],
                dweights: [ddepthwise, dpointwise],
                dx,
            } => {
                let weights = [depthwise, pointwise];
                op.backward_fused(dy, x, weights, [ddepthwise, dpointwise], dx)?;
            }
            Backward::Factorized {
                op,
                dy,
                x,
                weights: [first, second],
                dweights: [dfirst, dsecond],
                dx,
            } => {
                let (weights, dweights) = ([first, second], [dfirst, dsecond]);
                op.backward_fused(dy, x, weights, dweights, dx.as_ref())?;
            }
            Backward::NormParameters { dy, norm } => BatchNorm::backward_parameters(dy, norm)?,
            Backward::Norm {
                dy,
                norm,
                parameters,
                dx: (dx, acc),
            } => {
                if *parameters == NormParameters::Here {
                    BatchNorm::backward_parameters(dy, norm)?;
                }
                BatchNorm::backward_input(dy, norm, dx, *acc)?;
            }
            Backward::MaxPool { op, dy, argmax, dx } => op.backward_fused(dy, argmax, dx)?,
            Backward::AvgPool { op, dy, dx } => op.backward_fused(dy, dx)?,
            Backward::Add { dy, dx } => {
                for (dx, mode, factors) in dx {
                    match factors {
                        Some(factors) => accumulate_scaled(dy, factors, dx, *mode)?,
                        None => accumulate(dy, dx, *mode)?,
                    }
                }
            }
            Backward::Head {
                dlogits,
                dbias,
                inputs,
            } => {
                for input in inputs {
                    let HeadGradient {
                        pooled,
                        weight,
                        dweight,
                        dx,
                    } = input;
                    // The bias has the same gradient every time.
                    Head.backward(pooled, weight, dlogits, &dx.0, dx.1, dweight, dbias)?;
                }
            }
        }
        Ok(())
    }
}
