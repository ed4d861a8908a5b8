//! From a network graph to steps over tensors.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use epnas_arch::{Activation, Network, Node, NodeId, NodeKind, Param, ParamKind, PoolKind};
use epnas_ops::{
    Accumulate, AvgPool2d, BatchNorm, Conv2d, DepthwiseConv2d, MaxPool2d, SoftmaxCrossEntropy,
};

use super::{
    Arena, Mode, Parameter, Phase, Plan, PlanDescription, PlanOptions, StepDescription,
    buffers::{Assignment, assign},
    liveness::{GradientFlow, Liveness},
    step::{Backward, ConvInput, Destination, Forward, Statistics},
};
use crate::{error::SupernetError, weights::WeightStore};

const BN_EPS: f64 = 1e-5;

pub(super) fn compile(
    network: &Network,
    weights: &mut WeightStore,
    batch: usize,
    options: PlanOptions,
    arena: &mut Arena,
) -> Result<Plan, SupernetError> {
    if batch == 0 {
        return Err(SupernetError::EmptyBatch);
    }
    let liveness = Liveness::analyze(network, batch, options.mode)?;
    let assignment = assign(&liveness.spans, options.reuse);
    let mut compiler = Compiler::new(
        network,
        weights,
        batch,
        options,
        arena,
        liveness,
        &assignment,
    )?;
    for node in 0..network.nodes.len() {
        compiler.forward(node)?;
    }
    if options.mode == Mode::Train {
        for node in (0..network.nodes.len()).rev() {
            compiler.backward(node)?;
        }
    }
    compiler.finish(assignment)
}

/// The parameters of a node, running statistics included.
pub(super) fn node_params(kind: &NodeKind) -> Vec<&Param> {
    match kind {
        NodeKind::Input | NodeKind::Pool { .. } | NodeKind::Add => Vec::new(),
        NodeKind::Conv { weights, .. } => weights.iter().collect(),
        NodeKind::Depthwise { weight, .. } => vec![weight],
        NodeKind::FactorizedConv { weights } => weights.iter().collect(),
        NodeKind::BatchNorm {
            scale,
            shift,
            mean,
            variance,
            ..
        } => vec![scale, shift, mean, variance],
        NodeKind::Head { weight, bias } => vec![weight, bias],
    }
}

fn is_trained(kind: ParamKind) -> bool {
    !matches!(kind, ParamKind::BnMean | ParamKind::BnVariance)
}

/// What a node's forward pass leaves for its backward pass.
#[derive(Debug, Clone, Default)]
struct Kept {
    /// The batch's mean and inverse deviation, the positions of maxima, or the pooled input of the head.
    tensor: Option<Tensor>,
    /// Places of the node's parameters in the plan's list.
    parameters: Vec<usize>,
}

struct Compiler<'a> {
    nodes: &'a [Node],
    weights: &'a mut WeightStore,
    device: Device,
    batch: usize,
    options: PlanOptions,
    liveness: Liveness,
    /// One tensor for every value, a view of its slot.
    values: Vec<Tensor>,
    slots: Vec<usize>,
    kept: Vec<Kept>,
    paths: BTreeSet<String>,
    input: Option<(NodeId, Tensor)>,
    logits: Option<(Tensor, Tensor)>,
    fixed_bytes: u64,
    weight_bytes: u64,
    shape: epnas_arch::Shape,
    classes: usize,
    forward: Vec<Forward>,
    backward: Vec<Backward>,
    statistics: Vec<Statistics>,
    parameters: Vec<Parameter>,
    steps: Vec<StepDescription>,
    backward_steps: Vec<StepDescription>,
}

