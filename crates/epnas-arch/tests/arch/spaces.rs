//! Sizes, elements and rules of the two spaces.

use epnas_arch::{
    Arch, Candidates, Encoding, MacroSpace, MicroOps, MicroSpace, Space, SpaceError, Wiring, seed,
};

fn macro_space(layers: usize, wiring: Wiring) -> Space {
    Space::Macro(MacroSpace { layers, wiring })
}

fn micro_space(ops: MicroOps, canonicalize: bool) -> Space {
    Space::Micro(MicroSpace {
        blocks: 5,
        ops,
        canonicalize,
    })
}

fn arch(text: &str) -> Arch {
    text.parse().expect("well-formed")
}

#[test]
fn macro_levels() {
    for wiring in [Wiring::Chain, Wiring::Free] {
        let space = macro_space(12, wiring);
        // Six operations times 2^(l-1) sets of sources.
        let levels: Vec<u64> = (1..=12).map(|level| space.level_len(level)).collect();
        assert_eq!(
            levels,
            [6, 12, 24, 48, 96, 192, 384, 768, 1536, 3072, 6144, 12288]
        );
        // 6, 6*12, 6*12*24, 6*12*24*48.
        let cumulative: Vec<u128> = (1..=4)
            .map(|l| space.cumulative(l).expect("small"))
            .collect();
        assert_eq!(cumulative, [6, 72, 1728, 82944]);
        // 6^12 * 2^66 = 2,176,782,336 * 73,786,976,294,838,206,464.
        assert_eq!(
            space.cardinality(),
            Ok(160_618_186_625_454_535_808_756_219_904)
        );
        assert_eq!((space.level_len(0), space.level_len(13)), (0, 0));
    }
}

#[test]
fn micro_levels() {
    let levels = |space: &Space| {
        (1..=5)
            .map(|level| space.level_len(level))
            .collect::<Vec<_>>()
    };
    // p = 7 (b + 1) pairs of operation and source: p^2 ordered, p (p + 1) / 2 unordered.
    let ordered = micro_space(MicroOps::Seven, false);
    assert_eq!(levels(&ordered), [196, 441, 784, 1225, 1764]);
    let canonical = micro_space(MicroOps::Seven, true);
    assert_eq!(levels(&canonical), [105, 231, 406, 630, 903]);
    // 105 * 231.
    assert_eq!(canonical.cumulative(2), Ok(24_255));
    // (7^5 * 6!)^2 = (16,807 * 720)^2, because the pairs of the levels are 7 * 2, 7 * 3, ..., 7 * 6.
    assert_eq!(ordered.cardinality(), Ok(146_435_169_081_600));
    // (8^5 * 6!)^2 = (32,768 * 720)^2: the published 5e14.
    assert_eq!(
        micro_space(MicroOps::Eight, false).cardinality(),
        Ok(556_627_761_561_600)
    );
    // 105 * 231 * 406 * 630 * 903.
    assert_eq!(canonical.cardinality(), Ok(5_602_161_341_700));
}

#[test]
fn sizes_out_of_range_are_errors() {
    for (layers, valid) in [
        (0, false),
        (1, true),
        (48, true),
        (49, false),
        (usize::MAX, false),
    ] {
        let space = macro_space(layers, Wiring::Chain);
        assert_eq!(space.validate().is_ok(), valid, "{layers} layers");
        assert_eq!(space.level_len(1), if valid { 6 } else { 0 });
    }
    for (blocks, valid) in [
        (0, false),
        (1, true),
        (30, true),
        (31, false),
        (usize::MAX, false),
    ] {
        let space = Space::Micro(MicroSpace {
            blocks,
            ..MicroSpace::default()
        });
        assert_eq!(space.validate().is_ok(), valid, "{blocks} blocks");
        assert_eq!(Candidates::first(&space).is_empty(), !valid);
    }
    let error = macro_space(0, Wiring::Chain)
        .cardinality()
        .expect_err("no layers");
    assert_eq!(
        error.to_string(),
        "space.layers = 0 is out of range, expected 1 to 48"
    );
}

