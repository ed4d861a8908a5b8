//! The forward step of every kind of node.

use candle_core::DType;
use epnas_arch::{NodeId, NodeKind, Param, PoolKind};
use epnas_ops::{
    AvgPool2d, Conv2d, DepthwiseConv2d, FactorizedConv, MaxPool2d, Norm, SeparableConv2d,
};

use super::{Compiler, batch_norm, inputs_error, output_shape};
use crate::{
    error::SupernetError,
    plan::{
        Mode, Phase,
        step::{Forward, Produced, ProducedNorm},
    },
};

impl Compiler<'_> {
    /// Adds the forward step of a node.
    pub(super) fn forward(&mut self, node: NodeId) -> Result<(), SupernetError> {
        let entry = &self.nodes[node];
        let training = self.options.mode == Mode::Train;
        if self.liveness.is_taken_along(node) {
            return Ok(());
        }
        let step = match &entry.kind {
            NodeKind::Input => {
                let dtype = self.options.activations.dtype();
                let input = self.allocate(output_shape(entry, self.batch), dtype)?;
                self.input = Some((node, input));
                return Ok(());
            }
            NodeKind::Conv {
                kernel,
                stride,
                weights,
            } => {
                if let Some(&depthwise) = self.liveness.separable.get(&node) {
                    return self.separable(node, depthwise, &weights[0]);
                }
                if weights.len() != entry.inputs.len() || weights.is_empty() {
                    return Err(inputs_error(entry, weights.len().max(1)));
                }
                let mut inputs = Vec::with_capacity(weights.len());
                for (input, weight) in entry.inputs.iter().zip(weights) {
                    inputs.push((self.operand(*input)?, self.weight(node, weight)?));
                }
                let op = Conv2d {
                    kernel: *kernel,
                    stride: *stride,
                    precision: self.options.precision,
                };
                Forward::Conv {
                    op,
                    inputs,
                    y: self.produced(node)?,
                }
            }
            NodeKind::Depthwise {
                kernel,
                stride,
                weight,
            } => {
                let op = DepthwiseConv2d {
                    kernel: *kernel,
                    stride: *stride,
                };
                let x = self.only_input(node)?;
                Forward::Depthwise {
                    op,
                    x,
                    weight: self.weight(node, weight)?,
                    y: self.produced(node)?,
                }
            }
            NodeKind::FactorizedConv {
                weights: [first, second],
            } => {
                let weights = [self.weight(node, first)?, self.weight(node, second)?];
                Forward::Factorized {
                    op: FactorizedConv {
                        precision: self.options.precision,
                    },
                    x: self.only_input(node)?,
                    weights,
                    y: self.produced(node)?,
                }
            }
            NodeKind::BatchNorm {
                scale,
                shift,
                mean,
                variance,
                activation,
            } => {
                let op = batch_norm(*activation);
                let (scale, shift) = (self.weight(node, scale)?, self.weight(node, shift)?);
                let statistics = self.statistics(node, mean, variance)?;
                let saved = self.allocate(vec![2, entry.shape.channels], DType::F32)?;
                self.kept[node].norm = Some(Norm {
                    activation: op.activation,
                    scale,
                    shift,
                    saved: saved.clone(),
                });
                if self.options.mode != Mode::Infer {
                    let norm = ProducedNorm {
                        eps: op.eps,
                        saved,
                        statistics,
                    };
                    return self.take_statistics(node, norm);
                }
                Forward::NormRunning {
                    op,
                    statistics,
                    saved,
                }
            }
            NodeKind::Pool {
                kind: PoolKind::Max,
                stride,
            } => {
                let argmax = match training {
                    true => Some(self.allocate(output_shape(entry, self.batch), DType::U8)?),
                    false => None,
                };
                self.kept[node].tensor = argmax.clone();
                let op = MaxPool2d { stride: *stride };
                Forward::MaxPool {
                    op,
                    x: self.only_input(node)?,
                    argmax,
                    y: self.activation(node)?,
                }
            }
            NodeKind::Pool {
                kind: PoolKind::Avg,
                stride,
            } => {
                let op = AvgPool2d { stride: *stride };
                Forward::AvgPool {
                    op,
                    x: self.only_input(node)?,
                    y: self.activation(node)?,
                }
            }
            NodeKind::Add => {
                if entry.inputs.is_empty() {
                    return Err(inputs_error(entry, 2));
                }
                let mut inputs = Vec::with_capacity(entry.inputs.len());
                for input in &entry.inputs {
                    inputs.push(self.operand(*input)?);
                }
                Forward::Add {
                    inputs,
                    y: self.activation(node)?,
                }
            }
            NodeKind::Head { weight, bias } => {
                let x = self.only_input(node)?;
                let channels = self.nodes[entry.inputs[0]].shape.channels;
                let (weight, bias) = (self.weight(node, weight)?, self.weight(node, bias)?);
                let pooled = self.allocate(vec![self.batch, channels], DType::F32)?;
                let logits = self.allocate(vec![self.batch, self.classes], DType::F32)?;
                let dlogits = self.allocate(vec![self.batch, self.classes], DType::F32)?;
                self.kept[node].tensor = Some(pooled.clone());
                self.logits = Some((logits.clone(), dlogits));
                Forward::Head {
                    x,
                    weight,
                    bias,
                    pooled,
                    logits,
                }
            }
        };
        self.push_forward(node, step);
        Ok(())
    }

    fn push_forward(&mut self, node: NodeId, step: Forward) {
        self.kept[node].step = Some(self.forward.len());
        self.forward.push(step);
        let buffer = self.liveness.activation[node].map(|value| self.slots[value]);
        let macs = self.forward_macs(node);
        let step = self.describe(node, Phase::Forward, buffer, macs);
        self.steps.push(step);
    }

    /// The step of a pointwise convolution that takes the depthwise one before it along.
    fn separable(
        &mut self,
        node: NodeId,
        depthwise: NodeId,
        pointwise: &Param,
    ) -> Result<(), SupernetError> {
        let NodeKind::Depthwise {
            kernel,
            stride,
            weight,
        } = &self.nodes[depthwise].kind
        else {
            return Err(inputs_error(&self.nodes[node], 1));
        };
        let op = SeparableConv2d {
            kernel: *kernel,
            stride: *stride,
            precision: self.options.precision,
        };
        let step = Forward::Separable {
            op,
            x: self.only_input(depthwise)?,
            weights: [self.weight(node, weight)?, self.weight(node, pointwise)?],
            y: self.produced(node)?,
        };
        self.push_forward(node, step);
        Ok(())
    }

    fn produced(&self, node: NodeId) -> Result<Produced, SupernetError> {
        Ok(Produced {
            y: self.activation(node)?,
            norm: None,
        })
    }

    /// Makes the convolution before a batch norm take the statistics along.
    fn take_statistics(&mut self, node: NodeId, norm: ProducedNorm) -> Result<(), SupernetError> {
        let step = self.nodes[node].inputs.first();
        let step = step.and_then(|input| self.kept[*input].step);
        let label = self.nodes[node].label.clone();
        let Some(index) = step else {
            return Err(SupernetError::NormWithoutConvolution { node: label });
        };
        match &mut self.forward[index] {
            Forward::Conv { y, .. }
            | Forward::Depthwise { y, .. }
            | Forward::Separable { y, .. }
            | Forward::Factorized { y, .. } => {
                y.norm = Some(norm);
            }
            _ => return Err(SupernetError::NormWithoutConvolution { node: label }),
        }
        self.steps[index].operator.push_str(", statistics");
        Ok(())
    }
}
