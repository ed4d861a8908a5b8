//! Golden numbers and edge cases.

use epnas_sampler::{
    Selection, StreamingSampler, TemperatureError, TemperatureSchedule, draw, probabilities,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const SCORES: [f32; 3] = [0.9, 0.6, 0.3];

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Weights are 3^(1/tau) : 2^(1/tau) : 1. For tau = .2 they are 243 : 32 : 1 of 276, for .5
/// 9 : 4 : 1 of 14, for 1 3 : 2 : 1 of 6, for 2 the roots 1.732051 : 1.414214 : 1 of 4.146264, for
/// 10 1.116123 : 1.071773 : 1 of 3.187897.
#[test]
fn tempered_probabilities() {
    let cases = [
        (0.2, [0.880_435, 0.115_942, 0.003_623]),
        (0.5, [9.0 / 14.0, 4.0 / 14.0, 1.0 / 14.0]),
        (1.0, [1.0 / 2.0, 1.0 / 3.0, 1.0 / 6.0]),
        (2.0, [0.417_738, 0.341_081, 0.241_181]),
        (10.0, [0.350_113, 0.336_201, 0.313_686]),
    ];
    for (tau, expected) in cases {
        let q = probabilities(&SCORES, tau).unwrap();
        for (got, want) in q.iter().zip(expected) {
            // Half of the sixth digit, and the rounding of the scores to f32 (1e-7).
            assert!((got - want).abs() < 7e-7, "tau {tau}: {q:?}");
        }
        let scaled: Vec<f32> = SCORES.iter().map(|s| s * 0.5).collect();
        // Halving is exact in f32, so only f64 rounding is left.
        for (a, b) in q.iter().zip(probabilities(&scaled, tau).unwrap()) {
            assert!((a - b).abs() < 1e-14);
        }
    }
}

/// 9 exp(-((t+1)/12)^2) + 1: exp(-1/144) = .993080, exp(-1) = .367879, exp(-4) = .018316,
/// exp(-9) = .000123.
#[test]
fn temperatures() {
    let schedule = TemperatureSchedule::default();
    for (t, expected) in [(0, 9.9377), (11, 4.3109), (23, 1.1648), (35, 1.0011)] {
        assert!((schedule.at(t, 12.0) - expected).abs() < 5e-5, "t = {t}");
    }
    let own = TemperatureSchedule {
        decay: Some(12.0),
        ..schedule
    };
    assert_eq!(own.at(11, 5.0), 9.0 * (-1.0f64).exp() + 1.0);
}

#[test]
fn schedules_are_checked() {
    let default = TemperatureSchedule::default();
    assert_eq!(default.validate(), Ok(()));
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let wrong = TemperatureSchedule {
            initial: value,
            ..default.clone()
        };
        assert!(matches!(
            wrong.validate(),
            Err(TemperatureError::Temperature {
                field: "initial",
                ..
            })
        ));
        let wrong = TemperatureSchedule {
            final_: value,
            ..default.clone()
        };
        let message = wrong.validate().unwrap_err().to_string();
        assert!(message.contains("temperature.final"), "{message}");
        let wrong = TemperatureSchedule {
            decay: Some(value),
            ..default.clone()
        };
        let message = wrong.validate().unwrap_err().to_string();
        assert!(message.contains(&value.to_string()), "{message}");
    }
    let text = r#"{"initial": 5.0, "final": 0.2}"#;
    let read: TemperatureSchedule = serde_json::from_str(text).unwrap();
    assert_eq!((read.initial, read.final_, read.decay), (5.0, 0.2, None));
    assert!(serde_json::from_str::<TemperatureSchedule>(r#"{"finale": 1}"#).is_err());
    assert_eq!(
        serde_json::to_string(&Selection::TopK).unwrap(),
        r#""top_k""#
    );
}

#[test]
fn offending_scores_are_named() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.1] {
        for selection in [Selection::Sample, Selection::TopK, Selection::Uniform] {
            let mut sampler = StreamingSampler::new(selection, 2, 1.0, &mut rng(1)).unwrap();
            sampler.extend(0, &[0.5, 0.5]).unwrap();
            let error = sampler.extend(2, &[0.5, value]).unwrap_err().to_string();
            assert!(error.contains("item 3"), "{error}");
            assert!(error.contains(&value.to_string()), "{error}");
            assert!(sampler.push(9, value).is_err());
            assert_eq!(sampler.items(), 2, "a slice with an error adds nothing");
        }
        let error = probabilities(&[0.1, value], 1.0).unwrap_err();
        assert!(error.to_string().contains("item 1"), "{error}");
    }
    for tau in [0.0, -1.0, 1e-7, f64::NAN, f64::INFINITY] {
        let error = draw(&SCORES, 1, Selection::Sample, tau, &mut rng(1)).unwrap_err();
        assert!(error.to_string().contains(&tau.to_string()), "{error}");
        assert!(probabilities(&SCORES, tau).is_err());
    }
}

#[test]
fn extremes_of_k_and_of_scores() {
    for selection in [Selection::Sample, Selection::TopK, Selection::Uniform] {
        assert_eq!(draw(&SCORES, 0, selection, 1.0, &mut rng(1)), Ok(vec![]));
        assert_eq!(draw(&[], 5, selection, 1.0, &mut rng(1)), Ok(vec![]));
        let all = draw(&SCORES, usize::MAX, selection, 1.0, &mut rng(1)).unwrap();
        let mut indices: Vec<u64> = all.iter().map(|d| d.index).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2]);
        let sum: f64 = all.iter().map(|d| d.probability).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
    // Zero scores count as 1e-6 and stay possible; the lowest temperature stays finite.
    let q = probabilities(&[0.0, 1e-6, 1e-9], 1.0).unwrap();
    assert!(q.iter().all(|q| (q - 1.0 / 3.0).abs() < 1e-12), "{q:?}");
    let q = probabilities(&[0.0, 0.5, f32::MAX], 1e-6).unwrap();
    assert_eq!(q, [0.0, 0.0, 1.0]);
}

#[test]
fn ties_of_top_k_go_to_the_lower_index() {
    let scores = [0.5, 0.7, -0.0, 0.5, 0.0, 0.5];
    let order = |k| -> Vec<u64> {
        draw(&scores, k, Selection::TopK, 1.0, &mut rng(1))
            .unwrap()
            .iter()
            .map(|d| d.index)
            .collect()
    };
    assert_eq!(order(3), [1, 0, 3]);
    assert_eq!(order(6), [1, 0, 3, 5, 2, 4]);
    let best = draw(&SCORES, 1, Selection::TopK, 1.0, &mut rng(1)).unwrap();
    assert!((best[0].probability - 0.5).abs() < 1e-6, "tempered value");
}
