//! The order of a plan's steps, which gradients exist, which share memory by being the same, and how long every value
//! lives. Pure bookkeeping on node numbers: no tensors.
//!
//! Whatever reads the result of a batch norm or a ReLU applies it, so it has no activation of its own.
//!
//! A batch norm after a convolution that nothing else reads is no step: the convolution takes its statistics, and the
//! gradient of its result is all that the convolution needs. After anything else, its statistics and the gradient of
//! what it read are steps; so is the latter of a ReLU.
//!
//! A depthwise convolution that only a pointwise one reads is no step either: the two are one, and what lies between
//! them is no value.

use std::collections::{BTreeMap, BTreeSet};

use epnas_arch::{Network, Node, NodeId, NodeKind};
use epnas_ops::Accumulate;

use super::{Mode, buffers::Span};
use crate::error::SupernetError;

/// Where a gradient goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GradientFlow {
    /// The input needs none: nothing before it is trained.
    NotNeeded,
    /// The input's gradient is the same tensor as that of the node's output, or, before a batch norm, is computed from
    /// it where it is read; nothing to do.
    Shared,
    /// To be written to the input's gradient.
    Write(Accumulate),
}

/// Whether a depthwise convolution and the pointwise one that reads it are one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separable {
    /// They are: what lies between them stays in the cache of a CPU.
    Fused,
    /// They are not.
    Apart,
}

/// The bookkeeping of a plan.
#[derive(Debug, Clone)]
pub(super) struct Liveness {
    /// For every node and each of its inputs, where the gradient goes. Empty without a backward pass.
    pub(super) flow: Vec<Vec<GradientFlow>>,
    /// For every node, the number of its activation among the values (the network's input has none).
    pub(super) activation: Vec<Option<usize>>,
    /// For every node, the number of its gradient among the values.
    pub(super) gradient: Vec<Option<usize>>,
    /// For every pointwise convolution that takes along the depthwise one before it, that one.
    pub(super) separable: BTreeMap<NodeId, NodeId>,
    /// For every convolution that takes along the batch norm after it, that one.
    pub(super) norm: BTreeMap<NodeId, NodeId>,
    /// The lifetime of every value.
    pub(super) spans: Vec<Span>,
    /// For a node and the place of one of its inputs, the batch norms whose result has the gradient that this node
    /// completes: their sums are taken along. Only operators that can do so are here.
    pub(super) sums: BTreeMap<(NodeId, usize), Vec<NodeId>>,
}

impl Liveness {
    /// Analyzes a network for a batch size. Time runs over the nodes' forward steps, the loss, and the nodes' backward
    /// steps in reverse. The sums in `scaled` multiply the inputs at these places.
    pub(super) fn analyze(
        network: &Network,
        batch: usize,
        mode: Mode,
        fusion: Separable,
        scaled: &BTreeSet<(NodeId, usize)>,
    ) -> Result<Liveness, SupernetError> {
        let nodes = &network.nodes;
        let loss = nodes.len();
        let backward_time = |node: NodeId| loss + (nodes.len() - node);
        let elements = |node: NodeId| {
            let shape = nodes[node].shape;
            batch * shape.height * shape.width * shape.channels
        };

        let mut spans = Vec::new();
        let mut activation = vec![None; nodes.len()];
        let mut consumers = vec![0; nodes.len()];
        for (node, entry) in nodes.iter().enumerate() {
            for input in &entry.inputs {
                if *input >= node {
                    return Err(SupernetError::NetworkOrder {
                        node: entry.label.clone(),
                    });
                }
                consumers[*input] += 1;
            }
        }
        let separable = match fusion {
            Separable::Fused => separable(network, &consumers),
            Separable::Apart => BTreeMap::new(),
        };
        let mut norm = BTreeMap::new();
        for (node, entry) in nodes.iter().enumerate() {
            match entry.kind {
                _ if is_taken_along(&separable, node) => continue,
                NodeKind::Input | NodeKind::Head { .. } => {}
                // What is read is what it read.
                NodeKind::BatchNorm { .. } | NodeKind::Relu => match *entry.inputs.as_slice() {
                    [input] if activation[input].is_some() && !is_norm(&nodes[input].kind) => {
                        activation[node] = activation[input];
                        if matches!(entry.kind, NodeKind::BatchNorm { .. })
                            && is_convolution(&nodes[input].kind)
                            && consumers[input] == 1
                        {
                            norm.insert(input, node);
                        }
                    }
                    _ => {
                        return Err(SupernetError::NormWithoutResult {
                            node: entry.label.clone(),
                        });
                    }
                },
                _ => {
                    activation[node] = Some(spans.len());
                    spans.push(Span {
                        first: node,
                        last: node,
                        elements: elements(node),
                    });
                }
            }
            for input in inputs(nodes, &separable, node) {
                if let Some(value) = activation[*input] {
                    let span: &mut Span = &mut spans[value];
                    span.last = span.last.max(match (mode, &entry.kind) {
                        // The convolution's own backward step.
                        (Mode::Train, _) if norm.get(input) == Some(&node) => backward_time(*input),
                        (Mode::Train, kind) if backward_reads_input(kind) => backward_time(node),
                        _ => node,
                    });
                }
            }
        }
        let mut liveness = Liveness {
            flow: Vec::new(),
            activation,
            gradient: vec![None; nodes.len()],
            separable,
            norm,
            spans,
            sums: BTreeMap::new(),
        };
        if mode == Mode::Train {
            liveness.analyze_backward(network, &consumers, scaled, backward_time, elements)?;
        }
        Ok(liveness)
    }

