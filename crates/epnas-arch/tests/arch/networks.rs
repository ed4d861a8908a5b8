//! Shapes, names and structure of networks, and what cannot be built.

use epnas_arch::{
    Activation, Arch, ArchError, HeadSharing, Network, NetworkConfig, NetworkError, NodeKind,
    ParamKind, PoolKind, Shape, Sharing,
};

const CIFAR: Shape = Shape {
    height: 32,
    width: 32,
    channels: 3,
};
const CHAIN: &str = "macro:c3.0/c3.1/c3.2/c3.3/c3.4/c3.5/c3.6/c3.7/c3.8/c3.9/c3.10/c3.11";

fn arch(text: &str) -> Arch {
    text.parse().expect("well-formed")
}

fn build(text: &str, space_len: usize, config: &NetworkConfig) -> Network {
    Network::build(&arch(text), space_len, config, CIFAR, 10).expect("valid")
}

fn heights(text: &str, space_len: usize, input: Shape) -> Vec<usize> {
    let shapes = Network::layer_shapes(&arch(text), space_len, &NetworkConfig::default(), input)
        .expect("valid");
    assert!(shapes.iter().all(|s| s.channels == 24));
    shapes.iter().map(|s| s.height).collect()
}

#[test]
fn resolutions() {
    // Halved after layers 4 and 8 of 12.
    assert_eq!(
        heights(CHAIN, 12, CIFAR),
        [32, 32, 32, 32, 16, 16, 16, 16, 8, 8, 8, 8]
    );
    // A prefix halves where the whole does, and ends without a trailing pool.
    assert_eq!(heights("macro:c3.0/c3.1/c3.2/c3.3", 12, CIFAR), [32; 4]);
    assert_eq!(heights("macro:c3.0/c3.1", 2, CIFAR), [32, 32]);
    assert_eq!(heights("macro:c3.0/c3.1/c3.2", 3, CIFAR), [32, 16, 8]);
    // N = 2: cells 0-1, then the reduction 2, 3-4, the reduction 5, 6-7.
    assert_eq!(
        heights("micro:c3.-2+c3.-1", 0, CIFAR),
        [32, 32, 16, 16, 16, 8, 8, 8]
    );
    // Odd sizes round up, down to one pixel.
    assert_eq!(
        heights("macro:c3.0/c3.1/c3.2", 3, Shape::new(5, 5, 3)),
        [5, 3, 2]
    );
    assert_eq!(heights("micro:c3.-2+c3.-1", 0, Shape::new(1, 1, 3)), [1; 8]);
}

#[test]
fn nodes_have_the_shapes_of_their_layers() {
    let network = build(CHAIN, 12, &NetworkConfig::default());
    let shapes =
        Network::layer_shapes(&arch(CHAIN), 12, &NetworkConfig::default(), CIFAR).expect("valid");
    for (l, shape) in (1..).zip(shapes) {
        let node = network
            .node(&format!("layer.{l}.conv_3x3.bn"))
            .expect("every layer is live");
        assert_eq!(node.shape, shape, "layer {l}");
    }
    assert_eq!(
        network.nodes.last().map(|n| n.shape),
        Some(Shape::new(1, 1, 10))
    );
}

#[test]
fn stem_layer_and_head_are_as_documented() {
    let network = build("macro:d3.0", 12, &NetworkConfig::default());
    let labels: Vec<&str> = network.nodes.iter().map(|n| &*n.label).collect();
    assert_eq!(
        labels,
        [
            "input",
            "stem.conv",
            "stem.bn",
            "layer.1.in",
            "layer.1.in.bn",
            "layer.1.dw_conv_3x3.depthwise",
            "layer.1.dw_conv_3x3.pointwise",
            "layer.1.dw_conv_3x3.bn",
            "head",
        ]
    );
    let activation = |label: &str| match &network.node(label).expect("present").kind {
        NodeKind::BatchNorm { activation, .. } => *activation,
        other => panic!("{label} is {other:?}"),
    };
    assert_eq!(activation("stem.bn"), Activation::None);
    assert_eq!(activation("layer.1.in.bn"), Activation::Relu);
    assert_eq!(activation("layer.1.dw_conv_3x3.bn"), Activation::Relu);
    let tensors: Vec<(&str, &[usize], ParamKind)> = network
        .tensors()
        .map(|p| (&*p.path, &*p.shape, p.kind))
        .collect();
    assert_eq!(
        tensors[0],
        (
            "stem.conv.weight",
            &[3, 3, 3, 24][..],
            ParamKind::ConvWeight
        )
    );
    assert_eq!(
        tensors[4],
        ("stem.bn.variance", &[24][..], ParamKind::BnVariance)
    );
    assert!(tensors.contains(&(
        "layer.1.in.0.weight",
        &[1, 1, 24, 24],
        ParamKind::ConvWeight
    )));
    assert!(tensors.contains(&(
        "layer.1.dw_conv_3x3.depthwise.weight",
        &[3, 3, 24],
        ParamKind::DepthwiseWeight
    )));
    assert!(tensors.contains(&("head.weight", &[24, 10], ParamKind::LinearWeight)));
    assert!(tensors.contains(&("head.bias", &[10], ParamKind::LinearBias)));
    // Three batch norms with a running mean and variance of 24 each are the only buffers.
    let (all, trainable) = (network.tensors().count(), network.trainable().count());
    assert_eq!(all - trainable, 6);
    assert_eq!(
        network.trainable().map(|p| p.len() as u64).sum::<u64>(),
        network.params()
    );
}

