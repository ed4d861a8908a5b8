//! Random spaces, architectures and network configurations.

use epnas_arch::{
    Arch, Block, BlockInput, CellArch, CellSource, DepthwiseKind, Downsample, HeadSharing, Layer,
    MacroArch, MacroSpace, MicroOps, MicroSpace, NetworkConfig, Op, Sharing, SourceSet, Space,
    StageChannels, Wiring,
};
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn spaces() -> impl Strategy<Value = Space> {
    let wiring = select(vec![Wiring::Chain, Wiring::Free]);
    let macros = (1..=16_usize, wiring)
        .prop_map(|(layers, wiring)| Space::Macro(MacroSpace { layers, wiring }));
    let ops = select(vec![MicroOps::Seven, MicroOps::Eight]);
    let micros = (1..=8_usize, ops, any::<bool>()).prop_map(|(blocks, ops, canonicalize)| {
        Space::Micro(MicroSpace {
            blocks,
            ops,
            canonicalize,
        })
    });
    prop_oneof![macros, micros]
}

/// A space and an architecture of it, of any length, made of random elements.
pub(crate) fn in_space() -> impl Strategy<Value = (Space, Arch)> {
    spaces().prop_flat_map(|space| {
        let elements = proptest::collection::vec(any::<u64>(), 1..=space.levels());
        elements.prop_map(move |elements| {
            let mut arch = None;
            for (i, element) in elements.iter().enumerate() {
                arch = Some(space.extend(arch.as_ref(), element % space.level_len(i + 1)));
            }
            (space.clone(), arch.expect("at least one level"))
        })
    })
}

/// Two architectures of one space.
pub(crate) fn pairs_in_space() -> impl Strategy<Value = (Space, Arch, Arch)> {
    let seeds = || proptest::collection::vec(any::<u64>(), 1..=16);
    (spaces(), seeds(), seeds()).prop_map(|(space, a, b)| {
        let make = |elements: Vec<u64>| {
            let elements = elements.into_iter().take(space.levels()).enumerate();
            elements.fold(None, |arch: Option<Arch>, (i, element)| {
                Some(space.extend(arch.as_ref(), element % space.level_len(i + 1)))
            })
        };
        let (a, b) = (make(a).expect("one level"), make(b).expect("one level"));
        (space, a, b)
    })
}

/// Any well-formed architecture, of a space or not.
pub(crate) fn archs() -> impl Strategy<Value = Arch> {
    let layer = (select(Op::MICRO_WIDE.to_vec()), any::<u64>());
    let macros = proptest::collection::vec(layer, 1..=64).prop_map(|layers| {
        let layers = layers.into_iter().enumerate().map(|(i, (op, bits))| {
            let sources = SourceSet::from_bits(bits & (u64::MAX >> (63 - i)));
            Layer {
                op,
                sources: if sources.is_empty() {
                    SourceSet::single(i)
                } else {
                    sources
                },
            }
        });
        Arch::Macro(MacroArch {
            layers: layers.collect(),
        })
    });
    let input = || (select(Op::MICRO_WIDE.to_vec()), any::<usize>());
    let micros = proptest::collection::vec((input(), input()), 1..=30).prop_map(|blocks| {
        let blocks = blocks
            .into_iter()
            .enumerate()
            .map(|(b, (first, second))| Block {
                inputs: [first, second].map(|(op, source)| BlockInput {
                    op,
                    source: CellSource::from_index(source % (b + 2)).expect("in range"),
                }),
            });
        Arch::Micro(CellArch {
            blocks: blocks.collect(),
        })
    });
    prop_oneof![macros, micros]
}

pub(crate) fn configs() -> impl Strategy<Value = NetworkConfig> {
    (
        1..=8_usize,
        1..=3_usize,
        select(vec![StageChannels::Constant, StageChannels::Double]),
        select(vec![Downsample::MaxPool, Downsample::FactorizedReduction]),
        select(vec![DepthwiseKind::Separable, DepthwiseKind::Pure]),
        select(vec![HeadSharing::Shared, HeadSharing::PerDepth]),
        select(vec![Sharing::Op, Sharing::OpAndSource]),
    )
        .prop_map(
            |(channels, cells_per_stage, stage_channels, downsample, depthwise, head, sharing)| {
                NetworkConfig {
                    channels,
                    cells_per_stage,
                    stage_channels,
                    downsample,
                    depthwise,
                    head,
                    sharing,
                }
            },
        )
}