#[test]
fn a_space_too_large_to_count_says_so() {
    // log2(6^14 * 2^91) = 127.2 fits 128 bits, log2(6^15 * 2^105) = 143.8 does not.
    let space = macro_space(15, Wiring::Free);
    assert_eq!(space.cumulative(14), Ok(6_u128.pow(14) << 91));
    // 15 log10(6) + 105 log10(2) = 11.67 + 31.61 = 43.28.
    let expected = SpaceError::TooLarge {
        level: 15,
        log10: 43,
    };
    assert_eq!(space.cardinality(), Err(expected.clone()));
    assert!(expected.to_string().contains("1e43"), "{expected}");
    assert!((space.log10_cumulative(15) - 43.280).abs() < 1e-3);
    // Yet its levels can be searched.
    assert_eq!(space.level_len(15), 6 << 14);
}

#[test]
fn elements_of_both_wirings() {
    // Layer 3 has two free bits; element = operation + 6 * bits, and conv_3x3 is operation 2.
    let parent = arch("macro:mp.0/mp.1");
    let third = |wiring, bits: u64| {
        macro_space(3, wiring)
            .extend(Some(&parent), 2 + 6 * bits)
            .to_string()
    };
    let chain: Vec<String> = (0..4).map(|bits| third(Wiring::Chain, bits)).collect();
    assert_eq!(
        chain,
        ["2", "0+2", "1+2", "0+1+2"].map(|s| format!("macro:mp.0/mp.1/c3.{s}"))
    );
    let free: Vec<String> = (0..4).map(|bits| third(Wiring::Free, bits)).collect();
    assert_eq!(
        free,
        ["0", "1", "2", "1+2"].map(|s| format!("macro:mp.0/mp.1/c3.{s}"))
    );
}

#[test]
fn every_element_is_its_own_and_valid() {
    let spaces = [
        macro_space(6, Wiring::Chain),
        macro_space(6, Wiring::Free),
        micro_space(MicroOps::Seven, true),
        micro_space(MicroOps::Eight, true),
        micro_space(MicroOps::Seven, false),
        micro_space(MicroOps::Eight, false),
    ];
    for space in &spaces {
        let mut parent = None;
        for level in 1..=space.levels() {
            let mut seen = std::collections::BTreeSet::new();
            let mut last = None;
            for element in 0..space.level_len(level) {
                let arch = space.extend(parent.as_ref(), element);
                assert_eq!(space.check(&arch), Ok(()), "{arch}");
                assert_eq!(space.element(&arch, level), element, "{arch}");
                assert_eq!(
                    space.canonical(&arch),
                    arch,
                    "elements make canonical architectures"
                );
                assert!(seen.insert(space.key(&arch)), "{arch} twice");
                last = Some(arch);
            }
            parent = last;
        }
    }
}

#[test]
fn canonical_sorts_the_inputs_of_a_block() {
    let sorted = arch("micro:mp.-1+c3.-2/d5.-1+id.0");
    let swapped = arch("micro:c3.-2+mp.-1/id.0+d5.-1");
    let space = micro_space(MicroOps::Seven, true);
    assert_eq!(space.canonical(&swapped), sorted);
    assert_eq!(space.key(&swapped), "micro:mp.-1+c3.-2/d5.-1+id.0");
    assert_eq!(space.element(&swapped, 1), space.element(&sorted, 1));
    let ordered = micro_space(MicroOps::Seven, false);
    assert_eq!(ordered.canonical(&swapped), swapped);
    assert_ne!(ordered.element(&swapped, 1), ordered.element(&sorted, 1));
}

