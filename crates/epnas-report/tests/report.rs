//! Tables and graphs of known architectures.

use epnas_arch::{Arch, Downsample, Network, NetworkConfig, Shape};
use epnas_report::{Part, dot, parts, text};

fn build(text: &str, space_len: usize, config: &NetworkConfig) -> (Arch, Network) {
    let arch: Arch = text.parse().expect("well-formed");
    let network =
        Network::build(&arch, space_len, config, Shape::new(32, 32, 3), 10).expect("valid");
    (arch, network)
}

fn default(text: &str, space_len: usize) -> (Arch, Network) {
    build(text, space_len, &NetworkConfig::default())
}

#[test]
fn macro_table() {
    // Stem 696 parameters; layer 1 624 + 5232, layer 3 624 + 1224; layer 2 is read by nobody. MACs: 1024 * 648,
    // 1024 * (576 + 5184), 1024 * (576 + 1176), 240.
    let (arch, network) = default("macro:c3.0/mp.0/d5.1", 12);
    let expected = "\
macro:c3.0/mp.0/d5.1
8,650 parameters, 8,356,080 MACs for an image of 32x32x3

part     what             reads    output    params       MACs
stem     conv_3x3         image    32x32x24     696    663,552
layer 1  conv_3x3         stem     32x32x24   5,856  5,898,240
layer 2  max_pool_3x3     stem     dead           -          -
layer 3  dw_conv_5x5      layer 1  32x32x24   1,848  1,794,048
head     average, linear  layer 3  1x1x10       250        240
total                                         8,650  8,356,080
";
    assert_eq!(text::describe(&arch, &network), expected);
}

#[test]
fn micro_table() {
    let (arch, network) = default("micro:c3.-2+mp.-2/d5.-2+id.0", 0);
    let table = text::describe(&arch, &network);
    assert!(
        table.contains(
            "block 0: conv_3x3(cell before previous) + max_pool_3x3(cell before previous)\n\
             block 1: dw_conv_5x5(cell before previous) + identity(block 0)\noutput: block 1\n"
        ),
        "{table}"
    );
    let parts = parts(&arch, &network);
    let summary: Vec<(&str, &str, &str, bool)> = parts
        .iter()
        .map(|p| (&*p.name, &*p.what, &*p.reads, p.is_live()))
        .collect();
    // Only -2 is read, so every other cell is dead. Cells 2 and 5 of 8 are reductions.
    assert_eq!(
        summary,
        [
            ("stem", "conv_3x3", "image", true),
            ("cell 0", "normal", "stem", false),
            ("cell 1", "normal", "stem", true),
            ("cell 2", "reduction", "cell 0", false),
            ("cell 3", "normal", "cell 1", true),
            ("cell 4", "normal", "cell 2", false),
            ("cell 5", "reduction", "cell 3", true),
            ("cell 6", "normal", "cell 4", false),
            ("cell 7", "normal", "cell 5", true),
            ("head", "average, linear", "cell 7", true),
        ]
    );
}

#[test]
fn parts_add_up_to_the_network() {
    let factorized = NetworkConfig {
        downsample: Downsample::FactorizedReduction,
        ..NetworkConfig::default()
    };
    let narrow = NetworkConfig {
        cells_per_stage: 1,
        ..NetworkConfig::default()
    };
    for (arch, network) in [
        build("macro:c3.0/d3.0+1/c5.0+2", 3, &factorized),
        build("micro:c3.-2+mp.-1/d5.-1+id.0", 0, &narrow),
        default("macro:ap.0", 1),
    ] {
        let parts = parts(&arch, &network);
        assert_eq!(
            parts.iter().map(|p| p.params).sum::<u64>(),
            network.params(),
            "{arch}"
        );
        assert_eq!(
            parts.iter().map(|p| p.macs).sum::<u64>(),
            network.macs(),
            "{arch}"
        );
    }
}

#[test]
fn boundaries_are_parts() {
    // L = 3 halves after layers 1 and 2; the stem crosses both, layer 1 the first, layer 2 the second.
    let pools = |config: &NetworkConfig| -> Vec<Part> {
        let (arch, network) = build("macro:c3.0/d3.0+1/c5.0+2", 3, config);
        parts(&arch, &network)
            .into_iter()
            .filter(|p| p.name.starts_with("pool"))
            .collect()
    };
    let [first, second] = &pools(&NetworkConfig::default())[..] else {
        panic!("two boundaries")
    };
    assert_eq!(
        (&*first.what, &*first.reads, first.params),
        ("max_pool_3x3, stride 2", "stem, layer 1", 0)
    );
    assert_eq!(
        (&*second.reads, second.shape),
        ("stem, layer 2", Some(Shape::new(8, 8, 24)))
    );
    let factorized = NetworkConfig {
        downsample: Downsample::FactorizedReduction,
        ..NetworkConfig::default()
    };
    // Two factorized reductions of 24 * 24 + 48 each.
    assert_eq!(pools(&factorized)[0].params, 1248);
}

#[test]
fn macro_graph() {
    let (arch, _) = default("macro:c3.0/mp.0/d5.0+1", 12);
    let expected = r#"digraph architecture {
  label="macro:c3.0/mp.0/d5.0+1";
  labelloc=t;
  node [shape=box, style=rounded, fontname="sans-serif"];
  h0 [label="stem"];
  h1 [label="layer 1\nconv_3x3"];
  h0 -> h1;
  h2 [label="layer 2\nmax_pool_3x3", color=gray, fontcolor=gray];
  h0 -> h2 [style=dashed, color=gray];
  h3 [label="layer 3\ndw_conv_5x5"];
  h0 -> h3 [style=dashed];
  h1 -> h3 [style=dashed];
  head [label="head"];
  h3 -> head;
}
"#;
    assert_eq!(dot::architecture(&arch), expected);
}

#[test]
fn cell_graph() {
    let (arch, network) = default("micro:c3.-1+mp.-1/d5.-1+id.0", 0);
    let graph = dot::architecture(&arch);
    for line in [
        "  s1 [label=\"previous cell\"",
        "  s1 -> b0_0;",
        "  b0_1 [label=\"max_pool_3x3\"];",
        "  s2 -> b1_1;",
        "  s3 -> output;",
    ] {
        assert!(graph.contains(line), "{line} is not in {graph}");
    }
    // Nobody reads the cell before the previous one, and block 0 is no output.
    assert!(
        !graph.contains("s0") && !graph.contains("s2 -> output"),
        "{graph}"
    );

    let whole = dot::network(&network);
    assert_eq!(whole.matches("[label=").count(), network.nodes.len());
    let edges: usize = network.nodes.iter().map(|n| n.inputs.len()).sum();
    assert_eq!(whole.matches(" -> ").count(), edges);
    assert!(
        whole.contains(r#"[label="cell.2.block.0.0.conv_3x3\nconv 3x3, stride 2\n16x16x24"]"#),
        "{whole}"
    );
}

#[test]
fn labels_are_escaped() {
    assert_eq!(dot::escaped("a\"b\\n\nc\t"), "\"a\\\"b\\\\n\\nc\u{fffd}\"");
    let (_, mut network) = default("macro:c3.0", 1);
    network.nodes[1].label = "\"]; evil [label=\"".to_owned();
    assert!(dot::network(&network).contains(r#"  n1 [label="\"]; evil [label=\"\nconv 3x3"#));
}

#[test]
fn numbers_are_grouped() {
    for (number, expected) in [
        (0, "0"),
        (999, "999"),
        (1000, "1,000"),
        (1_572_010, "1,572,010"),
    ] {
        assert_eq!(text::grouped(number), expected);
    }
}
