//! Properties over random scores, and the size of a real draw.

use std::collections::BTreeSet;
use std::time::Instant;

use epnas_sampler::{Draw, Selection, StreamingSampler, draw, probabilities};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn sampler(selection: Selection, k: usize, tau: f64, seed: u64) -> StreamingSampler {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    StreamingSampler::new(selection, k, tau, &mut rng).unwrap()
}

fn selections() -> impl Strategy<Value = Selection> {
    prop_oneof![
        Just(Selection::Sample),
        Just(Selection::TopK),
        Just(Selection::Uniform)
    ]
}

fn indices(draws: &[Draw]) -> Vec<u64> {
    draws.iter().map(|d| d.index).collect()
}

proptest! {
    #[test]
    fn probabilities_are_a_distribution(
        scores in prop::collection::vec(0f32..1.0, 1..50),
        tau in 0.01f64..20.0,
    ) {
        let q = probabilities(&scores, tau).unwrap();
        prop_assert!((q.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        for (i, a) in scores.iter().enumerate() {
            for (j, b) in scores.iter().enumerate() {
                prop_assert!(a > b || q[i] <= q[j], "the order is kept");
            }
        }
    }

    #[test]
    fn scaling_scores_changes_nothing(
        scores in prop::collection::vec(0.01f32..1.0, 1..50),
        tau in 0.1f64..20.0,
        power in -3i32..4,
        seed: u64,
    ) {
        // Powers of two: the products are exact.
        let scaled: Vec<f32> = scores.iter().map(|s| s * 2f32.powi(power)).collect();
        let (a, b) = (probabilities(&scores, tau).unwrap(), probabilities(&scaled, tau).unwrap());
        for (a, b) in a.iter().zip(&b) {
            prop_assert!((a - b).abs() < 1e-12);
        }
        let run = |scores: &[f32]| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            indices(&draw(scores, 7, Selection::Sample, tau, &mut rng).unwrap())
        };
        prop_assert_eq!(run(&scores), run(&scaled));
    }

    #[test]
    fn draws_are_distinct_and_reported_truly(
        scores in prop::collection::vec(0f32..1.0, 0..60),
        k in 0usize..70,
        tau in 0.05f64..20.0,
        selection in selections(),
        seed: u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let draws = draw(&scores, k, selection, tau, &mut rng).unwrap();
        prop_assert_eq!(draws.len(), k.min(scores.len()));
        let distinct: BTreeSet<u64> = draws.iter().map(|d| d.index).collect();
        prop_assert_eq!(distinct.len(), draws.len());
        let q = probabilities(&scores, tau).unwrap();
        for d in &draws {
            prop_assert_eq!(d.score, scores[d.index as usize]);
            let want = match selection {
                Selection::Uniform => 1.0 / scores.len() as f64,
                _ => q[d.index as usize],
            };
            prop_assert!((d.probability - want).abs() < 1e-12);
        }
    }

    #[test]
    fn batching_and_order_of_pushes_change_nothing(
        scores in prop::collection::vec(0f32..1.0, 1..80),
        batch in 1usize..20,
        k in 1usize..30,
        tau in 0.05f64..20.0,
        selection in selections(),
        seed: u64,
    ) {
        let mut whole = sampler(selection, k, tau, seed);
        whole.extend(0, &scores).unwrap();
        let whole = whole.finish();

        let mut batched = sampler(selection, k, tau, seed);
        for (chunk, part) in scores.chunks(batch).enumerate() {
            batched.extend((chunk * batch) as u64, part).unwrap();
        }
        prop_assert_eq!(&batched.finish(), &whole, "bit for bit");

        let mut backwards = sampler(selection, k, tau, seed);
        for (index, &score) in scores.iter().enumerate().rev() {
            backwards.push(index as u64, score).unwrap();
        }
        prop_assert_eq!(indices(&backwards.finish()), indices(&whole));
    }

    #[test]
    fn a_longer_draw_begins_with_the_shorter(
        scores in prop::collection::vec(0f32..1.0, 1..80),
        k in 1usize..30,
        seed: u64,
    ) {
        let run = |k| {
            let mut s = sampler(Selection::Sample, k, 1.0, seed);
            s.extend(0, &scores).unwrap();
            indices(&s.finish())
        };
        let (short, long) = (run(k), run(2 * k));
        prop_assert_eq!(&long[..short.len()], &short[..]);
    }
}

/// The last step of the paper's macro search has 25 * 12,288 candidates. The bound is loose,
/// for busy machines: it takes some 10 ms.
#[test]
fn hundreds_of_thousands_of_scores_are_quick() {
    let scores: Vec<f32> = (0..307_200u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0)
        .collect();
    let start = Instant::now();
    let mut sampler = sampler(Selection::Sample, 25, 1.0, 3);
    sampler.extend(0, &scores).unwrap();
    let draws = sampler.finish();
    let elapsed = start.elapsed();
    assert_eq!(draws.len(), 25);
    assert!(elapsed.as_secs_f64() < 0.5, "{elapsed:?}");
}

/// Same seed, same sequence; another seed, another one.
#[test]
fn the_seed_decides() {
    let scores = vec![0.5f32; 100];
    let run = |seed| {
        let mut s = sampler(Selection::Sample, 10, 1.0, seed);
        s.extend(0, &scores).unwrap();
        indices(&s.finish())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