#[test]
fn check_names_the_fault() {
    let chain = macro_space(3, Wiring::Chain);
    let free = macro_space(3, Wiring::Free);
    let micro = micro_space(MicroOps::Seven, true);
    let cases = [
        (
            &chain,
            "macro:c3.0/c3.0",
            "layer 2 reads 0, expected H_1 among them",
        ),
        (
            &free,
            "macro:c3.0/c3.0+1",
            "layer 2 reads 0+1, expected the stem 0 only by itself",
        ),
        (
            &chain,
            "macro:id.0",
            "level 1 has the operation identity, expected one of max_pool_3x3, ",
        ),
        (
            &micro,
            "micro:c3.-1+c3.-1/d7.-1+c3.0",
            "level 2 has the operation dw_conv_7x7",
        ),
        (
            &chain,
            "macro:c3.0/c3.1/c3.2/c3.3",
            "has 4 levels, expected at most 3",
        ),
        (
            &chain,
            "micro:c3.-1+c3.-1",
            "is a micro architecture, expected a macro one",
        ),
    ];
    for (space, text, expected) in cases {
        let error = space.check(&arch(text)).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for (space, text) in [
        (&chain, "macro:c3.0/c3.0+1"),
        (&free, "macro:c3.0/c3.0"),
        (&micro, "micro:c3.-1+ap.-2"),
    ] {
        assert_eq!(space.check(&arch(text)), Ok(()), "{text}");
    }
}

#[test]
fn candidates_are_parents_times_elements() {
    let space = macro_space(12, Wiring::Chain);
    let first = Candidates::first(&space);
    assert_eq!(
        (
            first.len(),
            first.level(),
            first.parent(3),
            first.is_refine()
        ),
        (6, 1, None, false)
    );
    let parents: Vec<Arch> = first.iter().collect();
    let second = Candidates::extend(&space, parents.clone()).expect("parents of the space");
    assert_eq!(
        (second.len(), second.level(), second.level_len()),
        (72, 2, 12)
    );
    assert_eq!((second.parent(25), second.element(25)), (Some(2), 1));
    assert_eq!(second.get(25), space.extend(Some(&parents[2]), 1));

    // The last step with K = 25 parents: 25 * 6 * 2^11.
    let full = arch("macro:c3.0/c3.1/c3.2/c3.3/c3.4/c3.5/c3.6/c3.7/c3.8/c3.9/c3.10/c3.11");
    let last = Candidates::extend(&space, vec![full.prefix(11); 25]).expect("parents of the space");
    assert_eq!(last.len(), 307_200);

    let refined =
        Candidates::refine(&space, vec![full.clone(); 2], 3).expect("parents of the space");
    assert_eq!(
        (refined.len(), refined.level(), refined.is_refine()),
        (48, 3, true)
    );
    let other = refined.get(24 + 6);
    assert_eq!(other.len(), 12);
    assert_eq!(
        (space.element(&other, 3), space.element(&other, 4)),
        (6, space.element(&full, 4))
    );
}

#[test]
fn candidates_of_unfit_parents_are_errors() {
    let space = macro_space(2, Wiring::Chain);
    let of = |texts: &[&str]| texts.iter().map(|t| arch(t)).collect::<Vec<_>>();
    assert!(Candidates::extend(&space, vec![]).is_ok_and(|c| c.is_empty()));
    let cases = [
        (
            Candidates::extend(&space, of(&["macro:c3.0/c3.1"])),
            "level 3 asked for, expected 1 to 2",
        ),
        (
            Candidates::extend(&space, of(&["micro:c3.-1+c3.-1"])),
            "expected a macro one",
        ),
        (
            Candidates::extend(&space, of(&["macro:c3.0", "macro:c3.0/c3.1"])),
            "expected 1 as the first parent",
        ),
        (
            Candidates::refine(&space, of(&["macro:c3.0"]), 2),
            "level 2 asked for, expected 1 to 1",
        ),
        (
            Candidates::refine(&space, of(&["macro:c3.0"]), 0),
            "level 0 asked for",
        ),
    ];
    for (found, expected) in cases {
        let error = found.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let long = macro_space(48, Wiring::Chain);
    let parent = (0..47)
        .fold(None, |p: Option<Arch>, _| Some(long.extend(p.as_ref(), 0)))
        .expect("47 layers");
    // 6 * 2^47 * 22,000 = 1.86e19 > 2^64 = 1.84e19.
    let error = Candidates::extend(&long, vec![parent; 22_000]).expect_err("too many");
    assert!(
        matches!(
            error,
            SpaceError::TooManyCandidates {
                parents: 22_000,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn encodings() {
    // 6 + 11 and 2 * 7 + 2 * 6 features.
    assert_eq!(
        macro_space(12, Wiring::Chain).features(Encoding::OneHot),
        17
    );
    assert_eq!(
        micro_space(MicroOps::Seven, true).features(Encoding::OneHot),
        26
    );
    assert_eq!(
        macro_space(12, Wiring::Chain).features(Encoding::Integer),
        12
    );
    assert_eq!(
        micro_space(MicroOps::Seven, true).features(Encoding::Integer),
        4
    );

    // conv_3x3 is operation 2; the bits are H_0, H_1 under chain and H_1, H_2 under free.
    let chain =
        macro_space(3, Wiring::Chain).encode(&arch("macro:mp.0/c3.0+1/ap.1+2"), Encoding::OneHot);
    let expected: [[f32; 8]; 3] = [
        [1., 0., 0., 0., 0., 0., 0., 0.],
        [0., 0., 1., 0., 0., 0., 1., 0.],
        [0., 1., 0., 0., 0., 0., 0., 1.],
    ];
    assert_eq!(chain, expected);
    let free =
        macro_space(3, Wiring::Free).encode(&arch("macro:mp.0/c3.1/ap.0"), Encoding::Integer);
    assert_eq!(free, [[0., 0., 0.], [2., 1., 0.], [1., 0., 0.]]);

    // Sources -2, -1, 0 are 0, 1, 2; max_pool_3x3 is operation 0, conv_3x3 2, identity 6.
    let space = Space::Micro(MicroSpace {
        blocks: 2,
        ..MicroSpace::default()
    });
    let cell = arch("micro:mp.-1+c3.-2/c3.-1+id.0");
    let integers = space.encode(&cell, Encoding::Integer);
    assert_eq!(integers, [[0., 2., 1., 0.], [2., 6., 1., 2.]]);
    let one_hot = &space.encode(&cell, Encoding::OneHot)[1];
    let ones: Vec<usize> = (0..one_hot.len()).filter(|&i| one_hot[i] == 1.0).collect();
    // 2, 7 + 6, 14 + 1, 14 + 3 + 2.
    assert_eq!((one_hot.len(), ones), (20, vec![2, 13, 15, 19]));
}

#[test]
fn seeds_are_frozen() {
    // From an independent implementation of the same hash in Python; runs depend on these values.
    assert_eq!(seed::split(0, ""), 9_919_645_367_618_168_065);
    assert_eq!(seed::split(0, "weights"), 8_102_737_033_103_894_877);
    assert_eq!(seed::split(1, "weights"), 15_424_088_204_469_834_396);
    assert_eq!(seed::split(u64::MAX, "child.17"), 8_428_745_653_857_844_650);
}

#[test]
fn configuration_forms() {
    let space: Space =
        serde_json::from_str(r#"{"kind": "macro", "layers": 4, "wiring": "free"}"#).expect("valid");
    assert_eq!(space, macro_space(4, Wiring::Free));
    let space: Space =
        serde_json::from_str(r#"{"kind": "micro", "ops": "eight", "canonicalize": false}"#)
            .expect("valid");
    assert_eq!(space, micro_space(MicroOps::Eight, false));
    assert_eq!(
        serde_json::to_value(&space).expect("plain")["kind"],
        "micro"
    );
    let error =
        serde_json::from_str::<Space>(r#"{"kind": "macro", "layer": 4}"#).expect_err("unknown key");
    assert!(
        error.to_string().contains("unknown field `layer`"),
        "{error}"
    );
    let error = serde_json::from_str::<Space>(r#"{"kind": "huge"}"#).expect_err("unknown kind");
    assert!(
        error.to_string().contains("expected `macro` or `micro`"),
        "{error}"
    );
}

#[test]
fn decisions_say_what_a_layer_or_block_is() {
    let decide = |space: &Space, prefix: Option<&str>, decisions: &[usize]| {
        let prefix = prefix.map(arch);
        let level = prefix.as_ref().map_or(0, Arch::len) + 1;
        let element = space.decide(level, decisions);
        space.extend(prefix.as_ref(), element).to_string()
    };
    // Operation 3 of mp, ap, c3, c5, ..; free bits H_0 and H_1, beside H_2.
    let chain = macro_space(4, Wiring::Chain);
    let prefix = Some("macro:c3.0/c3.1");
    assert_eq!(decide(&chain, prefix, &[3, 0, 1]), "macro:c3.0/c3.1/c5.1+2");
    let free = macro_space(4, Wiring::Free);
    let prefix = Some("macro:c3.0/c3.1");
    assert_eq!(decide(&free, prefix, &[3, 0, 1]), "macro:c3.0/c3.1/c5.2");
    // Sources -2, -1, 0. The larger input comes first as decided, second when canonical.
    let decisions = [3, 2, 2, 0];
    let block = |canonicalize| {
        decide(
            &micro_space(MicroOps::Seven, canonicalize),
            Some("micro:c3.-2+c3.-2"),
            &decisions,
        )
    };
    assert_eq!(block(false), "micro:c3.-2+c3.-2/c5.0+c3.-2");
    assert_eq!(block(true), "micro:c3.-2+c3.-2/c3.-2+c5.0");
    assert_eq!(chain.decisions(0), [] as [usize; 0]);
    assert_eq!(chain.decisions(5), [] as [usize; 0]);
}
