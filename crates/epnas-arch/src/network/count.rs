//! Counting: parameters and multiply-accumulates, by node and in all.

use super::{Network, Node, NodeId, NodeKind, Param};

impl Node {
    /// The node's tensors, running statistics included.
    pub fn params(&self) -> Vec<&Param> {
        match &self.kind {
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

    /// Trainable values: weights, biases, batch norm factors and terms.
    pub fn param_count(&self) -> u64 {
        self.params()
            .iter()
            .filter(|p| p.kind.is_trainable())
            .map(|p| p.len() as u64)
            .sum()
    }

    /// Multiply-accumulates per image of a convolution or the linear layer; 0 for the rest. Padding counts.
    pub fn macs(&self) -> u64 {
        let weights = |params: &[Param]| params.iter().map(|p| p.len() as u64).sum::<u64>();
        let pixels = self.shape.pixels() as u64;
        match &self.kind {
            NodeKind::Conv { weights: w, .. } => pixels * weights(w),
            NodeKind::Depthwise { weight, .. } => pixels * weight.len() as u64,
            NodeKind::FactorizedConv { weights: w } => pixels * weights(w),
            NodeKind::Head { weight, .. } => weight.len() as u64,
            NodeKind::Input
            | NodeKind::BatchNorm { .. }
            | NodeKind::Pool { .. }
            | NodeKind::Add
            | NodeKind::Relu => 0,
        }
    }
}

impl Network {
    /// All tensors in the order of the nodes, running statistics included. No path occurs twice.
    pub fn tensors(&self) -> impl Iterator<Item = &Param> {
        self.nodes.iter().flat_map(Node::params)
    }

    /// The tensors that training changes by gradient.
    pub fn trainable(&self) -> impl Iterator<Item = &Param> {
        self.tensors().filter(|param| param.kind.is_trainable())
    }

    /// Trainable values in all. Running statistics and dead parts do not count.
    pub fn params(&self) -> u64 {
        self.nodes.iter().map(Node::param_count).sum()
    }

    /// Multiply-accumulates of convolutions and the linear layer, per image.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(Node::macs).sum()
    }

    /// The branches of sums, each as a sum and the place of one of its inputs: all but identities, which pass on an earlier
    /// result, and shortcuts of residual blocks. Drop-path leaves branches out.
    pub fn branches(&self) -> Vec<(NodeId, usize)> {
        let mut branches = Vec::new();
        for (sum, node) in self.nodes.iter().enumerate() {
            let Some(path) = node.label.strip_suffix("add") else {
                continue;
            };
            // What a block computes for its sum is called after the block.
            branches.extend(node.inputs.iter().enumerate().filter_map(|(place, input)| {
                let own = self.nodes[*input].label.strip_prefix(path)?;
                (!own.starts_with("shortcut")).then_some((sum, place))
            }));
        }
        branches
    }

    /// The node called `label`.
    pub fn node(&self, label: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.label == label)
    }
}
