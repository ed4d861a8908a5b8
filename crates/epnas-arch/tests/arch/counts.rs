//! Parameters and multiply-accumulates against figures derived by hand.
//!
//! With C channels and 3-channel images, batch norm factor and term counted:
//! stem 27 C + 2 C, head 10 C + 10, a 1x1 slice C^2, batch norm 2 C, convolution k^2 C^2 + 2 C, depthwise
//! k^2 C + C^2 + 2 C, factorized reduction C^2 + 2 C. At C = 24: stem 696, head 250, slice 576, batch norm
//! 48, conv_3x3 5232, conv_5x5 14448, dw_conv_3x3 840, dw_conv_5x5 1224, factorized reduction 624.

use epnas_arch::{
    Arch, DepthwiseKind, Downsample, Network, NetworkConfig, Shape, Sharing, StageChannels,
};

const CIFAR: Shape = Shape {
    height: 32,
    width: 32,
    channels: 3,
};

fn build(text: &str, space_len: usize, config: &NetworkConfig) -> Network {
    let arch: Arch = text.parse().expect("well-formed");
    Network::build(&arch, space_len, config, CIFAR, 10).expect("valid")
}

fn params(text: &str, config: &NetworkConfig) -> u64 {
    build(text, 12, config).params()
}

fn with(channels: usize, cells_per_stage: usize) -> NetworkConfig {
    NetworkConfig {
        channels,
        cells_per_stage,
        ..NetworkConfig::default()
    }
}

#[test]
fn macro_single_layers() {
    // 696 + 250 + (576 + 48) = 1570, and the operation.
    for (text, expected) in [
        ("macro:mp.0", 1570),
        ("macro:ap.0", 1570),
        ("macro:c3.0", 1570 + 5232),
        ("macro:c5.0", 1570 + 14448),
        ("macro:d3.0", 1570 + 840),
        ("macro:d5.0", 1570 + 1224),
    ] {
        assert_eq!(params(text, &with(24, 2)), expected, "{text}");
    }
}

#[test]
fn macro_three_layers() {
    // 946 + (624 + 5232) + (624 + 14448) + (2 * 576 + 48 + 840).
    assert_eq!(params("macro:c3.0/c5.1/d3.1+2", &with(24, 2)), 23_914);
    // C = 200: 5800 + 2010 + (40,400 + 360,400) + (40,400 + 1,000,400) + (80,400 + 1800 + 40,400).
    assert_eq!(params("macro:c3.0/c5.1/d3.1+2", &with(200, 2)), 1_572_010);
}

#[test]
fn macro_dead_layers_do_not_count() {
    // Layer 2 is read by nobody: 946 + (624 + 5232) + (624 + 14448).
    assert_eq!(params("macro:c3.0/mp.0/c5.1", &with(24, 2)), 21_874);
    // Neither is layer 1 here, nor what only it would read.
    assert_eq!(params("macro:c5.0/c5.1/mp.0", &with(24, 2)), 1570);
}

#[test]
fn micro_cells() {
    // N = 2: 946 + 8 cell outputs of 624 + 2 factorized calibrations of 624 (cells 3 and 6).
    assert_eq!(params("micro:mp.-2+mp.-1", &with(24, 2)), 7186);
    // 7186 + 8 * 2 * 5232.
    assert_eq!(params("micro:c3.-2+c3.-1", &with(24, 2)), 90_898);
    // Block 1 reads block 0, so the output is block 1 alone: 7186 + 8 * 5232 + 8 * 1224.
    assert_eq!(params("micro:c3.-2+mp.-1/d5.-1+id.0", &with(24, 2)), 58_834);
    // N = 3, C = 96: stem 2784, head 970, 11 * (outputs 9408 + conv_3x3 83,136 + dw_conv_5x5 11,808), 2
    // calibrations of 9408.
    assert_eq!(
        params("micro:c3.-2+mp.-1/d5.-1+id.0", &with(96, 3)),
        1_170_442
    );
    // N = 3, C = 128: stem 3712, head 1290, 11 * (16,640 + 147,712 + 19,840), 2 * 16,640.
    assert_eq!(
        params("micro:c3.-2+mp.-1/d5.-1+id.0", &with(128, 3)),
        2_064_394
    );
}

#[test]
fn micro_strided_identities_and_unread_calibrations() {
    // 946 + 8 * 624, and two strided identities in each of the two reductions: 4 * 624. What only reads -1
    // has no calibration of -2.
    let live = params("micro:id.-1+id.-1", &with(24, 2));
    assert_eq!(live, 8434);
    // 9682 is the figure with the two calibrations of -2 that nobody reads (2 * 624 = 1248) counted all the
    // same. They are dead, so they are not in the graph: the difference is that of reading -2 as well.
    let calibrations =
        params("micro:mp.-2+mp.-1", &with(24, 2)) - params("micro:mp.-1+mp.-1", &with(24, 2));
    assert_eq!((calibrations, live + calibrations), (1248, 9682));
}

#[test]
fn micro_dead_cells_do_not_count() {
    // Cells 7, 5, 3 and 1 read -2 only, so cells 6, 4, 2 and 0 are dead. Of the four live cells, 3 reads
    // cell 1 from before a reduction: 946 + 4 * 624 + 624. (Cell 5 is itself a reduction; cell 7 reads it.)
    assert_eq!(params("micro:mp.-2+ap.-2", &with(24, 2)), 4066);
}