#[test]
fn a_source_is_pooled_once_per_boundary() {
    // L = 3: halved after layers 1 and 2. The stem is read by layers 2 and 3: once over the first boundary,
    // and from there over the second.
    let network = build("macro:c3.0/c3.0+1/c3.0+2", 3, &NetworkConfig::default());
    let pools: Vec<(&str, &str)> = network
        .nodes
        .iter()
        .filter(|n| {
            matches!(
                n.kind,
                NodeKind::Pool {
                    kind: PoolKind::Max,
                    stride: 2
                }
            )
        })
        .map(|n| (&*n.label, &*network.nodes[n.inputs[0]].label))
        .collect();
    assert_eq!(
        pools,
        [
            ("pool.1.0", "stem.bn"),
            ("pool.1.1", "layer.1.conv_3x3.bn"),
            ("pool.2.0", "pool.1.0"),
            ("pool.2.2", "layer.2.conv_3x3.bn"),
        ]
    );
    // One slice per source, in ascending order.
    let NodeKind::Conv {
        weights, kernel: 1, ..
    } = &network.node("layer.3.in").expect("live").kind
    else {
        panic!("a merge is a 1x1 convolution");
    };
    let paths: Vec<&str> = weights.iter().map(|w| &*w.path).collect();
    assert_eq!(paths, ["layer.3.in.0.weight", "layer.3.in.2.weight"]);
}

#[test]
fn reductions_stride_only_what_reads_earlier_cells() {
    let network = build("micro:c3.-2+id.-1/d5.-1+mp.0", 0, &NetworkConfig::default());
    let stride = |label: &str| match network.node(label).map(|n| &n.kind) {
        Some(
            NodeKind::Conv { stride, .. }
            | NodeKind::Depthwise { stride, .. }
            | NodeKind::Pool { stride, .. },
        ) => Some(*stride),
        Some(NodeKind::FactorizedConv { .. }) => Some(2),
        _ => None,
    };
    for (cell, expected, identity) in [(1, 1, None), (2, 2, Some(2)), (5, 2, Some(2)), (7, 1, None)]
    {
        assert_eq!(
            stride(&format!("cell.{cell}.block.0.0.conv_3x3")),
            Some(expected)
        );
        assert_eq!(
            stride(&format!("cell.{cell}.block.1.0.dw_conv_5x5.depthwise")),
            Some(expected)
        );
        assert_eq!(
            stride(&format!("cell.{cell}.block.1.1.max_pool_3x3")),
            Some(1)
        );
        assert_eq!(stride(&format!("cell.{cell}.block.0.1.identity")), identity);
    }
    // Cells 3 and 6 follow a reduction.
    let calibrated: Vec<&str> = network
        .nodes
        .iter()
        .filter(|n| {
            n.label.contains("calibrate") && matches!(n.kind, NodeKind::FactorizedConv { .. })
        })
        .map(|n| &*n.label)
        .collect();
    assert_eq!(calibrated, ["cell.3.calibrate.-2", "cell.6.calibrate.-2"]);
}

#[test]
fn factorized_halves_share_odd_channels() {
    let config = NetworkConfig {
        channels: 5,
        ..NetworkConfig::default()
    };
    let network = build("micro:id.-1+id.-1", 0, &config);
    let NodeKind::FactorizedConv { weights } = &network
        .node("cell.2.block.0.0.identity")
        .expect("live")
        .kind
    else {
        panic!("a strided identity is a factorized reduction");
    };
    assert_eq!(
        [&*weights[0].shape, &*weights[1].shape],
        [[1, 1, 5, 3], [1, 1, 5, 2]]
    );
    // A stride-1 identity has no node, so the first cell adds the stem to itself.
    let add = network.node("cell.0.block.0.add").expect("live");
    assert_eq!(add.inputs, [2, 2]);
}

