//! The backward step of every kind of node.

use epnas_arch::{NodeId, NodeKind, PoolKind};
use epnas_ops::{
    AvgPool2d, Conv2d, ConvGradient, Cotangent, DepthwiseConv2d, FactorizedConv, MaxPool2d,
    SeparableConv2d, Target,
};

use super::{Compiler, inputs_error};
use crate::{
    error::SupernetError,
    plan::{
        Phase, StepDescription,
        liveness::GradientFlow,
        step::{Backward, HeadGradient, NormParameters},
        traffic::Traffic,
    },
};

impl Compiler<'_> {
    /// Adds the backward step of a node, unless it has nothing to do.
    pub(super) fn backward(&mut self, node: NodeId) -> Result<(), SupernetError> {
        let entry = &self.nodes[node];
        let flow = &self.liveness.flow[node];
        let is_norm = matches!(entry.kind, NodeKind::BatchNorm { .. });
        let is_apart = flow.iter().any(|flow| *flow != GradientFlow::Shared);
        let has_gradient =
            self.liveness.gradient[node].is_some() || matches!(entry.kind, NodeKind::Head { .. });
        let nothing_to_do = !is_apart && !is_norm;
        let taken_along = self
            .liveness
            .sums
            .values()
            .flatten()
            .any(|norm| *norm == node);
        if !has_gradient || nothing_to_do || (taken_along && !is_apart) {
            return Ok(());
        }
        let mut targets = Vec::with_capacity(flow.len());
        for place in 0..flow.len() {
            targets.push(self.target(node, place)?);
        }
        let written = targets.iter().flatten().count();
        let step = match &entry.kind {
            NodeKind::Input => return Ok(()),
            NodeKind::Conv { .. } if self.liveness.separable.contains_key(&node) => {
                self.separable_backward(node, targets.pop().flatten())?
            }
            NodeKind::Conv { kernel, stride, .. } => {
                let mut inputs = Vec::with_capacity(targets.len());
                for (place, dx) in targets.into_iter().enumerate() {
                    let parameter = self.parameter(node, place)?;
                    inputs.push(ConvGradient {
                        x: self.operand(entry.inputs[place])?,
                        w: parameter.value,
                        dw: Some(parameter.gradient),
                        dx,
                    });
                }
                Backward::Conv {
                    op: Conv2d {
                        kernel: *kernel,
                        stride: *stride,
                        precision: self.options.precision,
                    },
                    dy: self.cotangent(node)?,
                    inputs,
                }
            }
            NodeKind::Depthwise { kernel, stride, .. } => {
                let parameter = self.parameter(node, 0)?;
                Backward::Depthwise {
                    op: DepthwiseConv2d {
                        kernel: *kernel,
                        stride: *stride,
                    },
                    dy: self.cotangent(node)?,
                    x: self.only_input(node)?,
                    weight: parameter.value,
                    dweight: parameter.gradient,
                    dx: targets.pop().flatten(),
                }
            }
            NodeKind::FactorizedConv { .. } => {
                let (first, second) = (self.parameter(node, 0)?, self.parameter(node, 1)?);
                Backward::Factorized {
                    op: FactorizedConv {
                        precision: self.options.precision,
                    },
                    dy: self.cotangent(node)?,
                    x: self.only_input(node)?,
                    weights: [first.value, second.value],
                    dweights: [first.gradient, second.gradient],
                    dx: targets.pop().flatten(),
                }
            }
            NodeKind::BatchNorm { .. } if !is_apart => Backward::NormParameters {
                dy: self.gradient(node)?,
                norm: self.norm_gradient(node)?,
            },
            NodeKind::BatchNorm { .. } | NodeKind::Relu => {
                let Some(Target { dx, acc, .. }) = targets.pop().flatten() else {
                    return Ok(());
                };
                Backward::Norm {
                    dy: self.gradient(node)?,
                    norm: self.norm_gradient(node)?,
                    parameters: match is_norm && !taken_along {
                        true => NormParameters::Here,
                        false => NormParameters::Elsewhere,
                    },
                    dx: (dx, acc),
                }
            }
            NodeKind::Pool { kind, stride } => {
                let Some(dx) = targets.pop().flatten() else {
                    return Ok(());
                };
                let (dy, stride) = (self.gradient(node)?, *stride);
                match kind {
                    PoolKind::Max => Backward::MaxPool {
                        op: MaxPool2d { stride },
                        dy,
                        argmax: self.kept(node)?,
                        dx,
                    },
                    PoolKind::Avg => Backward::AvgPool {
                        op: AvgPool2d { stride },
                        dy,
                        dx,
                    },
                }
            }
            NodeKind::Add => Backward::Add {
                dy: self.gradient(node)?,
                dx: targets
                    .into_iter()
                    .enumerate()
                    .filter_map(|(place, target)| Some((place, target?)))
                    .map(|(place, target)| Ok((target.dx, target.acc, self.factors(node, place)?)))
                    .collect::<Result<_, SupernetError>>()?,
            },
            NodeKind::Head { .. } => {
                let (weight, bias) = (self.parameter(node, 0)?, self.parameter(node, 1)?);
                let logits = match node + 1 == self.nodes.len() {
                    true => &self.logits,
                    false => &self.auxiliary,
                };
                let dlogits = logits.as_ref().map(|(_, dlogits)| dlogits.clone());
                let mut inputs = Vec::with_capacity(targets.len());
                let rows = self.head_rows(node);
                for ((target, (rows, _)), pooled) in
                    targets.into_iter().zip(rows).zip(&self.kept[node].pooled)
                {
                    // A head always has trained weights before it; a graph in which it does not is not trainable.
                    let Target { dx, acc, .. } =
                        target.ok_or_else(|| SupernetError::NoWeightsBefore {
                            node: entry.label.clone(),
                        })?;
                    inputs.push(HeadGradient {
                        pooled: pooled.clone(),
                        weight: weight.value.narrow(0, rows.start, rows.len())?,
                        dweight: weight.gradient.narrow(0, rows.start, rows.len())?,
                        dx: (dx, acc),
                    });
                }
                Backward::Head {
                    dlogits: dlogits.ok_or(SupernetError::Incomplete { what: "head" })?,
                    dbias: bias.gradient,
                    inputs,
                }
            }
        };
        let bytes = Traffic::of_backward(&step);
        self.backward.push(step);
        let buffer = self.liveness.gradient[node].map(|value| self.slots[value]);
        // Each source of a convolution costs its weight gradient and, if wanted, its input gradient.
        let macs = self.forward_macs(node) * (entry.inputs.len() + written) as u64
            / entry.inputs.len().max(1) as u64;
        self.backward_steps.push(StepDescription {
            bytes,
            ..self.describe(node, Phase::Backward, buffer, macs)
        });
        Ok(())
    }

    /// The step of a pointwise convolution that takes the depthwise one before it along.
    fn separable_backward(
        &self,
        node: NodeId,
        target: Option<Target>,
    ) -> Result<Backward, SupernetError> {
        let entry = &self.nodes[node];
        let depthwise = self.liveness.separable[&node];
        let NodeKind::Depthwise { kernel, stride, .. } = self.nodes[depthwise].kind else {
            return Err(inputs_error(entry, 1));
        };
        let [first, second] = [0, 1].map(|place| self.parameter(node, place));
        let (first, second) = (first?, second?);
        Ok(Backward::Separable {
            op: SeparableConv2d {
                kernel,
                stride,
                precision: self.options.precision,
            },
            dy: self.cotangent(node)?,
            x: self.only_input(depthwise)?,
            weights: [first.value, second.value],
            dweights: [first.gradient, second.gradient],
            // The stem is a dense convolution, so there are trained weights before any other.
            dx: target.ok_or_else(|| SupernetError::NoWeightsBefore {
                node: entry.label.clone(),
            })?,
        })
    }

    /// Where the gradient of an input goes, with the batch norms whose sums are taken along.
    fn target(&self, node: NodeId, place: usize) -> Result<Option<Target>, SupernetError> {
        let GradientFlow::Write(acc) = self.liveness.flow[node][place] else {
            return Ok(None);
        };
        let norms = self.liveness.sums.get(&(node, place));
        let norms = norms.into_iter().flatten();
        Ok(Some(Target {
            dx: self.gradient(self.liveness.inputs(self.nodes, node)[place])?,
            acc,
            norms: norms
                .map(|norm| self.norm_gradient(*norm))
                .collect::<Result<_, _>>()?,
        }))
    }

    /// The gradient of a convolution's result, behind the batch norm that it takes along, if it does.
    fn cotangent(&self, node: NodeId) -> Result<Cotangent, SupernetError> {
        let norm = self.liveness.norm.get(&node);
        Ok(Cotangent {
            dy: self.gradient(node)?,
            norm: norm.map(|norm| self.norm_gradient(*norm)).transpose()?,
        })
    }
}