    fn analyze_backward(
        &mut self,
        network: &Network,
        consumers: &[usize],
        scaled: &BTreeSet<(NodeId, usize)>,
        backward_time: impl Fn(NodeId) -> usize,
        elements: impl Fn(NodeId) -> usize,
    ) -> Result<(), SupernetError> {
        let nodes = &network.nodes;
        let mut trained = vec![false; nodes.len()];
        for (node, entry) in nodes.iter().enumerate() {
            trained[node] =
                has_weights(&entry.kind) || entry.inputs.iter().any(|input| trained[*input]);
        }
        // Node and place of the input that write a value last.
        let mut completed_by: BTreeMap<usize, (NodeId, usize)> = BTreeMap::new();
        self.flow = vec![Vec::new(); nodes.len()];
        for (node, entry) in nodes.iter().enumerate().rev() {
            let is_head = matches!(entry.kind, NodeKind::Head { .. });
            if is_taken_along(&self.separable, node) {
                continue;
            }
            let inputs = inputs(nodes, &self.separable, node);
            if !trained[node] {
                self.flow[node] = vec![GradientFlow::NotNeeded; inputs.len()];
                continue;
            }
            let now = backward_time(node);
            match self.gradient[node] {
                Some(value) => self.spans[value].last = self.spans[value].last.max(now),
                // The gradient of the logits comes from the loss.
                None if is_head => {}
                None => {
                    return Err(SupernetError::DeadNode {
                        node: entry.label.clone(),
                    });
                }
            }
            for (place, input) in inputs.iter().enumerate() {
                let flow = if !trained[*input] {
                    GradientFlow::NotNeeded
                } else if self.norm.get(input) == Some(&node) {
                    self.gradient[*input] = self.gradient[node];
                    GradientFlow::Shared
                } else if let Some(value) = self.gradient[*input] {
                    self.spans[value].last = self.spans[value].last.max(now);
                    GradientFlow::Write(Accumulate::Add)
                } else if matches!(entry.kind, NodeKind::Add)
                    && consumers[*input] == 1
                    && !scaled.contains(&(node, place))
                {
                    // A sum passes its gradient on unchanged. Nobody else adds to it, so it need not be copied.
                    self.gradient[*input] = self.gradient[node];
                    GradientFlow::Shared
                } else {
                    self.gradient[*input] = Some(self.spans.len());
                    self.spans.push(Span {
                        first: now,
                        last: now,
                        elements: elements(*input),
                    });
                    GradientFlow::Write(Accumulate::Overwrite)
                };
                if let (GradientFlow::Write(_), Some(value)) = (flow, self.gradient[*input]) {
                    completed_by.insert(value, (node, place));
                }
                self.flow[node].push(flow);
            }
        }
        for (node, entry) in nodes.iter().enumerate() {
            if matches!(entry.kind, NodeKind::BatchNorm { .. })
                && let Some(value) = self.gradient[node]
                && let Some(&(writer, place)) = completed_by.get(&value)
                && (is_convolution(&nodes[writer].kind)
                    || matches!(nodes[writer].kind, NodeKind::Pool { .. }))
            {
                self.sums.entry((writer, place)).or_default().push(node);
            }
        }
        Ok(())
    }
}

/// The pointwise convolutions of one source that alone read a depthwise one, and that one.
fn separable(network: &Network, consumers: &[usize]) -> BTreeMap<NodeId, NodeId> {
    let reads_depthwise = |entry: &Node| match (&entry.kind, entry.inputs.as_slice()) {
        (
            NodeKind::Conv {
                kernel: 1,
                stride: 1,
                weights,
            },
            &[input],
        ) if weights.len() == 1 && consumers[input] == 1 => {
            matches!(network.nodes[input].kind, NodeKind::Depthwise { .. }).then_some(input)
        }
        _ => None,
    };
    let nodes = network.nodes.iter().enumerate();
    nodes
        .filter_map(|(node, entry)| Some((node, reads_depthwise(entry)?)))
        .collect()
}

/// Whether a depthwise convolution is part of the step of the pointwise one after it.
fn is_taken_along(separable: &BTreeMap<NodeId, NodeId>, node: NodeId) -> bool {
    separable.values().any(|depthwise| *depthwise == node)
}