impl<'a> Compiler<'a> {
    fn new(
        network: &'a Network,
        weights: &'a mut WeightStore,
        batch: usize,
        options: PlanOptions,
        arena: &mut Arena,
        liveness: Liveness,
        assignment: &Assignment,
    ) -> Result<Compiler<'a>, SupernetError> {
        let device = weights.device().clone();
        let blocks = arena.take(&assignment.sizes, &device)?;
        let mut shapes = vec![Vec::new(); liveness.spans.len()];
        for (node, entry) in network.nodes.iter().enumerate() {
            for value in [liveness.activation[node], liveness.gradient[node]]
                .into_iter()
                .flatten()
            {
                shapes[value] = output_shape(entry, batch);
            }
        }
        let mut values = Vec::with_capacity(shapes.len());
        for (value, shape) in shapes.into_iter().enumerate() {
            let block = &blocks[assignment.slot[value]];
            values.push(
                block
                    .narrow(0, 0, liveness.spans[value].elements)?
                    .reshape(shape)?,
            );
        }
        Ok(Compiler {
            nodes: &network.nodes,
            weights,
            device,
            batch,
            options,
            liveness,
            values,
            slots: assignment.slot.clone(),
            kept: vec![Kept::default(); network.nodes.len()],
            paths: BTreeSet::new(),
            input: None,
            logits: None,
            fixed_bytes: 0,
            weight_bytes: 0,
            shape: network.input,
            classes: network.classes,
            forward: Vec::new(),
            backward: Vec::new(),
            statistics: Vec::new(),
            parameters: Vec::new(),
            steps: Vec::new(),
            backward_steps: Vec::new(),
        })
    }

    fn forward(&mut self, node: NodeId) -> Result<(), SupernetError> {
        let entry = &self.nodes[node];
        let training = self.options.mode == Mode::Train;
        let step = match &entry.kind {
            NodeKind::Input => {
                let input = self.allocate(output_shape(entry, self.batch), DType::F32)?;
                self.input = Some((node, input));
                return Ok(());
            }
            NodeKind::Conv {
                kernel,
                stride,
                weights,
            } => {
                if weights.len() != entry.inputs.len() || weights.is_empty() {
                    return Err(inputs_error(entry, weights.len().max(1)));
                }
                let mut inputs = Vec::with_capacity(weights.len());
                for (input, weight) in entry.inputs.iter().zip(weights) {
                    inputs.push((self.activation(*input)?, self.weight(node, weight)?));
                }
                let op = Conv2d {
                    kernel: *kernel,
                    stride: *stride,
                };
                Forward::Conv {
                    op,
                    inputs,
                    y: self.activation(node)?,
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
                    y: self.activation(node)?,
                }
            }
            NodeKind::FactorizedConv {
                weights: [first, second],
            } => {
                let weights = [self.weight(node, first)?, self.weight(node, second)?];
                Forward::Factorized {
                    x: self.only_input(node)?,
                    weights,
                    y: self.activation(node)?,
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
                let x = self.only_input(node)?;
                let (scale, shift) = (self.weight(node, scale)?, self.weight(node, shift)?);
                let statistics = self.statistics(node, mean, variance)?;
                let y = self.activation(node)?;
                if self.options.mode == Mode::Infer {
                    Forward::NormRunning {
                        op,
                        x,
                        scale,
                        shift,
                        statistics,
                        y,
                    }
                } else {
                    let saved = self.allocate(vec![2, entry.shape.channels], DType::F32)?;
                    self.kept[node].tensor = Some(saved.clone());
                    Forward::NormBatch {
                        op,
                        x,
                        scale,
                        shift,
                        statistics,
                        saved,
                        y,
                    }
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
                    inputs.push(self.activation(*input)?);
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
        self.forward.push(step);
        let buffer = self.liveness.activation[node].map(|value| self.slots[value]);
        let step = self.describe(node, Phase::Forward, buffer, forward_macs(entry));
        self.steps.push(step);
        Ok(())
    }

    fn backward(&mut self, node: NodeId) -> Result<(), SupernetError> {
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

    fn finish(self, assignment: Assignment) -> Result<Plan, SupernetError> {
        let (_, input) = self
            .input
            .ok_or(SupernetError::Incomplete { what: "input" })?;
        let (logits, dlogits) = self
            .logits
            .ok_or(SupernetError::Incomplete { what: "head" })?;
        let labels = Tensor::zeros(self.batch, DType::U32, &self.device)?;
        let training = self.options.mode == Mode::Train;
        let mut steps = self.steps;
        steps.push(StepDescription {
            phase: Phase::Loss,
            label: "loss".to_owned(),
            operator: "softmax cross-entropy".to_owned(),
            shape: vec![self.batch, self.classes],
            bytes: 4 * (self.batch * self.classes) as u64,
            buffer: None,
            macs: 0,
        });
        steps.extend(self.backward_steps);
        let description = PlanDescription {
            batch: self.batch,
            steps,
            buffer_bytes: 4 * assignment.sizes.iter().sum::<usize>() as u64,
            unshared_bytes: 4 * self
                .liveness
                .spans
                .iter()
                .map(|span| span.elements)
                .sum::<usize>() as u64,
            fixed_bytes: self.fixed_bytes + 4 * self.batch as u64,
            weight_bytes: self.weight_bytes,
        };
        Ok(Plan {
            batch: self.batch,
            mode: self.options.mode,
            shape: self.shape,
            classes: self.classes,
            input,
            labels,
            logits,
            dlogits: training.then_some(dlogits),
            loss: SoftmaxCrossEntropy {
                label_smoothing: if training {
                    self.options.label_smoothing
                } else {
                    0.0
                },
            },
            forward: self.forward,
            backward: self.backward,
            statistics: self.statistics,
            parameters: self.parameters,
            description,
            profile: None,
        })
    }

    fn allocate(&mut self, shape: Vec<usize>, dtype: DType) -> Result<Tensor, SupernetError> {
        let tensor = Tensor::zeros(shape, dtype, &self.device)?;
        self.fixed_bytes += (tensor.elem_count() * dtype.size_in_bytes()) as u64;
        Ok(tensor)
    }

    /// The tensor of a weight; in training it becomes one of the plan's parameters.
    fn weight(&mut self, node: NodeId, param: &Param) -> Result<Tensor, SupernetError> {
        if !self.paths.insert(param.path.clone()) {
            return Err(SupernetError::SharedWithin {
                path: param.path.clone(),
            });
        }
        let value = self.weights.get(param)?;
        self.weight_bytes += 4 * value.elem_count() as u64;
        if self.options.mode == Mode::Train && is_trained(param.kind) {
            let gradient = self.allocate(param.shape.clone(), DType::F32)?;
            self.kept[node].parameters.push(self.parameters.len());
            self.parameters.push(Parameter {
                path: param.path.clone(),
                value: value.clone(),
                gradient,
            });
        }
        Ok(value)
    }

    fn statistics(
        &mut self,
        node: NodeId,
        mean: &Param,
        variance: &Param,
    ) -> Result<usize, SupernetError> {
        let mut entry = Statistics {
            mean: self.weight(node, mean)?,
            variance: self.weight(node, variance)?,
        };
        if self.options.mode == Mode::InferBatchStatistics {
            // The operator updates running averages; here they are a scratch copy that nobody reads.
            entry = Statistics {
                mean: entry.mean.copy()?,
                variance: entry.variance.copy()?,
            };
        }
        self.statistics.push(entry);
        Ok(self.statistics.len() - 1)
    }

    fn activation(&self, node: NodeId) -> Result<Tensor, SupernetError> {
        match (&self.input, self.liveness.activation[node]) {
            (_, Some(value)) => Ok(self.values[value].clone()),
            (Some((input, tensor)), None) if *input == node => Ok(tensor.clone()),
            _ => Err(SupernetError::NetworkOrder {
                node: self.nodes[node].label.clone(),
            }),
        }
    }

    fn only_input(&self, node: NodeId) -> Result<Tensor, SupernetError> {
        match self.nodes[node].inputs.as_slice() {
            [input] => self.activation(*input),
            _ => Err(inputs_error(&self.nodes[node], 1)),
        }
    }

    fn gradient(&self, node: NodeId) -> Result<Tensor, SupernetError> {
        match self.liveness.gradient[node] {
            Some(value) => Ok(self.values[value].clone()),
            None => Err(SupernetError::DeadNode {
                node: self.nodes[node].label.clone(),
            }),
        }
    }

    fn kept(&self, node: NodeId) -> Result<Tensor, SupernetError> {
        self.kept[node]
            .tensor
            .clone()
            .ok_or(SupernetError::NotForTraining {
                what: "kept values",
            })
    }

    fn parameter(&self, node: NodeId, place: usize) -> Result<Parameter, SupernetError> {
        let parameter = self.kept[node]
            .parameters
            .get(place)
            .and_then(|index| self.parameters.get(*index));
        parameter.cloned().ok_or(SupernetError::NotForTraining {
            what: "weight gradients",
        })
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

    fn describe(
        &self,
        node: NodeId,
        phase: Phase,
        buffer: Option<usize>,
        macs: u64,
    ) -> StepDescription {
        let shape = output_shape(&self.nodes[node], self.batch);
        StepDescription {
            phase,
            label: self.nodes[node].label.clone(),
            operator: operator(&self.nodes[node]),
            bytes: 4 * shape.iter().product::<usize>() as u64,
            shape,
            buffer,
            macs: macs * self.batch as u64,
        }
    }
}

fn output_shape(node: &Node, batch: usize) -> Vec<usize> {
    match node.kind {
        NodeKind::Head { .. } => vec![batch, node.shape.channels],
        _ => vec![
            batch,
            node.shape.height,
            node.shape.width,
            node.shape.channels,
        ],
    }
}

fn batch_norm(activation: Activation) -> BatchNorm {
    let activation = match activation {
        Activation::None => epnas_ops::Activation::None,
        Activation::Relu => epnas_ops::Activation::Relu,
    };
    BatchNorm {
        eps: BN_EPS,
        activation,
    }
}

/// Batch norm and head always have trained weights before them; a graph in which they do not is not trainable.
fn required(node: &Node, destination: Destination) -> Result<(Tensor, Accumulate), SupernetError> {
    destination.ok_or_else(|| SupernetError::NoWeightsBefore {
        node: node.label.clone(),
    })
}

fn inputs_error(node: &Node, expected: usize) -> SupernetError {
    SupernetError::Inputs {
        node: node.label.clone(),
        found: node.inputs.len(),
        expected,
    }
}

fn operator(node: &Node) -> String {
    match &node.kind {
        NodeKind::Input => "input".to_owned(),
        NodeKind::Conv {
            kernel,
            stride,
            weights,
        } if weights.len() == 1 => format!("conv {kernel}x{kernel}/{stride}"),
        NodeKind::Conv {
            kernel,
            stride,
            weights,
        } => format!("conv {kernel}x{kernel}/{stride} x{}", weights.len()),
        NodeKind::Depthwise { kernel, stride, .. } => {
            format!("depthwise {kernel}x{kernel}/{stride}")
        }
        NodeKind::FactorizedConv { .. } => "factorized reduction".to_owned(),
        NodeKind::BatchNorm {
            activation: Activation::None,
            ..
        } => "batch norm".to_owned(),
        NodeKind::BatchNorm {
            activation: Activation::Relu,
            ..
        } => "batch norm, relu".to_owned(),
        NodeKind::Pool {
            kind: PoolKind::Max,
            stride,
        } => format!("max pool/{stride}"),
        NodeKind::Pool {
            kind: PoolKind::Avg,
            stride,
        } => format!("average pool/{stride}"),
        NodeKind::Add => "add".to_owned(),
        NodeKind::Head { .. } => "average, linear".to_owned(),
    }
}

/// Multiply-accumulates of a node's forward pass for one image.
fn forward_macs(node: &Node) -> u64 {
    let pixels = (node.shape.height * node.shape.width) as u64;
    let weights: usize = match &node.kind {
        NodeKind::Conv { weights, .. } => weights.iter().map(elements).sum(),
        NodeKind::FactorizedConv { weights } => weights.iter().map(elements).sum(),
        NodeKind::Depthwise { weight, .. } => elements(weight),
        NodeKind::Head { weight, .. } => return elements(weight) as u64,
        NodeKind::Input | NodeKind::BatchNorm { .. } | NodeKind::Pool { .. } | NodeKind::Add => 0,
    };
    pixels * weights as u64
}

fn elements(param: &Param) -> usize {
    param.shape.iter().product()
}
