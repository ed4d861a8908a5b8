//! Macro networks: layers over any earlier layers, with two fixed halvings of the resolution.

use std::collections::BTreeMap;

use super::build::Builder;
use super::{Activation, Downsample, NodeId, PoolKind, Sharing};
use crate::MacroArch;

/// How often the resolution halves before layer `layer` (0 is the stem) in a space of `space_len` layers.
pub(super) fn reductions_before(layer: usize, space_len: usize) -> usize {
    let third = space_len / 3;
    // Below three layers, a third is 0 and there is no boundary.
    [third, 2 * third]
        .into_iter()
        .filter(|&boundary| boundary > 0 && layer > boundary)
        .count()
}

/// Adds the layers and returns the last one's output.
pub(super) fn build(
    builder: &mut Builder<'_>,
    arch: &MacroArch,
    space_len: usize,
    stem: NodeId,
) -> NodeId {
    let mut outputs = vec![stem];
    // (boundary, source) to the source after that boundary.
    let mut pooled: BTreeMap<(usize, usize), NodeId> = BTreeMap::new();
    for (i, layer) in arch.layers.iter().enumerate() {
        let l = i + 1;
        let reductions = reductions_before(l, space_len);
        let slices: Vec<(NodeId, String)> = layer
            .sources
            .iter()
            .map(|j| {
                let crossed = reductions_before(j, space_len) + 1..=reductions;
                let source = crossed.fold(outputs[j], |node, boundary| {
                    *pooled
                        .entry((boundary, j))
                        .or_insert_with(|| downsample(builder, boundary, j, node))
                });
                (source, format!("layer.{l}.in.{j}"))
            })
            .collect();
        let from = match builder.config.sharing {
            Sharing::Op => String::new(),
            Sharing::OpAndSource => format!(".from_{}", layer.sources),
        };
        let channels = builder.config.channels_at(reductions);
        let merged = builder.conv(&format!("layer.{l}.in"), &slices, 1, 1, channels);
        let merged =
            builder.batch_norm(&format!("layer.{l}.in{from}.bn"), merged, Activation::Relu);
        outputs.push(builder.op(
            &format!("layer.{l}.{}{from}", layer.op),
            layer.op,
            merged,
            1,
        ));
    }
    *outputs.last().unwrap_or(&stem)
}

fn downsample(builder: &mut Builder<'_>, boundary: usize, source: usize, node: NodeId) -> NodeId {
    let path = format!("pool.{boundary}.{source}");
    match builder.config.downsample {
        Downsample::MaxPool => builder.pool(&path, node, PoolKind::Max, 2),
        Downsample::FactorizedReduction => {
            builder.factorized(&path, node, builder.shape(node).channels)
        }
    }
}
