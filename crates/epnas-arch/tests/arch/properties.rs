//! What holds for every space, architecture and network.

use std::collections::{BTreeMap, BTreeSet};

use epnas_arch::{
    Arch, Candidates, CellArch, Encoding, MacroSpace, Network, NetworkConfig, NodeKind, Op, Shape,
    Space, Wiring, genotype, parse_genotype, seed,
};
use proptest::prelude::*;

use crate::strategies::{archs, configs, in_space, pairs_in_space, spaces};

const IMAGE: Shape = Shape {
    height: 9,
    width: 7,
    channels: 3,
};

fn build(arch: &Arch, config: &NetworkConfig) -> Network {
    Network::build(arch, 64, config, IMAGE, 10).expect("valid")
}

proptest! {
    #[test]
    fn text_round_trips(arch in archs()) {
        prop_assert_eq!(arch.to_string().parse::<Arch>(), Ok(arch));
    }

    #[test]
    fn json_round_trips(arch in archs()) {
        let json = serde_json::to_string(&arch).expect("plain");
        prop_assert_eq!(serde_json::from_str::<Arch>(&json).expect("valid"), arch);
    }

    #[test]
    fn genotypes_round_trip(arch in archs()) {
        if let Arch::Micro(cell) = arch {
            prop_assert_eq!(parse_genotype(&genotype(&cell)), Ok(cell));
        }
    }

    #[test]
    fn parsing_never_panics(text in any::<String>(), tail in "[a-z0-9.+/:_-]{0,40}") {
        for text in [text.clone(), format!("macro:{text}"), format!("micro:{text}"), format!("macro:{tail}"),
                     format!("micro:{tail}"), format!("macro:c3.0/{tail}"), format!("micro:c3.-1+c3.-1/{tail}")] {
            match text.parse::<Arch>() {
                Ok(arch) => prop_assert_eq!(arch.check(), Ok(())),
                Err(error) => {
                    prop_assert!(error.position <= text.chars().count());
                    prop_assert_eq!(error.to_string().matches('\n').count(), 2);
                }
            }
        }
        for text in [text.clone(), format!("Genotype(normal=[{tail}"), format!("Genotype(normal=[('{text}")] {
            let _ = parse_genotype(&text);
        }
    }

    /// A text with one character changed either is another architecture or an error near the change.
    #[test]
    fn a_damaged_text_is_caught(arch in archs(), at in any::<prop::sample::Index>(), c in any::<char>()) {
        let mut text: Vec<char> = arch.to_string().chars().collect();
        let at = at.index(text.len());
        text[at] = c;
        let text: String = text.into_iter().collect();
        match text.parse::<Arch>() {
            Ok(other) => prop_assert_eq!(other.check(), Ok(())),
            // No earlier than the word before the change.
            Err(error) => prop_assert!(error.position + 8 >= at || error.message.contains("more than"), "{error}"),
        }
    }

    #[test]
    fn architectures_of_a_space_pass_its_check((space, arch) in in_space()) {
        prop_assert_eq!(space.check(&arch), Ok(()));
        prop_assert_eq!(arch.check(), Ok(()));
    }

    /// Extending a prefix by an element gives the next prefix, and the element back.
    #[test]
    fn elements_and_prefixes((space, arch) in in_space()) {
        let arch = space.canonical(&arch);
        for level in 1..=arch.len() {
            let element = space.element(&arch, level);
            prop_assert!(element < space.level_len(level));
            let parent = (level > 1).then(|| arch.prefix(level - 1));
            prop_assert_eq!(space.extend(parent.as_ref(), element), arch.prefix(level));
            prop_assert_eq!(space.replace(&arch, level, element), arch.clone());
        }
    }

    #[test]
    fn canonical_is_idempotent((space, arch) in in_space(), swap in any::<u32>()) {
        let mut swapped = arch.clone();
        if let Arch::Micro(cell) = &mut swapped {
            for (b, block) in cell.blocks.iter_mut().enumerate().filter(|(b, _)| swap >> b & 1 == 1) {
                let _ = b;
                block.inputs.reverse();
            }
        }
        let canonical = space.canonical(&swapped);
        prop_assert_eq!(space.canonical(&canonical), canonical.clone());
        prop_assert_eq!(space.check(&canonical), Ok(()));
        if let Space::Micro(micro) = &space {
            // The order of inputs is all that was changed.
            prop_assert_eq!(canonical == arch, micro.canonicalize || swapped == arch);
        }
    }

    /// Different architectures of one length never share an encoding.
    #[test]
    fn encodings_are_injective((space, a, b) in pairs_in_space()) {
        for encoding in [Encoding::OneHot, Encoding::Integer] {
            let (x, y) = (space.encode(&a, encoding), space.encode(&b, encoding));
            prop_assert!(x.iter().all(|level| level.len() == space.features(encoding)));
            prop_assert_eq!(x.len(), a.len());
            prop_assert_eq!(x == y, a == b, "{} {}", a, b);
        }
    }

    /// And no two elements of a level do.
    #[test]
    fn encodings_of_elements_are_injective(space in spaces(), level in 1..=6_usize) {
        prop_assume!(level <= space.levels());
        for encoding in [Encoding::OneHot, Encoding::Integer] {
            let mut seen = BTreeSet::new();
            // Every entry must be written, whatever was there.
            let mut out = vec![f32::NAN; space.features(encoding)];
            for element in 0..space.level_len(level) {
                space.encode_element(level, element, encoding, &mut out);
                prop_assert!(seen.insert(out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()));
            }
        }
    }

    /// Every element of a small level is made by its decisions, and every tuple of decisions makes an element.
    #[test]
    fn decisions_and_elements(space in spaces(), level in 1..=6_usize) {
        prop_assume!(level <= space.levels());
        let sizes = space.decisions(level);
        for element in 0..space.level_len(level) {
            let decided = space.decided(level, element);
            prop_assert_eq!(decided.len(), sizes.len());
            prop_assert!(decided.iter().zip(&sizes).all(|(d, n)| d < n), "{:?} of {:?}", decided, sizes);
            prop_assert_eq!(space.decide(level, &decided), element);
        }
        // All tuples: each element once, or twice when it stands for both orders of two different inputs.
        let total = sizes.iter().product::<usize>();
        let tuple = |mut index: usize| -> Vec<usize> {
            sizes.iter().map(|&n| { let digit = index % n; index /= n; digit }).collect()
        };
        let mut count = vec![0; space.level_len(level) as usize];
        for decisions in (0..total).map(tuple) {
            let element = space.decide(level, &decisions);
            let (a, b) = decisions.split_at(decisions.len() / 2);
            let canonical = matches!(&space, Space::Micro(micro) if micro.canonicalize);
            let swapped = canonical && [b, a].concat() == space.decided(level, element);
            prop_assert!(swapped || space.decided(level, element) == decisions, "{:?}", decisions);
            count[element as usize] += 1;
        }
        prop_assert!(count.iter().all(|&n| n == 1 || n == 2), "{:?}", count);
        prop_assert_eq!(count.len() == total, count.iter().all(|&n| n == 1));
    }

    /// Also where there are too many to list.
    #[test]
    fn decisions_of_architectures((space, arch) in in_space(), swap in any::<prop::sample::Index>()) {
        let level = 1 + swap.index(arch.len());
        let element = space.element(&arch, level);
        let decided = space.decided(level, element);
        prop_assert_eq!(space.decide(level, &decided), element);
        // Changing one decision changes the element.
        let sizes = space.decisions(level);
        let at = swap.index(sizes.len());
        let mut other = decided.clone();
        other[at] = (other[at] + 1) % sizes[at];
        prop_assert_ne!(space.decide(level, &other), element);
    }

    #[test]
    fn candidates_know_their_parents((space, arch) in in_space(), index in any::<u64>()) {
        let whole = arch.len() == space.levels();
        let candidates = if whole {
            Candidates::refine(&space, vec![arch.clone()], 1 + index as usize % arch.len())
        } else {
            Candidates::extend(&space, vec![arch.clone()])
        };
        let candidates = candidates.expect("fit parents");
        let index = index % candidates.len();
        let candidate = candidates.get(index);
        prop_assert_eq!(candidates.parent(index), Some(0));
        prop_assert_eq!(space.element(&candidate, candidates.level()), candidates.element(index));
        prop_assert_eq!(candidate.len(), arch.len() + usize::from(!whole));
        prop_assert_eq!(space.check(&candidate), Ok(()));
    }

    #[test]
    fn networks_are_well_formed(arch in archs(), config in configs()) {
        let network = build(&arch, &config);
        let mut readers = vec![0; network.nodes.len()];
        for (id, node) in network.nodes.iter().enumerate() {
            for &input in &node.inputs {
                prop_assert!(input < id, "{} reads a later node", node.label);
                readers[input] += 1;
            }
            let from: Vec<Shape> = node.inputs.iter().map(|&i| network.nodes[i].shape).collect();
            match &node.kind {
                NodeKind::Input => prop_assert_eq!((id, node.shape), (0, IMAGE)),
                NodeKind::Conv { kernel, stride, weights } => {
                    prop_assert_eq!(weights.len(), from.len());
                    prop_assert!(!from.is_empty() && (*kernel == 1 || from.len() == 1));
                    for (weight, from) in weights.iter().zip(&from) {
                        let expected = [*kernel, *kernel, from.channels, node.shape.channels];
                        prop_assert_eq!(&weight.shape[..], &expected[..]);
                        prop_assert_eq!(from.strided(*stride).with_channels(node.shape.channels), node.shape);
                    }
                }
                NodeKind::Depthwise { kernel, stride, weight } => {
                    prop_assert_eq!(&weight.shape[..], &[*kernel, *kernel, from[0].channels][..]);
                    prop_assert_eq!(from[0].strided(*stride), node.shape);
                }
                NodeKind::FactorizedConv { weights } => {
                    let to: usize = weights.iter().map(|w| w.shape[3]).sum();
                    prop_assert_eq!(from[0].strided(2).with_channels(to), node.shape);
                }
                NodeKind::BatchNorm { scale, .. } => {
                    prop_assert_eq!(&scale.shape[..], &[node.shape.channels][..]);
                    prop_assert_eq!(&from[..], &[node.shape][..]);
                }
                NodeKind::Pool { stride, .. } => prop_assert_eq!(from[0].strided(*stride), node.shape),
                NodeKind::Add => prop_assert_eq!(&from[..], &[node.shape, node.shape][..]),
                NodeKind::Relu => prop_assert!(false, "only hand-made networks have it"),
                NodeKind::Head { weight, .. } => {
                    prop_assert_eq!(id, network.nodes.len() - 1);
                    prop_assert_eq!(&weight.shape[..], &[from[0].channels, 10][..]);
                }
            }
        }
        // Everything is read but the head, so everything reaches it.
        prop_assert_eq!(readers.pop(), Some(0));
        prop_assert!(readers.iter().all(|&r| r > 0));
        let labels: BTreeSet<&str> = network.nodes.iter().map(|n| &*n.label).collect();
        prop_assert_eq!(labels.len(), network.nodes.len());
        let paths: BTreeSet<&str> = network.tensors().map(|p| &*p.path).collect();
        prop_assert_eq!(paths.len(), network.tensors().count());
    }

    /// A path means one shape, whichever architecture names it: only then can its tensor be shared.
    #[test]
    fn shared_tensors_agree((_, a, b) in pairs_in_space(), config in configs()) {
        let of = |arch: &Arch| -> BTreeMap<String, (Vec<usize>, _)> {
            build(arch, &config).tensors().map(|p| (p.path.clone(), (p.shape.clone(), p.kind))).collect()
        };
        let (a, b) = (of(&a), of(&b));
        for (path, tensor) in a {
            if let Some(other) = b.get(&path) {
                prop_assert_eq!(&tensor, other, "{}", path);
            }
        }
    }

    /// Changing a layer that does not reach the output changes nothing.
    #[test]
    fn dead_layers_do_not_count(elements in proptest::collection::vec(any::<u64>(), 1..=12), config in configs()) {
        let space = Space::Macro(MacroSpace { layers: 12, wiring: Wiring::Free });
        let arch = elements.iter().enumerate().fold(None, |arch: Option<Arch>, (i, element)| {
            Some(space.extend(arch.as_ref(), element % space.level_len(i + 1)))
        });
        let Some(Arch::Macro(mut arch)) = arch else { unreachable!("at least one layer") };
        let before = build(&Arch::Macro(arch.clone()), &config);
        let mut live = BTreeSet::from([arch.layers.len()]);
        for l in (1..=arch.layers.len()).rev() {
            if live.contains(&l) {
                live.extend(arch.layers[l - 1].sources.iter());
            }
        }
        for l in (1..=arch.layers.len()).filter(|l| !live.contains(l)) {
            arch.layers[l - 1].op = if arch.layers[l - 1].op == Op::Conv5x5 { Op::MaxPool3x3 } else { Op::Conv5x5 };
            let own = format!("layer.{l}.");
            prop_assert!(!before.nodes.iter().any(|n| n.label.starts_with(&own)));
        }
        prop_assert_eq!(build(&Arch::Macro(arch), &config), before);
    }

    #[test]
    fn outputs_of_a_cell_are_unread(arch in archs()) {
        if let Arch::Micro(CellArch { blocks }) = arch {
            let cell = CellArch { blocks };
            let outputs = cell.outputs();
            prop_assert_eq!(outputs.last(), Some(&(cell.blocks.len() - 1)));
            let read: BTreeSet<i64> = cell.blocks.iter().flat_map(|b| b.inputs).map(|i| i.source.number()).collect();
            prop_assert!(outputs.iter().all(|&b| !read.contains(&(b as i64))));
            prop_assert!((0..cell.blocks.len()).all(|b| outputs.contains(&b) || read.contains(&(b as i64))));
        }
    }

    #[test]
    fn seeds_differ_by_seed_and_name(a in any::<u64>(), b in any::<u64>(), x in ".{0,12}", y in ".{0,12}") {
        prop_assert_eq!(seed::split(a, &x) == seed::split(b, &y), (a, &x) == (b, &y));
        prop_assert_ne!(seed::split(a, &x), a);
    }
}
