//! The draw against exact successive draws without replacement.

use std::collections::BTreeMap;

use epnas_sampler::{Selection, draw, probabilities};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Probabilities of all ordered lists of `k` successive draws, by enumeration.
fn successive(q: &[f64], k: usize) -> BTreeMap<Vec<u64>, f64> {
    let mut lists = BTreeMap::from([(Vec::new(), 1.0)]);
    for _ in 0..k {
        let mut longer = BTreeMap::new();
        for (list, p) in lists {
            let left: f64 = (0..q.len())
                .filter(|&i| !list.contains(&(i as u64)))
                .map(|i| q[i])
                .sum();
            for (i, &weight) in q.iter().enumerate() {
                if !list.contains(&(i as u64)) {
                    let mut next: Vec<u64> = list.clone();
                    next.push(i as u64);
                    longer.insert(next, p * weight / left);
                }
            }
        }
        lists = longer;
    }
    lists
}

/// For (1/2, 1/3, 1/6): P(first two are a, b) = q_a q_b / (1 - q_a). The first item is left out
/// by the lists (2, 3) and (3, 2): 1/3 * 1/6 / (2/3) + 1/6 * 1/3 / (5/6) = 1/12 + 1/15 = .15.
const INCLUSION: [f64; 3] = [0.85, 0.733_333, 0.416_667];

#[test]
fn inclusion_probabilities_by_enumeration() {
    let q = probabilities(&[0.9, 0.6, 0.3], 1.0).unwrap();
    let mut inclusion = [0.0; 3];
    for (list, p) in successive(&q, 2) {
        for item in list {
            inclusion[item as usize] += p;
        }
    }
    for (got, want) in inclusion.iter().zip(INCLUSION) {
        assert!((got - want).abs() < 1e-6, "{inclusion:?}");
    }
}

/// 200,000 draws: the standard error is at most sqrt(.25/n) = .0011; the bound is five of them.
#[test]
fn inclusion_probabilities_by_simulation() {
    let n = 200_000;
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut counts = [0u32; 3];
    for _ in 0..n {
        for d in draw(&[0.9, 0.6, 0.3], 2, Selection::Sample, 1.0, &mut rng).unwrap() {
            counts[d.index as usize] += 1;
        }
    }
    for (count, want) in counts.iter().zip(INCLUSION) {
        let got = f64::from(*count) / f64::from(n);
        assert!((got - want).abs() < 0.0056, "{got} for {want}");
    }
}

/// Chi-square statistic of the counts of ordered lists.
fn chi_square(counts: &BTreeMap<Vec<u64>, u32>, expected: &BTreeMap<Vec<u64>, f64>, n: u32) -> f64 {
    expected
        .iter()
        .map(|(list, p)| {
            let want = p * f64::from(n);
            let got = f64::from(counts.get(list).copied().unwrap_or(0));
            (got - want).powi(2) / want
        })
        .sum()
}

fn simulate(
    scores: &[f32],
    k: usize,
    selection: Selection,
    tau: f64,
    n: u32,
) -> BTreeMap<Vec<u64>, u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut counts = BTreeMap::new();
    for _ in 0..n {
        let draws = draw(scores, k, selection, tau, &mut rng).unwrap();
        let list: Vec<u64> = draws.iter().map(|d| d.index).collect();
        *counts.entry(list).or_insert(0) += 1;
    }
    counts
}

/// Ordered lists of 3 of 5: 60 cells, 59 degrees of freedom, whose 99.99% quantile is 104.2
/// (Wilson-Hilferty: 59 (1 - 2/531 + 3.719 sqrt(2/531))^3). The seed is fixed, so this either
/// passes or the draw is wrong; the last case shows that the test notices a wrong temperature.
#[test]
fn lists_are_distributed_as_successive_draws() {
    let scores = [0.9, 0.6, 0.3, 0.55, 0.8];
    let n = 60_000;
    for tau in [0.5, 1.0, 10.0] {
        let q = probabilities(&scores, tau).unwrap();
        let counts = simulate(&scores, 3, Selection::Sample, tau, n);
        let x = chi_square(&counts, &successive(&q, 3), n);
        assert!(x < 104.2, "tau {tau}: {x}");
    }
    let counts = simulate(&scores, 3, Selection::Uniform, 1.0, n);
    let x = chi_square(&counts, &successive(&[0.2; 5], 3), n);
    assert!(x < 104.2, "uniform: {x}");

    let counts = simulate(&scores, 3, Selection::Sample, 1.0, n);
    let q = probabilities(&scores, 1.1).unwrap();
    let x = chi_square(&counts, &successive(&q, 3), n);
    assert!(x > 104.2, "a wrong temperature went unnoticed: {x}");
}

/// Items with neighboring indices must not be correlated: the joint counts of which of items 0
/// and 1 and of items 2 and 3 comes first, over many keys. 3 degrees of freedom, 99.99%: 21.1.
#[test]
fn random_numbers_of_neighbors_are_independent() {
    let n = 40_000;
    let counts = simulate(&[0.5; 4], 4, Selection::Sample, 1.0, n);
    let mut cells = [0u32; 4];
    for (list, count) in counts {
        let place = |item: u64| list.iter().position(|&i| i == item).unwrap();
        let cell = 2 * usize::from(place(0) < place(1)) + usize::from(place(2) < place(3));
        cells[cell] += count;
    }
    let want = f64::from(n) / 4.0;
    let x: f64 = cells
        .iter()
        .map(|&c| (f64::from(c) - want).powi(2) / want)
        .sum();
    assert!(x < 21.1, "{cells:?}: {x}");
}
