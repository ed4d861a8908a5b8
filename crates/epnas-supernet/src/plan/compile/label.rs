//! What descriptions say about a node: its operator and its work.

use epnas_arch::{Activation, Node, NodeKind, Param, PoolKind};

/// A readable name of a node's operator.
pub(super) fn operator(node: &Node) -> String {
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
        NodeKind::Relu => "relu".to_owned(),
        NodeKind::Head { .. } => "average, linear".to_owned(),
    }
}

/// Multiply-accumulates of a node's forward pass for one image.
pub(super) fn forward_macs(node: &Node) -> u64 {
    let pixels = (node.shape.height * node.shape.width) as u64;
    let weights: usize = match &node.kind {
        NodeKind::Conv { weights, .. } => weights.iter().map(elements).sum(),
        NodeKind::FactorizedConv { weights } => weights.iter().map(elements).sum(),
        NodeKind::Depthwise { weight, .. } => elements(weight),
        NodeKind::Head { weight, .. } => return elements(weight) as u64,
        NodeKind::Input
        | NodeKind::BatchNorm { .. }
        | NodeKind::Pool { .. }
        | NodeKind::Add
        | NodeKind::Relu => 0,
    };
    pixels * weights as u64
}

fn elements(param: &Param) -> usize {
    param.shape.iter().product()
}
