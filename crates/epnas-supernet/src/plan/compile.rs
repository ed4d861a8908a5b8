//! From a network graph to steps over tensors.

mod backward;
mod forward;
mod label;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use epnas_arch::{Activation, Network, Node, NodeId, NodeKind, Param};
use epnas_ops::{
    BatchNorm, LossSums, Norm, NormGradient, Operand, Recording, SoftmaxCrossEntropy, zeros,
};

use super::{
    Arena, Auxiliary, Mode, Parameter, Phase, Plan, PlanDescription, PlanOptions, StepDescription,
    buffers::{Assignment, assign},
    liveness::{Liveness, Separable},
    step::{Backward, Forward, Statistics},
    traffic::Traffic,
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
    let fusion = match Recording::is_possible(weights.device()) {
        true => Separable::Apart,
        false => Separable::Fused,
    };
    let branches = match options.drop_path && options.mode == Mode::Train {
        true => network.branches(),
        false => Vec::new(),
    };
    if options.drop_path && branches.is_empty() {
        return Err(SupernetError::NoBranches);
    }
    let scaled = branches.iter().copied().collect();
    let liveness = Liveness::analyze(network, batch, options.mode, fusion, &scaled)?;
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
    compiler.leave_to_chance(branches)?;
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
        NodeKind::Input | NodeKind::Pool { .. } | NodeKind::Add | NodeKind::Relu => Vec::new(),
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

/// What a node's forward pass leaves for its backward pass.
#[derive(Debug, Clone, Default)]
struct Kept {
    /// The positions of maxima.
    tensor: Option<Tensor>,
    /// The pooled inputs of the head.
    pooled: Vec<Tensor>,
    /// Places of the node's parameters in the plan's list.
    parameters: Vec<usize>,
    /// A batch norm or ReLU, as its readers apply it.
    norm: Option<Norm>,
    /// The node's forward step.
    step: Option<usize>,
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
    /// Logits and their gradient.
    logits: Option<(Tensor, Tensor)>,
    /// Those of an auxiliary head.
    auxiliary: Option<(Tensor, Tensor)>,
    /// What chance decides: the share of each image in its mixture, then `[branches, batch]` factors.
    chances: Option<Tensor>,
    /// The number of a branch by its sum and its place there.
    branches: BTreeMap<(NodeId, usize), usize>,
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
        let blocks = arena.take(&assignment.sizes, options.activations.dtype(), &device)?;
        let mut shapes = vec![Vec::new(); liveness.spans.len()];
        for (node, entry) in network.nodes.iter().enumerate() {
            let values = [liveness.activation[node], liveness.gradient[node]];
            for value in values.into_iter().flatten() {
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
            auxiliary: None,
            chances: None,
            branches: BTreeMap::new(),
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

    fn finish(self, assignment: Assignment) -> Result<Plan, SupernetError> {
        let (_, input) = self
            .input
            .ok_or(SupernetError::Incomplete { what: "input" })?;
        let (logits, dlogits) = self
            .logits
            .ok_or(SupernetError::Incomplete { what: "head" })?;
        let labels = zeros(self.batch, DType::U32, &self.device)?;
        let training = self.options.mode == Mode::Train;
        let mut steps = self.steps;
        for (step, operator) in steps.iter_mut().zip(&self.forward) {
            step.bytes = Traffic::of_forward(operator);
        }
        steps.push(StepDescription {
            phase: Phase::Loss,
            label: "loss".to_owned(),
            operator: "softmax cross-entropy".to_owned(),
            shape: vec![self.batch, self.classes],
            bytes: 4 * (self.batch * self.classes) as u64 * if training { 2 } else { 1 },
            buffer: None,
            macs: 0,
        });
        steps.extend(self.backward_steps);
        let size = self.options.activations.dtype().size_in_bytes() as u64;
        let description = PlanDescription {
            batch: self.batch,
            steps,
            buffer_bytes: size * assignment.sizes.iter().sum::<usize>() as u64,
            unshared_bytes: size
                * self
                    .liveness
                    .spans
                    .iter()
                    .map(|span| span.elements)
                    .sum::<usize>() as u64,
            fixed_bytes: self.fixed_bytes + 4 * self.batch as u64,
            weight_bytes: self.weight_bytes,
        };
        let label_smoothing = match training {
            true => self.options.label_smoothing,
            false => 0.0,
        };
        let share = match (&self.chances, self.options.mixup) {
            (Some(chances), true) => Some(chances.narrow(0, 0, 1)?),
            _ => None,
        };
        let auxiliary = self.auxiliary.map(|(logits, dlogits)| {
            Ok::<_, SupernetError>(Auxiliary {
                loss: SoftmaxCrossEntropy {
                    label_smoothing,
                    weight: self.options.auxiliary_weight,
                },
                logits,
                dlogits,
                sums: LossSums::new(&self.device)?,
            })
        });
        Ok(Plan {
            auxiliary: auxiliary.transpose()?,
            chances: self.chances,
            share,
            branches: self.branches.len(),
            batch: self.batch,
            mode: self.options.mode,
            shape: self.shape,
            classes: self.classes,
            input,
            labels,
            logits,
            dlogits: training.then_some(dlogits),
            loss: SoftmaxCrossEntropy {
                label_smoothing,
                ..SoftmaxCrossEntropy::default()
            },
            forward: self.forward,
            backward: self.backward,
            statistics: self.statistics,
            parameters: self.parameters,
            description,
            profile: None,
        })
    }

    /// Makes room for what chance decides in a step, if anything.
    fn leave_to_chance(&mut self, branches: Vec<(NodeId, usize)>) -> Result<(), SupernetError> {
        if branches.is_empty() && !self.options.mixup {
            return Ok(());
        }
        let width = 1 + branches.len() * self.batch;
        self.chances = Some(self.allocate(vec![width], DType::F32)?);
        self.branches = branches.into_iter().zip(0..).collect();
        Ok(())
    }

    /// The factors of an input of a sum, one for every image; none unless it is a branch that may be dropped.
    fn factors(&self, sum: NodeId, place: usize) -> Result<Option<Tensor>, SupernetError> {
        let (Some(chances), Some(branch)) = (&self.chances, self.branches.get(&(sum, place)))
        else {
            return Ok(None);
        };
        Ok(Some(chances.narrow(
            0,
            1 + branch * self.batch,
            self.batch,
        )?))
    }

    fn allocate(&mut self, shape: Vec<usize>, dtype: DType) -> Result<Tensor, SupernetError> {
        let tensor = zeros(shape, dtype, &self.device)?;
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
        if self.options.mode == Mode::Train && param.kind.is_trainable() {
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

    /// The result of a node as others read it.
    fn operand(&self, node: NodeId) -> Result<Operand, SupernetError> {
        Ok(Operand {
            x: self.activation(node)?,
            norm: self.kept[node].norm.clone(),
        })
    }

    fn only_input(&self, node: NodeId) -> Result<Operand, SupernetError> {
        match self.nodes[node].inputs.as_slice() {
            [input] => self.operand(*input),
            _ => Err(inputs_error(&self.nodes[node], 1)),
        }
    }

    /// A batch norm with its input and the gradients of its parameters; a ReLU is one whose parameters stay.
    fn norm_gradient(&self, node: NodeId) -> Result<NormGradient, SupernetError> {
        let norm = self.kept[node].norm.clone();
        let norm = norm.ok_or(SupernetError::NotForTraining {
            what: "batch norms",
        })?;
        let (dscale, dshift) = match self.nodes[node].kind {
            NodeKind::Relu => (norm.shift.clone(), norm.shift.clone()),
            _ => {
                let [scale, shift] = [0, 1].map(|place| self.parameter(node, place));
                (scale?.gradient, shift?.gradient)
            }
        };
        Ok(NormGradient {
            norm,
            x: self.activation(node)?,
            dscale,
            dshift,
        })
    }

    /// What a head reads, with the rows of its weight that belong to it.
    fn head_rows(&self, node: NodeId) -> Vec<(Range<usize>, NodeId)> {
        let mut first = 0;
        let rows = self.nodes[node].inputs.iter().map(|&input| {
            let rows = first..first + self.nodes[input].shape.channels;
            first = rows.end;
            (rows, input)
        });
        rows.collect()
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

    /// Multiply-accumulates of a node's forward step for one image.
    fn forward_macs(&self, node: NodeId) -> u64 {
        let taken_along = self.liveness.separable.get(&node);
        let nodes = std::iter::once(&node).chain(taken_along);
        nodes
            .map(|node| label::forward_macs(&self.nodes[*node]))
            .sum()
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
            operator: match self.liveness.separable.get(&node) {
                Some(depthwise) => {
                    let depthwise = label::operator(&self.nodes[*depthwise]);
                    format!("{depthwise}, {}", label::operator(&self.nodes[node]))
                }
                None => label::operator(&self.nodes[node]),
            },
            bytes: 0,
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

fn inputs_error(node: &Node, expected: usize) -> SupernetError {
    SupernetError::Inputs {
        node: node.label.clone(),
        found: node.inputs.len(),
        expected,
    }
}
