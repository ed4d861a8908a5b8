//! Hand-made networks: exact counts beside the published ones, structure, and what cannot be built.

use epnas_arch::{
    Activation, DenseForm, Design, HandMade, Network, NetworkConfig, NodeKind, ParamKind, Shape,
};

const CIFAR: Shape = Shape {
    height: 32,
    width: 32,
    channels: 3,
};

fn build(text: &str) -> Network {
    let network: HandMade = text.parse().expect("well-formed");
    Network::hand_made(&network, CIFAR, 10).expect("valid")
}

/// He et al., 2016, table 6: 0.27 M for 20 layers, 0.46 M for 32, 0.66 M for 44, 0.85 M for 56 and 1.7 M for 110.
///
/// With n blocks a stage, a block of c channels has 2 * 9 c c weights and two batch norms of 2 c:
/// - stem: 27 * 16 + 32 = 464
/// - stage of 16: n (18 * 256 + 64) = 4,672 n
/// - stage of 32: the first block has 9 * 16 * 32 + 9 * 32 * 32 + 128 = 13,952 and a shortcut of 16 * 32 + 64 = 576;
///   the others 18 * 1,024 + 128 = 18,560 each
/// - stage of 64: 9 * 32 * 64 + 9 * 64 * 64 + 256 = 55,552, shortcut 32 * 64 + 128 = 2,176; the others
///   18 * 4,096 + 256 = 73,984
/// - head: 640 + 10
///
/// In all 464 + 650 + 4,672 n + 14,528 + 18,560 (n - 1) + 57,728 + 73,984 (n - 1) = 97,216 n - 19,174.
#[test]
fn residual_networks_have_the_published_sizes() {
    for (depth, exact, millions) in [
        (20, 272_474, "0.27"),
        (32, 466_906, "0.47"),
        (44, 661_338, "0.66"),
        (56, 855_770, "0.86"),
        (110, 1_730_714, "1.73"),
    ] {
        let n = (depth - 2) as u64 / 6;
        assert_eq!(97_216 * n - 19_174, exact);
        let network = build(&format!("resnet:{depth}"));
        assert_eq!(network.params(), exact, "{depth}");
        assert_eq!(format!("{:.2}", exact as f64 / 1e6), millions);
    }
    // Twice as wide: all weights between layers four times, batch norms, the first and the last layer twice.
    // 20 layers: batch norms 2 * (7 * 16 + 7 * 32 + 7 * 64) = 1,568, the stem's 27 * 16 = 432, the head's 640 + 10.
    let inner = 272_474 - 1_568 - 432 - 650;
    let wide = 4 * inner + 2 * (1_568 + 432 + 640) + 10;
    assert_eq!(build("resnet:20x2").params(), wide);
}

/// Huang et al., 2017, table 2: 1.0 M for (L, k) = (40, 12), 7.0 M for (100, 12); with bottlenecks and compression 0.8 M
/// for (100, 12) and 25.6 M for (190, 40), which is the row of Perez-Rua et al., 2018, table 1.
#[test]
fn dense_networks_have_the_published_sizes() {
    for (text, millions) in [
        ("densenet:40k12", "1.0"),
        ("densenet:100k12", "7.0"),
        ("densenet-bc:100k12", "0.8"),
        ("densenet-bc:190k40", "25.6"),
    ] {
        let millions_found = format!("{:.1}", build(text).params() as f64 / 1e6);
        assert_eq!(millions_found, millions, "{text}");
    }
    // 40 layers, growth 12: 12 layers a block, 16 channels at first. A layer that reads c channels has a batch norm of
    // 2 c and 9 * 12 c weights, 110 c in all.
    // - stem: 27 * 16 = 432
    // - block 1 reads 16, 28, .. 148, in all 12 * 16 + 12 * 66 = 984, gives 160; transition 320 + 160 * 160 = 25,920
    // - block 2 reads 160 and so on, in all 12 * 160 + 792 = 2,712, gives 304; transition 608 + 304 * 304 = 93,024
    // - block 3 reads 12 * 304 + 792 = 4,440, gives 448; batch norm 896; head 4,480 + 10
    let expected = 432 + 110 * (984 + 2_712 + 4_440) + 25_920 + 93_024 + 896 + 4_490;
    assert_eq!(expected, 1_019_722);
    assert_eq!(build("densenet:40k12").params(), expected);
    // 100 layers with bottlenecks: 16 layers a block, 24 channels at first. A layer that reads c has 2 c + 48 c, then
    // 96 + 9 * 48 * 12 = 5,280. Blocks read 16 * 24 + 12 * 120 = 1,824, 16 * 108 + 1,440 = 3,168 and 16 * 150 + 1,440 =
    // 3,840, and give 216, 300 and 342; transitions 432 + 216 * 108 = 23,760 and 600 + 300 * 150 = 45,600.
    let layers = 50 * (1_824 + 3_168 + 3_840) + 48 * 5_280;
    let expected = 27 * 24 + layers + 23_760 + 45_600 + 2 * 342 + 343 * 10;
    assert_eq!(expected, 769_162);
    assert_eq!(build("densenet-bc:100k12").params(), expected);
    assert_eq!(build("densenet-bc:190k40").params(), 25_624_430);
}