/// What the step of a node reads.
fn inputs<'a>(
    nodes: &'a [Node],
    separable: &BTreeMap<NodeId, NodeId>,
    node: NodeId,
) -> &'a [NodeId] {
    let reader = separable.get(&node).copied().unwrap_or(node);
    &nodes[reader].inputs
}

impl Liveness {
    /// Whether a node has no step of its own because another's takes it along.
    pub(super) fn is_taken_along(&self, node: NodeId) -> bool {
        is_taken_along(&self.separable, node)
    }

    /// What the step of a node reads.
    pub(super) fn inputs<'a>(&self, nodes: &'a [Node], node: NodeId) -> &'a [NodeId] {
        inputs(nodes, &self.separable, node)
    }
}

fn is_convolution(kind: &NodeKind) -> bool {
    matches!(
        kind,
        NodeKind::Conv { .. } | NodeKind::Depthwise { .. } | NodeKind::FactorizedConv { .. }
    )
}

fn is_norm(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::BatchNorm { .. } | NodeKind::Relu)
}

fn has_weights(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::Input | NodeKind::Pool { .. } | NodeKind::Add | NodeKind::Relu => false,
        NodeKind::Conv { .. }
        | NodeKind::Depthwise { .. }
        | NodeKind::FactorizedConv { .. }
        | NodeKind::BatchNorm { .. }
        | NodeKind::Head { .. } => true,
    }
}

/// Whether the backward pass of a node reads what its forward pass read. The head keeps its pooled input, maximum
/// pooling the position of each maximum.
fn backward_reads_input(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::Conv { .. }
        | NodeKind::Depthwise { .. }
        | NodeKind::FactorizedConv { .. }
        | NodeKind::BatchNorm { .. }
        | NodeKind::Relu => true,
        NodeKind::Input | NodeKind::Pool { .. } | NodeKind::Add | NodeKind::Head { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use epnas_arch::{Arch, NetworkConfig, Shape};

    use super::*;

    /// A network with one separable convolution, and its depthwise and pointwise node.
    fn network() -> (Network, NodeId, NodeId) {
        let arch: Arch = "macro:d3.0".parse().expect("an architecture");
        let config = NetworkConfig::default();
        let network = Network::build(&arch, 1, &config, Shape::new(8, 8, 3), 10);
        let network = network.expect("a network");
        let is_depthwise = |node: &Node| matches!(node.kind, NodeKind::Depthwise { .. });
        let depthwise = network.nodes.iter().position(is_depthwise);
        let depthwise = depthwise.expect("a depthwise convolution");
        let reads = |node: &Node| node.inputs.contains(&depthwise);
        let pointwise = network.nodes.iter().position(reads).expect("a reader");
        (network, depthwise, pointwise)
    }

    fn found(network: &Network) -> Vec<(NodeId, NodeId)> {
        let mut consumers = vec![0; network.nodes.len()];
        for input in network.nodes.iter().flat_map(|node| &node.inputs) {
            consumers[*input] += 1;
        }
        separable(network, &consumers).into_iter().collect()
    }

    #[test]
    fn a_pointwise_convolution_takes_the_depthwise_one_before_it_along() {
        let (network, depthwise, pointwise) = network();
        assert_eq!(found(&network), [(pointwise, depthwise)]);
        let liveness =
            Liveness::analyze(&network, 2, Mode::Train, Separable::Fused, &BTreeSet::new());
        let liveness = liveness.expect("in order");
        assert_eq!(liveness.activation[depthwise], None);
        // What the depthwise convolution reads lives until the backward step of both.
        let read = liveness.activation[network.nodes[depthwise].inputs[0]].expect("a value");
        let backward = network.nodes.len() + (network.nodes.len() - pointwise);
        assert!(liveness.spans[read].last >= backward);
    }

    #[test]
    fn others_leave_it_alone() {
        let (mut twice, depthwise, pointwise) = network();
        let reader = Node {
            label: "other".to_owned(),
            kind: NodeKind::Add,
            inputs: vec![depthwise, pointwise],
            shape: twice.nodes[pointwise].shape,
        };
        twice.nodes.push(reader);
        assert_eq!(found(&twice), [], "read twice");

        let of = |change: &dyn Fn(&mut Node)| {
            let (mut network, _, pointwise) = network();
            change(&mut network.nodes[pointwise]);
            found(&network)
        };
        let strided = of(&|node| {
            if let NodeKind::Conv { stride, .. } = &mut node.kind {
                *stride = 2;
            }
        });
        assert_eq!(strided, [], "strided");
        let wide = of(&|node| {
            if let NodeKind::Conv { kernel, .. } = &mut node.kind {
                *kernel = 3;
            }
        });
        assert_eq!(wide, [], "not pointwise");
        let joined = of(&|node| {
            if let NodeKind::Conv { weights, .. } = &mut node.kind {
                weights.push(weights[0].clone());
            }
            node.inputs.push(0);
        });
        assert_eq!(joined, [], "of two sources");
        let other = of(&|node| node.inputs = vec![1]);
        assert_eq!(other, [], "of something else");
    }
}
