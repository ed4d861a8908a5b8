//! The steps of a plan: operators with the tensors they work on.

use candle_core::Tensor;
use epnas_ops::{
    Accumulate, AvgPool2d, BatchNorm, Conv2d, DepthwiseConv2d, FactorizedConv, Head, MaxPool2d,
    Running, accumulate, add,
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

/// Where a gradient is written, and whether what is there already stays.
pub(super) type Destination = Option<(Tensor, Accumulate)>;

/// One operator of the forward pass.
#[derive(Debug)]
pub(super) enum Forward {
    Conv {
        op: Conv2d,
        inputs: Vec<(Tensor, Tensor)>,
        y: Tensor,
    },
    Depthwise {
        op: DepthwiseConv2d,
        x: Tensor,
        weight: Tensor,
        y: Tensor,
    },
    Factorized {
        x: Tensor,
        weights: [Tensor; 2],
        y: Tensor,
    },
    /// Batch statistics; the running averages of entry `statistics` are updated.
    NormBatch {
        op: BatchNorm,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        statistics: usize,
        saved: Tensor,
        y: Tensor,
    },
    /// The running averages of entry `statistics`.
    NormRunning {
        op: BatchNorm,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        statistics: usize,
        y: Tensor,
    },
    MaxPool {
        op: MaxPool2d,
        x: Tensor,
        argmax: Option<Tensor>,
        y: Tensor,
    },
    AvgPool {
        op: AvgPool2d,
        x: Tensor,
        y: Tensor,
    },
    Add {
        inputs: Vec<Tensor>,
        y: Tensor,
    },
    Head {
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        pooled: Tensor,
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
                let inputs: Vec<(&Tensor, &Tensor)> =
                    inputs.iter().map(|(x, weight)| (x, weight)).collect();
                op.forward(&inputs, y)?;
            }
            Forward::Depthwise { op, x, weight, y } => op.forward(x, weight, y)?,
            Forward::Factorized {
                x,
                weights: [first, second],
                y,
            } => FactorizedConv.forward(x, first, second, y)?,
            Forward::NormBatch {
                op,
                x,
                scale,
                shift,
                statistics: entry,
                saved,
                y,
            } => {
                let Statistics { mean, variance } = &statistics[*entry];
                op.forward_train(
                    x,
                    scale,
                    shift,
                    Running {
                        mean,
                        variance,
                        momentum,
                    },
                    saved,
                    y,
                )?;
            }
            Forward::NormRunning {
                op,
                x,
                scale,
                shift,
                statistics: entry,
                y,
            } => {
                let Statistics { mean, variance } = &statistics[*entry];
                op.forward_eval(x, scale, shift, mean, variance, y)?;
            }
            Forward::MaxPool {
                op,
                x,
                argmax: Some(argmax),
                y,
            } => op.forward(x, y, argmax)?,
            Forward::MaxPool {
                op,
                x,
                argmax: None,
                y,
            } => op.forward_eval(x, y)?,
            Forward::AvgPool { op, x, y } => op.forward(x, y)?,
            Forward::Add { inputs, y } => match inputs.as_slice() {
                [a, b, rest @ ..] => {
                    add(a, b, y)?;
                    for input in rest {
                        accumulate(input, y, Accumulate::Add)?;
                    }
                }
                [a] => accumulate(a, y, Accumulate::Overwrite)?,
                [] => {}
            },
            Forward::Head {
                x,
                weight,
                bias,
                pooled,
                logits,
            } => Head.forward(x, weight, bias, pooled, logits)?,
        }
        Ok(())
    }
}

/// One input of a convolution in the backward pass.
#[derive(Debug)]
pub(super) struct ConvInput {
    pub(super) x: Tensor,
    pub(super) weight: Tensor,
    pub(super) dweight: Tensor,
    pub(super) dx: Destination,
}

/// One operator of the backward pass.
#[derive(Debug)]
pub(super) enum Backward {
    Conv {
        op: Conv2d,
        dy: Tensor,
        inputs: Vec<ConvInput>,
    },
    Depthwise {
        op: DepthwiseConv2d,
        dy: Tensor,
        input: ConvInput,
    },
    Factorized {
        dy: Tensor,
        x: Tensor,
        weights: [Tensor; 2],
        dweights: [Tensor; 2],
        dx: Destination,
    },
    Norm {
        op: BatchNorm,
        dy: Tensor,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        saved: Tensor,
        dscale: Tensor,
        dshift: Tensor,
        dx: (Tensor, Accumulate),
    },
    MaxPool {
        op: MaxPool2d,
        dy: Tensor,
        argmax: Tensor,
        dx: Destination,
    },
    AvgPool {
        op: AvgPool2d,
        dy: Tensor,
        dx: Destination,
    },
    /// A sum whose inputs have other readers too: its gradient is added to theirs.
    Add {
        dy: Tensor,
        dx: Vec<(Tensor, Accumulate)>,
    },
    Head {
        pooled: Tensor,
        weight: Tensor,
        dlogits: Tensor,
        dweight: Tensor,
        dbias: Tensor,
        dx: (Tensor, Accumulate),
    },
}

impl Backward {
    pub(super) fn run(&self) -> Result<(), SupernetError> {
        match self {
            Backward::Conv { op, dy, inputs } => {
                for ConvInput {
                    x,
                    weight,
                    dweight,
                    dx,
                } in inputs
                {
                    op.backward_weight(x, dy, dweight)?;
                    if let Some((dx, mode)) = dx {
                        op.backward_input(dy, weight, dx, *mode)?;
                    }
                }
            }
            Backward::Depthwise {
                op,
                dy,
                input:
                    ConvInput {
                        x,
                        weight,
                        dweight,
                        dx,
                    },
            } => {
                op.backward_weight(x, dy, dweight)?;
                if let Some((dx, mode)) = dx {
                    op.backward_input(dy, weight, dx, *mode)?;
                }
            }
            Backward::Factorized {
                dy,
                x,
                weights,
                dweights,
                dx,
            } => {
                FactorizedConv.backward_weight(x, dy, &dweights[0], &dweights[1])?;
                if let Some((dx, mode)) = dx {
                    FactorizedConv.backward_input(dy, &weights[0], &weights[1], dx, *mode)?;
                }
            }
            Backward::Norm {
                op,
                dy,
                x,
                scale,
                shift,
                saved,
                dscale,
                dshift,
                dx,
            } => {
                op.backward(x, scale, shift, saved, dy, &dx.0, dx.1, dscale, dshift)?;
            }
            Backward::MaxPool { op, dy, argmax, dx } => {
                if let Some((dx, mode)) = dx {
                    op.backward(dy, argmax, dx, *mode)?;
                }
            }
            Backward::AvgPool { op, dy, dx } => {
                if let Some((dx, mode)) = dx {
                    op.backward(dy, dx, *mode)?;
                }
            }
            Backward::Add { dy, dx } => {
                for (dx, mode) in dx {
                    accumulate(dy, dx, *mode)?;
                }
            }
            Backward::Head {
                pooled,
                weight,
                dlogits,
                dweight,
                dbias,
                dx,
            } => {
                Head.backward(pooled, weight, dlogits, &dx.0, dx.1, dweight, dbias)?;
            }
        }
        Ok(())
    }
}
