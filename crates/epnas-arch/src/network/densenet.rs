//! Densely connected networks for small images (Huang et al., 2017, section 3).
//!
//! What a layer reads is never put together in memory: its convolution has a slice of weights for every source, and a
//! source has a batch norm of its own for every reader.
//!
//! | path | what |
//! |---|---|
//! | `stem.conv.weight` | first convolution |
//! | `dense.{b}.{l}.from.{j}.bn.*`, `dense.{b}.{l}.{j}.weight` | layer l of block b: batch norm and slice for source j |
//! | `dense.{b}.{l}.wide.bn.*`, `dense.{b}.{l}.out.weight` | with bottlenecks, batch norm and convolution after that |
//! | `transition.{b}.from.{j}.bn.*`, `transition.{b}.{j}.weight` | after block b |
//! | `last.from.{j}.bn.*` | batch norm before the head |
//!
//! Source 0 is what the block starts from, j what its layer j gave.

use super::build::Builder;
use super::hand_made::{DenseForm, Joined};
use super::{Activation, NodeId, PoolKind};

/// Adds everything before the head, and returns what that reads.
pub(super) fn build(
    builder: &mut Builder<'_>,
    image: NodeId,
    layers: usize,
    growth: usize,
    form: DenseForm,
) -> Vec<NodeId> {
    let channels = match form {
        DenseForm::Plain => 16,
        DenseForm::Compressed => 2 * growth,
    };
    let stem = builder.conv("stem.conv", &[(image, "stem.conv")], 3, 1, channels);
    let mut sources = vec![stem];
    for block in 0..3 {
        if block > 0 {
            sources = vec![transition(builder, block - 1, &sources, form)];
        }
        for l in 1..=layers {
            let path = format!("dense.{block}.{l}");
            let given = layer(builder, &path, &sources, growth, form);
            sources.push(given);
        }
    }
    let normalized = normalized(builder, "last", &sources);
    normalized.into_iter().map(|(node, _)| node).collect()
}

fn layer(
    builder: &mut Builder<'_>,
    path: &str,
    sources: &[NodeId],
    growth: usize,
    form: DenseForm,
) -> NodeId {
    let inputs = normalized(builder, path, sources);
    match form {
        DenseForm::Plain => builder.conv(path, &inputs, 3, 1, growth),
        DenseForm::Compressed => {
            let wide = builder.conv(path, &inputs, 1, 1, 4 * growth);
            let wide = builder.batch_norm(&format!("{path}.wide.bn"), wide, Activation::Relu);
            let out = format!("{path}.out");
            builder.conv(&out, &[(wide, &out)], 3, 1, growth)
        }
    }
}

fn transition(
    builder: &mut Builder<'_>,
    block: usize,
    sources: &[NodeId],
    form: DenseForm,
) -> NodeId {
    let path = format!("transition.{block}");
    let channels: usize = sources.iter().map(|&s| builder.shape(s).channels).sum();
    let channels = match form {
        DenseForm::Plain => channels,
        DenseForm::Compressed => channels / 2,
    };
    let inputs = normalized(builder, &path, sources);
    let conv = builder.conv(&path, &inputs, 1, 1, channels);
    builder.pool(&format!("{path}.pool"), conv, PoolKind::Avg, 2)
}

/// Batch norm and ReLU over every source.
fn normalized(builder: &mut Builder<'_>, path: &str, sources: &[NodeId]) -> Joined {
    let norm = |(j, &source)| {
        let label = format!("{path}.from.{j}.bn");
        let norm = builder.batch_norm(&label, source, Activation::Relu);
        (norm, format!("{path}.{j}"))
    };
    sources.iter().enumerate().map(norm).collect()
}
