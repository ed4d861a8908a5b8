//! Residual networks for small images (He et al., 2016, section 4.2).
//!
//! | path | what |
//! |---|---|
//! | `stem.conv.weight`, `stem.bn.*` | stem |
//! | `stage.{s}.block.{b}.{1 or 2}.weight`, `.bn.*` | a convolution of a block |
//! | `stage.{s}.block.{b}.shortcut.weight`, `.bn.*` | the shortcut where size or channels change |

use super::build::Builder;
use super::{Activation, NodeId};

/// Adds stem and stages; the first has `channels`.
pub(super) fn build(
    builder: &mut Builder<'_>,
    image: NodeId,
    blocks: usize,
    channels: usize,
) -> NodeId {
    let stem = builder.conv("stem.conv", &[(image, "stem.conv")], 3, 1, channels);
    let mut last = builder.batch_norm("stem.bn", stem, Activation::Relu);
    for stage in 0..3 {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let path = format!("stage.{stage}.block.{block}");
            last = residual(builder, &path, last, stride, channels << stage);
        }
    }
    last
}

fn residual(
    builder: &mut Builder<'_>,
    path: &str,
    input: NodeId,
    stride: usize,
    channels: usize,
) -> NodeId {
    let mut conv = |name: &str, from, kernel, stride, activation| {
        let path = format!("{path}.{name}");
        let conv = builder.conv(&path, &[(from, &path)], kernel, stride, channels);
        builder.batch_norm(&format!("{path}.bn"), conv, activation)
    };
    let first = conv("1", input, 3, stride, Activation::Relu);
    let second = conv("2", first, 3, 1, Activation::None);
    // Only a stage's first block changes anything, and size and channels at once.
    let shortcut = match stride {
        1 => input,
        _ => conv("shortcut", input, 1, stride, Activation::None),
    };
    let sum = builder.add(&format!("{path}.add"), second, shortcut);
    builder.relu(&format!("{path}.relu"), sum)
}
