//! A score depends on the architecture alone, not on how it is asked for.

use epnas_arch::{
    Arch, Candidates, Encoding, MacroSpace, MicroSpace, Space, Surrogate, SurrogateError, Wiring,
};
use epnas_surrogate::{Lstm, LstmConfig};
use proptest::prelude::*;

fn space(layers: usize) -> Space {
    Space::Macro(MacroSpace {
        layers,
        ..MacroSpace::default()
    })
}

fn arch(space: &Space, elements: &[u64]) -> Arch {
    let extended = elements
        .iter()
        .enumerate()
        .fold(None, |parent: Option<Arch>, (i, e)| {
            Some(space.extend(parent.as_ref(), e % space.level_len(i + 1)))
        });
    extended.unwrap()
}

/// Every candidate scored in one call, alone, as an architecture and in ranges of 7: same bits.
fn check(surrogate: &Lstm, candidates: &Candidates) {
    let n = candidates.len();
    let all = surrogate.predict(candidates, 0..n).unwrap();
    assert_eq!(all.len() as u64, n);
    assert!(all.iter().all(|s| (0.0..1.0).contains(s) && *s > 0.0));
    for i in (0..n).step_by(1 + n as usize / 60) {
        let alone = surrogate.predict(candidates, i..i + 1).unwrap();
        assert_eq!(
            alone[0].to_bits(),
            all[i as usize].to_bits(),
            "candidate {i} alone"
        );
        let arch = surrogate.predict_arch(&candidates.get(i)).unwrap();
        assert_eq!(
            arch.to_bits(),
            all[i as usize].to_bits(),
            "candidate {i} as architecture"
        );
    }
    let step = 1 + n / 9;
    let parts: Vec<f32> = (0..n)
        .step_by(step as usize)
        .flat_map(|start| {
            surrogate
                .predict(candidates, start..(start + step).min(n))
                .unwrap()
        })
        .collect();
    assert_eq!(parts, all);
    assert_eq!(
        surrogate.predict(candidates, n..n).unwrap(),
        Vec::<f32>::new()
    );
}

#[test]
fn batched_prediction_is_single_prediction() {
    let micro = Space::Micro(MicroSpace::default());
    for (space, encoding) in [
        (space(7), Encoding::OneHot),
        (space(7), Encoding::Integer),
        (micro, Encoding::OneHot),
    ] {
        let config = LstmConfig {
            encoding,
            hidden: 30,
            ..LstmConfig::default()
        };
        let surrogate = Lstm::new(&config, &space, 3).unwrap();
        let first = Candidates::first(&space);
        check(&surrogate, &first);
        check(
            &surrogate,
            &Candidates::extend(&space, first.iter().collect()).unwrap(),
        );
        let parents = |length: usize, n: u64| -> Vec<Arch> {
            (0..n)
                .map(|i| {
                    let elements: Vec<u64> =
                        (0..length as u64).map(|l| (i + 1) * (31 * l + 7)).collect();
                    arch(&space, &elements)
                })
                .collect()
        };
        // 25 parents are two groups of 16, and 6 * 2^3 elements three of 16.
        check(
            &surrogate,
            &Candidates::extend(&space, parents(3, 25)).unwrap(),
        );
        let levels = space.levels();
        check(
            &surrogate,
            &Candidates::extend(&space, parents(levels - 1, 3)).unwrap(),
        );
        for level in [1, 3, levels] {
            let candidates = Candidates::refine(&space, parents(levels, 5), level).unwrap();
            check(&surrogate, &candidates);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_range_is_a_part_of_the_whole(a in 0u64..480, b in 0u64..480, seed: u64) {
        let space = space(5);
        let config = LstmConfig { hidden: 8, embedding: 8, ..LstmConfig::default() };
        let surrogate = Lstm::new(&config, &space, seed).unwrap();
        let parents = (0..10).map(|i| arch(&space, &[i, 3 * i, 5 * i])).collect();
        let candidates = Candidates::extend(&space, parents).unwrap();
        prop_assert_eq!(candidates.len(), 480);
        let all = surrogate.predict(&candidates, 0..480).unwrap();
        let (from, to) = (a.min(b), a.max(b));
        let part = surrogate.predict(&candidates, from..to).unwrap();
        prop_assert_eq!(&part[..], &all[from as usize..to as usize]);
    }
}

/// With all weights of the LSTM's input at hand: a zero output layer predicts its bias,
/// 1 / (1 + exp(-1.8)) = 0.858149.
#[test]
fn the_output_bias_sets_the_level() {
    let space = space(3);
    let config = LstmConfig {
        init: 1e-9,
        ..LstmConfig::default()
    };
    let surrogate = Lstm::new(&config, &space, 1).unwrap();
    let score = surrogate.predict_arch(&arch(&space, &[1, 2, 3])).unwrap();
    assert!((score - 0.858_149).abs() < 1e-6, "{score}");
}

#[test]
fn wrong_requests_are_errors() {
    let (one, other) = (space(5), space(6));
    let surrogate = Lstm::new(&LstmConfig::default(), &one, 1).unwrap();
    let candidates = Candidates::first(&one);
    let error = surrogate.predict(&candidates, 2..7).unwrap_err();
    assert!(
        matches!(&error, SurrogateError::Range { len: 6, .. }),
        "{error}"
    );
    let error = surrogate
        .predict(&Candidates::first(&other), 0..6)
        .unwrap_err();
    assert!(error.to_string().contains("layers: 6"), "{error}");
    let free = Space::Macro(MacroSpace {
        layers: 5,
        wiring: Wiring::Free,
    });
    assert!(surrogate.predict(&Candidates::first(&free), 0..6).is_err());
    let long = arch(&other, &[1, 2, 3, 4, 5, 6]);
    assert!(surrogate.predict_arch(&long).is_err());
    let none = Candidates::extend(&one, Vec::new()).unwrap();
    assert_eq!(surrogate.predict(&none, 0..0).unwrap(), Vec::<f32>::new());
}