#[test]
fn residual_blocks_are_as_documented() {
    let network = build("resnet:8");
    let node = |label: &str| network.node(label).expect("present");
    let input = |label: &str, place: usize| &*network.nodes[node(label).inputs[place]].label;
    let activation = |label: &str| match node(label).kind {
        NodeKind::BatchNorm { activation, .. } => activation,
        ref other => panic!("{label} is {other:?}"),
    };
    assert_eq!(activation("stem.bn"), Activation::Relu);
    assert_eq!(activation("stage.1.block.0.1.bn"), Activation::Relu);
    assert_eq!(activation("stage.1.block.0.2.bn"), Activation::None);
    assert_eq!(activation("stage.1.block.0.shortcut.bn"), Activation::None);
    // The first stage adds what it reads, the second a projection of it.
    assert_eq!(input("stage.0.block.0.add", 1), "stem.bn");
    assert_eq!(
        input("stage.1.block.0.add", 1),
        "stage.1.block.0.shortcut.bn"
    );
    assert_eq!(input("stage.1.block.0.shortcut", 0), "stage.0.block.0.relu");
    assert_eq!(input("head", 0), "stage.2.block.0.relu");
    assert_eq!(node("stage.2.block.0.relu").shape, Shape::new(8, 8, 64));
}

#[test]
fn dense_layers_read_all_before_them() {
    let network = build("densenet-bc:16k12");
    let node = |label: &str| network.node(label).expect("present");
    let channels = |label: &str| -> Vec<usize> {
        let inputs = node(label).inputs.iter();
        inputs.map(|&i| network.nodes[i].shape.channels).collect()
    };
    // Two layers a block: 24 at first, half of 48 after the first transition, half of 48 again.
    assert_eq!(channels("dense.0.1"), [24]);
    assert_eq!(channels("dense.0.2"), [24, 12]);
    assert_eq!(channels("transition.0"), [24, 12, 12]);
    assert_eq!(channels("dense.1.1"), [24]);
    assert_eq!(channels("head"), [24, 12, 12]);
    assert_eq!(node("dense.0.2").shape, Shape::new(32, 32, 48));
    assert_eq!(node("dense.2.2.out").shape, Shape::new(8, 8, 12));
    // Batch norm and ReLU come first.
    for &input in &node("dense.0.2").inputs {
        let kind = &network.nodes[input].kind;
        let relu = matches!(
            kind,
            NodeKind::BatchNorm {
                activation: Activation::Relu,
                ..
            }
        );
        assert!(relu, "{kind:?}");
    }
    let head: Vec<_> = network
        .tensors()
        .filter(|p| p.kind == ParamKind::LinearWeight)
        .collect();
    assert_eq!(head[0].shape, [48, 10]);
    let paths: std::collections::BTreeSet<_> = network.tensors().map(|p| &p.path).collect();
    assert_eq!(paths.len(), network.tensors().count());
}

#[test]
fn texts_are_read_back() {
    for text in [
        "resnet:20",
        "resnet:110x4",
        "densenet:40k12",
        "densenet-bc:190k40",
    ] {
        let network: HandMade = text.parse().expect("well-formed");
        assert_eq!(network.to_string(), text);
        let json = serde_json::to_string(&Design::from(network)).expect("JSON");
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(
            serde_json::from_str::<Design>(&json).expect("JSON"),
            network.into()
        );
        assert_eq!(text.parse::<Design>().expect("well-formed"), network.into());
    }
    let arch: Design = "macro:c3.0".parse().expect("well-formed");
    let json = serde_json::to_string(&arch).expect("JSON");
    assert_eq!(serde_json::from_str::<Design>(&json).expect("JSON"), arch);
    for text in [
        "resnet",
        "resnet:",
        "resnet:x2",
        "resnet:20k3",
        "densenet:40",
        "densenet-b:40k12",
        "densenet:40x12",
    ] {
        let error = text.parse::<Design>().expect_err(text).to_string();
        assert!(
            error.starts_with(&format!("`{text}` is no hand-made network")),
            "{error}"
        );
    }
    let error = "vgg:16".parse::<Design>().expect_err("no such").to_string();
    assert!(error.contains("expected macro: or micro:"), "{error}");
}

#[test]
fn sizes_are_checked() {
    let dense = |depth, growth, form| HandMade::DenseNet {
        depth,
        growth,
        form,
    };
    for (network, expected) in [
        (
            HandMade::ResNet {
                depth: 21,
                width: 1,
            },
            "a ResNet has a depth of 6 n + 2, from 8 to 1202, found 21",
        ),
        (
            HandMade::ResNet { depth: 2, width: 1 },
            "a ResNet has a depth of 6 n + 2, from 8 to 1202, found 2",
        ),
        (
            HandMade::ResNet { depth: 0, width: 1 },
            "a ResNet has a depth of 6 n + 2, from 8 to 1202, found 0",
        ),
        (
            HandMade::ResNet {
                depth: 20,
                width: 0,
            },
            "ResNet width = 0 is out of range, expected 1 to 64",
        ),
        (
            dense(41, 12, DenseForm::Plain),
            "a DenseNet has a depth of 3 n + 4, from 7 to 304, found 41",
        ),
        (
            dense(43, 12, DenseForm::Compressed),
            "a DenseNet-BC has a depth of 6 n + 4, from 10 to 604, found 43",
        ),
        (
            dense(40, 257, DenseForm::Plain),
            "DenseNet growth = 257 is out of range, expected 1 to 256",
        ),
    ] {
        let error = Network::hand_made(&network, CIFAR, 10).expect_err("out of range");
        assert_eq!(error.to_string(), expected);
    }
    let resnet = HandMade::ResNet { depth: 8, width: 1 };
    assert!(Network::hand_made(&resnet, Shape::new(0, 8, 3), 10).is_err());
    assert!(Network::hand_made(&resnet, CIFAR, 0).is_err());
    // Sizes of a search do not change it.
    let design = Design::from(resnet);
    let wide = NetworkConfig {
        channels: 99,
        ..NetworkConfig::default()
    };
    assert_eq!(
        design.network(3, &wide, CIFAR, 10),
        Network::hand_made(&resnet, CIFAR, 10)
    );
}