#[test]
fn names_follow_the_sharing_options() {
    let paths = |text: &str, config: &NetworkConfig| {
        build(text, 12, config)
            .tensors()
            .map(|p| p.path.clone())
            .collect::<Vec<_>>()
    };
    let by_source = NetworkConfig {
        sharing: Sharing::OpAndSource,
        ..NetworkConfig::default()
    };
    let found = paths("macro:c3.0/c3.0+1", &by_source);
    for expected in [
        "layer.2.in.0.weight",
        "layer.2.in.1.weight",
        "layer.2.in.from_0+1.bn.scale",
        "layer.2.conv_3x3.from_0+1.weight",
        "layer.2.conv_3x3.from_0+1.bn.mean",
    ] {
        assert!(
            found.iter().any(|p| p == expected),
            "{expected} is not in {found:?}"
        );
    }
    let found = paths("micro:c3.-2+d3.-1", &by_source);
    for expected in [
        "cell.0.block.0.0.conv_3x3.from_-2.weight",
        "cell.7.block.0.1.dw_conv_3x3.from_-1.pointwise.weight",
    ] {
        assert!(
            found.iter().any(|p| p == expected),
            "{expected} is not in {found:?}"
        );
    }
    let per_depth = NetworkConfig {
        head: HeadSharing::PerDepth,
        ..NetworkConfig::default()
    };
    assert!(paths("macro:c3.0/c3.1", &per_depth).contains(&"head.2.weight".to_owned()));
    assert!(paths("micro:c3.-1+c3.-1", &per_depth).contains(&"head.1.bias".to_owned()));
}

#[test]
fn what_cannot_be_built_is_an_error() {
    let good = arch("macro:c3.0/c3.1");
    let config = NetworkConfig::default();
    let try_build = |arch: &Arch, len, config: &NetworkConfig, input, classes| {
        Network::build(arch, len, config, input, classes).map(|n| n.nodes.len())
    };
    assert!(try_build(&good, 2, &config, Shape::new(1, 1, 1), 1).is_ok());
    let length = NetworkError::Length { found: 2, limit: 1 };
    assert_eq!(try_build(&good, 1, &config, CIFAR, 10), Err(length));
    let empty = Arch::Macro(epnas_arch::MacroArch { layers: vec![] });
    assert_eq!(
        try_build(&empty, 12, &config, CIFAR, 10),
        Err(NetworkError::Arch(ArchError::Empty("layer")))
    );
    for (found, name) in [
        (
            try_build(&good, 2, &config, Shape::new(0, 32, 3), 10),
            "image height = 0",
        ),
        (
            try_build(&good, 2, &config, Shape::new(32, usize::MAX, 3), 10),
            "image width",
        ),
        (
            try_build(&good, 2, &config, Shape::new(32, 32, 0), 10),
            "image channels = 0",
        ),
        (try_build(&good, 2, &config, CIFAR, 0), "classes = 0"),
        (try_build(&good, 2, &config, CIFAR, usize::MAX), "classes"),
        (
            try_build(
                &good,
                2,
                &NetworkConfig {
                    channels: 0,
                    ..config.clone()
                },
                CIFAR,
                10,
            ),
            "network.channels = 0 is out of range, expected 1 to 4096",
        ),
        (
            try_build(
                &good,
                2,
                &NetworkConfig {
                    cells_per_stage: usize::MAX,
                    ..config.clone()
                },
                CIFAR,
                10,
            ),
            "network.cells_per_stage",
        ),
    ] {
        let error = found.expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
    // A space length beyond any architecture is harmless.
    assert!(try_build(&good, usize::MAX, &config, CIFAR, 10).is_ok());
}

#[test]
fn the_largest_architectures_build() {
    let text = (0..64).map(|l| {
        format!(
            "c3.{}",
            (0..=l).map(|j| j.to_string()).collect::<Vec<_>>().join("+")
        )
    });
    let text = format!("macro:{}", text.collect::<Vec<_>>().join("/"));
    let network = build(&text, 64, &NetworkConfig::default());
    // 64 * 65 / 2 slices of 576; 64 layers of 48 + 5232; stem and head 946.
    assert_eq!(network.params(), 2080 * 576 + 64 * 5280 + 946);
}