#[test]
fn options_change_the_count_by_what_they_add() {
    let base = with(24, 2);
    // The pointwise convolution: 576.
    let pure = NetworkConfig {
        depthwise: DepthwiseKind::Pure,
        ..base.clone()
    };
    assert_eq!(params("macro:d5.0", &pure), 1570 + 1224 - 576);
    // L = 3 halves after layers 1 and 2. Layer 2 reads the stem and layer 1, layer 3 reads layers 1 and 2: H_0
    // and H_1 cross the first boundary, H_1 and H_2 the second (H_1 at the second reuses the first).
    let factorized = NetworkConfig {
        downsample: Downsample::FactorizedReduction,
        ..base.clone()
    };
    let text = "macro:mp.0/mp.0+1/mp.1+2";
    let network = build(text, 3, &factorized);
    assert_eq!(network.params() - build(text, 3, &base).params(), 4 * 624);
    let pools: Vec<&str> = network
        .nodes
        .iter()
        .map(|n| &*n.label)
        .filter(|l| l.starts_with("pool.") && !l.ends_with("bn"))
        .collect();
    assert_eq!(pools, ["pool.1.0", "pool.1.1", "pool.2.1", "pool.2.2"]);
    // Sharing by source changes names, not numbers.
    let by_source = NetworkConfig {
        sharing: Sharing::OpAndSource,
        ..base.clone()
    };
    for text in [text, "micro:c3.-2+mp.-1/d5.-1+id.0"] {
        assert_eq!(
            build(text, 3, &by_source).params(),
            build(text, 3, &base).params()
        );
    }
}

#[test]
fn doubled_channels() {
    let double = NetworkConfig {
        stage_channels: StageChannels::Double,
        ..with(24, 1)
    };
    // N = 1: cells 24, 48 (R), 48, 96 (R), 96; stem 696, head 96 * 10 + 10 = 970. Outputs: 576 + 48 = 624,
    // 2 * (48^2 + 96) = 4800, 2 * (96^2 + 192) = 18,816. Calibrations of -1, by 1x1: cell 1 24*48 + 96 = 1248, cell 3
    // 48*96 + 192 = 4800. Of -2: cell 1 reads the stem at its own size 1248; cell 2 reads cell 0 from before
    // a reduction, 24*48 + 96 = 1248; cell 3 reads cell 1 (48 channels, same size), 4800; cell 4 reads cell 2
    // from before a reduction, 4800.
    let expected = 696 + 970 + 624 + 4800 + 18_816 + (1248 + 4800) + (1248 + 1248 + 4800 + 4800);
    assert_eq!(params("micro:mp.-2+mp.-1", &double), expected);
    // Macro, L = 3: layers of 24, 48 and 96 channels; slices 24*24 + 24*48 + 48*96 and batch norms
    // 48 + 96 + 192; head 970.
    assert_eq!(
        build("macro:mp.0/mp.1/mp.2", 3, &double).params(),
        696 + 970 + 576 + 1152 + 4608 + 336
    );
}

#[test]
fn multiply_accumulates_of_reference_networks() {
    // Networks of the PyTorch comparison, whose counter gives 44.1, 8.0 and 24.4 million (so within 0.05
    // million); exact figures from a separate script: per pixel of a layer, 576 per source, conv_3x3 5184,
    // conv_5x5 14,400, dw_conv_3x3 792, dw_conv_5x5 1176; stem 1024 * 648, head 240.
    let cases = [
        (
            "macro:c3.0/c3.1/c3.1+2/c5.0+2+3/d3.1+4/c3.2+4+5/c5.0+3+5+6/d5.4+7/mp.1+5+6+8/mp.2+7+8+9/mp.4+6+10/c5.3+5+8+10+11",
            44_114_160_u64,
            44.1,
        ),
        ("macro:c3.0/d3.1/c5.1+2/mp.0+3", 7_981_296, 8.0),
        (
            "macro:c3.0/c5.1/d3.0+2/mp.1+3/c3.0+3+4/d5.2+5/ap.1+5+6/c5.3+4+7",
            24_424_176,
            24.4,
        ),
    ];
    for (text, exact, millions) in cases {
        let layers = text.split('/').count();
        let network = build(text, layers, &with(24, 2));
        println!(
            "{text}: {} MACs, {} parameters",
            network.macs(),
            network.params()
        );
        assert_eq!(network.macs(), exact, "{text}");
        assert!(
            (network.macs() as f64 / 1e6 - millions).abs() < 0.05,
            "{text}"
        );
    }
}

#[test]
fn multiply_accumulates_of_a_factorized_reduction() {
    // Strided identities in the reductions, at C = 24: 16 * 16 and 8 * 8 pixels of 2 * 576 each. Outputs: 576 a
    // pixel, cells of 1024, 1024, 256 (three) and 64 (three) pixels. Stem 1024 * 648, head 240.
    let expected = (256 + 64) * 2 * 576 + (2 * 1024 + 3 * 256 + 3 * 64) * 576 + 1024 * 648 + 240;
    assert_eq!(
        build("micro:id.-1+id.-1", 12, &with(24, 2)).macs(),
        expected
    );
}
