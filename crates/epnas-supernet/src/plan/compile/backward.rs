//! The backward step of every kind of node.

use epnas_arch::{Node, NodeId, NodeKind, PoolKind};
use epnas_ops::{Accumulate, AvgPool2d, Conv2d, DepthwiseConv2d, MaxPool2d};

use candle_core::Tensor;

use super::{Compiler, batch_norm, label::forward_macs};
use crate::{
    error::SupernetError,
    plan::{
        Parameter, Phase,
        liveness::GradientFlow,
        step::{Backward, ConvInput, Destination},
    },
};

impl Compiler<'_> {
    /// Adds the backward step of a node, unless it has nothing to do.
    pub(super) fn backward(&mut self, node: NodeId) -> Result<(), SupernetError> {
        let entry = &self.nodes[node];
        let flow = &self.liveness.flow[node];
        let has_gradient =
            self.liveness.gradient[node].is_some() || matches!(entry.kind, NodeKind::Head { .. });
        if !has_gradient || flow.iter().all(|flow| *flow == GradientFlow::Shared) {
            return Ok(());
        }
        let mut destinations = Vec::with_capacity(flow.len());
        for (input, flow) in entry.inputs.iter().zip(flow) {
            destinations.push(match flow {
                GradientFlow::Write(mode) => Some((self.gradient(*input)?, *mode)),
                GradientFlow::NotNeeded | GradientFlow::Shared => None,
            });
        }
        let written = destinations.iter().flatten().count();
        let step = match &entry.kind {
            NodeKind::Input => return Ok(()),
            NodeKind::Conv {
                kernel,
                stride,
                weights,
            } => {
                let mut inputs = Vec::with_capacity(weights.len());
                for (place, dx) in destinations.into_iter().enumerate() {
                    inputs.push(self.conv_input(node, place, dx)?);
                }
                Backward::Conv {
                    op: Conv2d {
                        kernel: *kernel,
                        stride: *stride,
                    },
                    dy: self.gradient(node)?,
                    inputs,
                }
            }
            NodeKind::Depthwise { kernel, stride, .. } => {
                let op = DepthwiseConv2d {
                    kernel: *kernel,
                    stride: *stride,
                };
                let dx = destinations.pop().flatten();
                Backward::Depthwise {
                    op,
                    dy: self.gradient(node)?,
                    input: self.conv_input(node, 0, dx)?,
                }
            }
            NodeKind::FactorizedConv { .. } => {
                let (first, second) = (self.parameter(node, 0)?, self.parameter(node, 1)?);
                Backward::Factorized {
                    dy: self.gradient(node)?,
                    x: self.only_input(node)?,
                    weights: [first.value, second.value],
                    dweights: [first.gradient, second.gradient],
                    dx: destinations.pop().flatten(),
                }
            }
            NodeKind::BatchNorm { activation, .. } => {
                let (scale, shift) = (self.parameter(node, 0)?, self.parameter(node, 1)?);
                Backward::Norm {
                    op: batch_norm(*activation),
                    dy: self.gradient(node)?,
                    x: self.only_input(node)?,
                    scale: scale.value,
                    shift: shift.value,
                    saved: self.kept(node)?,
                    dscale: scale.gradient,
                    dshift: shift.gradient,
                    dx: required(entry, destinations.pop().flatten())?,
                }
            }
            NodeKind::Pool {
                kind: PoolKind::Max,
                stride,
            } => {
                let op = MaxPool2d { stride: *stride };
                let dx = destinations.pop().flatten();
                Backward::MaxPool {
                    op,
                    dy: self.gradient(node)?,
                    argmax: self.kept(node)?,
                    dx,
                }
            }
            NodeKind::Pool {
                kind: PoolKind::Avg,
                stride,
            } => {
                let op = AvgPool2d { stride: *stride };
                Backward::AvgPool {
                    op,
                    dy: self.gradient(node)?,
                    dx: destinations.pop().flatten(),
                }
            }
            NodeKind::Add => Backward::Add {
                dy: self.gradient(node)?,
                dx: destinations.into_iter().flatten().collect(),
            },
            NodeKind::Head { .. } => {
                let (weight, bias) = (self.parameter(node, 0)?, self.parameter(node, 1)?);
                let dlogits = self.logits.as_ref().map(|(_, dlogits)| dlogits.clone());
                Backward::Head {
                    pooled: self.kept(node)?,
                    weight: weight.value,
                    dlogits: dlogits.ok_or(SupernetError::Incomplete { what: "head" })?,
                    dweight: weight.gradient,
                    dbias: bias.gradient,
                    dx: required(entry, destinations.pop().flatten())?,
                }
            }
        };
        self.backward.push(step);
        let buffer = self.liveness.gradient[node].map(|value| self.slots[value]);
        // Each source of a convolution costs its weight gradient and, if wanted, its input gradient.
        let macs = forward_macs(entry) * (entry.inputs.len() + written) as u64
            / entry.inputs.len().max(1) as u64;
        let step = self.describe(node, Phase::Backward, buffer, macs);
        self.backward_steps.push(step);
        Ok(())
    }

    fn conv_input(
        &self,
        node: NodeId,
        place: usize,
        dx: Destination,
    ) -> Result<ConvInput, SupernetError> {
        let Parameter {
            value, gradient, ..
        } = self.parameter(node, place)?;
        Ok(ConvInput {
            x: self.activation(self.nodes[node].inputs[place])?,
            weight: value,
            dweight: gradient,
            dx,
        })
    }
}

/// Batch norm and head always have trained weights before them; a graph in which they do not is not trainable.
fn required(node: &Node, destination: Destination) -> Result<(Tensor, Accumulate), SupernetError> {
    destination.ok_or_else(|| SupernetError::NoWeightsBefore {
        node: node.label.clone(),
    })
}
