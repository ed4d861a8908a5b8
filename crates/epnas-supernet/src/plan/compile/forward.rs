//! The forward step of every kind of node.

use candle_core::{DType, Tensor};
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
                let input = entry.inputs.first().copied();
                let convolution = input.filter(|input| self.liveness.norm.contains_key(input));
                match (self.options.mode, convolution) {
                    (Mode::Infer, _) => Forward::NormRunning {
                        op,
                        statistics,
                        saved,
                    },
                    (_, Some(convolution)) => {
                        let norm = ProducedNorm {
                            eps: op.eps,
                            saved,
                            statistics,
                        };
                        return self.take_statistics(convolution, norm);
                    }
                    (_, None) => Forward::NormBatch {
                        op,
                        x: self.activation(node)?,
                        statistics,
                        saved,
                    },
                }
            }
            NodeKind::Relu => {
                let c = entry.shape.channels;
                let [shift, scale] = [0.0f32, 1.0].map(|v| Tensor::full(v, c, &self.device));
                let (shift, scale) = (shift?, scale?);
                self.fixed_bytes += 4 * 4 * c as u64;
                // Mean 0 and inverse deviation 1.
                let saved = Tensor::stack(&[&shift, &scale], 0)?;
                self.kept[node].norm = Some(Norm {
                    activation: epnas_ops::Activation::Relu,
                    scale,
                    shift,
                    saved,
                });
                return Ok(());
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
                for (place, input) in entry.inputs.iter().enumerate() {
                    inputs.push((self.operand(*input)?, self.factors(node, place)?));
                }
                Forward::Add {
                    inputs,
                    y: self.activation(node)?,
                }
            }
            NodeKind::Head { weight, bias } => {
                let (weight, bias) = (self.weight(node, weight)?, self.weight(node, bias)?);
                let mut inputs = Vec::with_capacity(entry.inputs.len());
                for (rows, input) in self.head_rows(node) {
                    let weight = weight.narrow(0, rows.start, rows.len())?;
                    let pooled = self.allocate(vec![self.batch, rows.len()], DType::F32)?;
                    self.kept[node].pooled.push(pooled.clone());
                    inputs.push((self.operand(input)?, weight, pooled));
                }
                let logits = self.allocate(vec![self.batch, self.classes], DType::F32)?;
                let dlogits = self.allocate(vec![self.batch, self.classes], DType::F32)?;
                if node + 1 == self.nodes.len() {
                    self.logits = Some((logits.clone(), dlogits));
                } else {
                    self.auxiliary = Some((logits.clone(), dlogits));
                }
                Forward::Head {
                    inputs,
                    bias,
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

    /// Makes a convolution take along the statistics of the batch norm after it.
    fn take_statistics(&mut self, node: NodeId, norm: ProducedNorm) -> Result<(), SupernetError> {
        let label = self.nodes[node].label.clone();
        let Some(index) = self.kept[node].step else {
            return Err(SupernetError::NetworkOrder { node: label });
        };
        match &mut self.forward[index] {
            Forward::Conv { y, .. }
            | Forward::Depthwise { y, .. }
            | Forward::Separable { y, .. }
            | Forward::Factorized { y, .. } => {
                y.norm = Some(norm);
            }
            _ => return Err(SupernetError::NormWithoutResult { node: label }),
        }
        self.steps[index].operator.push_str(", statistics");
        Ok(())
    }
}
