//! Rank correlations, precision, bootstrap intervals and the permutation test: golden numbers and properties.

use epnas_search::statistics::{
    Interval, bootstrap, kendall_tau, mean_interval, permutation_p, precision_at, spearman,
};
use proptest::prelude::*;

type Statistic = fn(&[(f64, f64)]) -> Option<f64>;

const CORRELATIONS: [Statistic; 2] = [kendall_tau, spearman];

fn pairs(x: &[f64], y: &[f64]) -> Vec<(f64, f64)> {
    x.iter().copied().zip(y.iter().copied()).collect()
}

fn near(found: Option<f64>, expected: f64, tolerance: f64) {
    let found = found.expect("a number");
    let difference = (found - expected).abs();
    assert!(difference <= tolerance, "{found}, expected {expected}");
}

#[test]
fn tau_by_hand_and_by_scipy() {
    let tau = |x: &[f64], y: &[f64]| kendall_tau(&pairs(x, y));
    // One of six pairs is swapped: (5 - 1) / 6.
    near(tau(&[1., 2., 3., 4.], &[1., 3., 2., 4.]), 4.0 / 6.0, 1e-15);
    // Four pairs agree, one ties in x alone and one in y alone: 4 / sqrt(5 * 5).
    near(tau(&[1., 2., 2., 3.], &[1., 2., 3., 3.]), 0.8, 1e-15);
    // The example of scipy.stats.kendalltau: 1 agrees, 5 oppose, 8 and 9 pairs untied: -4 / sqrt(72).
    let found = tau(&[12., 2., 1., 12., 2.], &[1., 4., 7., 1., 0.]);
    near(found, -0.471_404_520_791_031_73, 1e-15);
}

#[test]
fn spearman_by_scipy() {
    // The example of scipy.stats.spearmanr: ranks 1 to 5 and 1, 2, 3.5, 5, 3.5: 8 / sqrt(10 * 9.5).
    let found = spearman(&pairs(&[1., 2., 3., 4., 5.], &[5., 6., 7., 8., 7.]));
    near(found, 0.820_782_681_668_123_3, 1e-15);
}

#[test]
fn precision_by_hand() {
    let truth = [0.9, 0.8, 0.7, 0.6, 0.5];
    let precision = |predicted: &[f64], k| precision_at(&pairs(predicted, &truth), k);
    // The predicted best three are the first, the third and the fourth; the true ones the first three.
    near(precision(&[5., 1., 4., 3., 2.], 3), 2.0 / 3.0, 1e-15);
    // Second and third share the second place: 1 + 1/2 of 2.
    near(precision(&[5., 4., 4., 3., 2.], 2), 0.75, 1e-15);
    // A prediction that tells nothing is right by chance: 2 of 5.
    near(precision(&[1.; 5], 2), 0.4, 1e-15);
    assert_eq!(precision(&[5., 4., 3., 2., 1.], 0), None);
    assert_eq!(precision(&[5., 4., 3., 2., 1.], 5), None);
}

#[test]
fn what_is_not_defined_is_none() {
    for statistic in CORRELATIONS {
        for (x, y) in [
            (&[][..], &[][..]),
            (&[1.], &[2.]),
            (&[1., 1., 1.], &[1., 2., 3.]),
            (&[1., 2., 3.], &[0.0, -0.0, 0.0]),
            (&[1., f64::NAN, 3.], &[1., 2., 3.]),
            (&[1., 2., 3.], &[1., 2., f64::INFINITY]),
        ] {
            assert_eq!(statistic(&pairs(x, y)), None, "{x:?} {y:?}");
        }
    }
    assert_eq!(precision_at(&[(1., 2.), (f64::NAN, 1.)], 1), None);
    assert_eq!(mean_interval(&[1.0], 1), None);
    assert_eq!(mean_interval(&[1.0, f64::NAN], 1), None);
    assert_eq!(permutation_p(&[1.0], &[2.0, 3.0], 1), None);
    assert_eq!(permutation_p(&[1.0, 2.0], &[f64::NAN, 3.0], 1), None);
    assert_eq!(bootstrap(&[(1., 1.), (1., 2.)], 1, kendall_tau), None);
}

#[test]
fn a_bootstrap_that_is_rarely_defined_is_none() {
    // A quarter of all draws of two pairs has the lesser before the greater.
    let drawn = bootstrap(&[(1., 1.), (2., 2.)], 1, |pairs| {
        (pairs[0].0 < pairs[1].0).then_some(1.0)
    });
    assert_eq!(drawn, None);
}

#[test]
fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
    // 0 to 399: mean 199.5, standard deviation sqrt((400^2 - 1) / 12) = 115.47, of the mean 5.7735; times 1.96: 11.316.
    // 2,000 resamples place an end within about 4%, 0.5.
    let values: Vec<f64> = (0..400).map(f64::from).collect();
    let Interval { low, high } = mean_interval(&values, 7).expect("an interval");
    near(Some(low), 199.5 - 11.316, 1.0);
    near(Some(high), 199.5 + 11.316, 1.0);
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    // 400 samples of 40 numbers each from a uniform distribution of mean 1/2: 95% of the intervals, give or take three
    // standard deviations, sqrt(.95 * .05 / 400) = 1.1%, and what the percentile method lacks at 40 (about 1%).
    let mut state = 1_u64;
    let mut uniform = || {
        state = epnas_arch::seed::split(state, "next");
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let covered = (0..400).filter(|&seed| {
        let values: Vec<f64> = (0..40).map(|_| uniform()).collect();
        let Interval { low, high } = mean_interval(&values, seed).expect("an interval");
        low <= 0.5 && 0.5 <= high
    });
    let share = covered.count() as f64 / 400.0;
    assert!((0.90..=0.985).contains(&share), "{share}");
}

#[test]
fn permutations_agree_with_the_exact_test() {
    // Of the 20 divisions of 1 to 6 into two triples, 2 differ as much: 0.1; 9,999 draws are within 0.009 (3 deviations).
    near(permutation_p(&[1., 2., 3.], &[4., 5., 6.], 3), 0.1, 0.009);
    // Of the 56 divisions of 1 to 8 into 3 and 5, the sums 6 (1 of them), 7 (1) and, above the mean 13.5, 20 (1) and
    // 21 (1) are at least 6.5 away: 4 / 56.
    near(
        permutation_p(&[1., 2., 4.], &[3., 5., 6., 7., 8.], 3),
        4.0 / 56.0,
        0.008,
    );
    // The least that 9,999 permutations can tell: of C(20, 10) = 184,756 divisions two differ as much.
    let low: Vec<f64> = (0..10).map(f64::from).collect();
    let high: Vec<f64> = (100..110).map(f64::from).collect();
    assert!(permutation_p(&low, &high, 3).expect("a number") <= 3e-4);
    // Never 0: the division that was observed counts among the 10,000.
    let apart = |from: u32| (from..from + 30).map(f64::from).collect::<Vec<f64>>();
    assert_eq!(permutation_p(&apart(0), &apart(1000), 3), Some(1e-4));
    assert_eq!(permutation_p(&[0.1; 4], &[0.1; 3], 3), Some(1.0));
}

fn some_pairs() -> impl Strategy<Value = Vec<(f64, f64)>> {
    // Few distinct values: ties are common.
    proptest::collection::vec((-6..6_i32, -6..6_i32), 0..24).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(x, y)| (f64::from(x) / 4.0, f64::from(y)))
            .collect()
    })
}

fn same(a: Option<f64>, b: Option<f64>) -> Result<(), TestCaseError> {
    prop_assert_eq!(a.is_some(), b.is_some());
    let difference = a.unwrap_or(0.0) - b.unwrap_or(0.0);
    prop_assert!(difference.abs() < 1e-12, "{:?} {:?}", a, b);
    Ok(())
}

proptest! {
    #[test]
    fn correlations_are_symmetric_and_depend_on_order_alone(pairs in some_pairs()) {
        for statistic in CORRELATIONS {
            let found = statistic(&pairs);
            prop_assert!(found.is_none_or(|value| (-1.0..=1.0).contains(&value)));
            let swapped: Vec<_> = pairs.iter().map(|(x, y)| (*y, *x)).collect();
            same(found, statistic(&swapped))?;
            let warped: Vec<_> = pairs.iter().map(|(x, y)| (x.exp(), y.powi(3))).collect();
            same(found, statistic(&warped))?;
            let mirrored: Vec<_> = pairs.iter().map(|(x, y)| (*x, -y)).collect();
            same(found, statistic(&mirrored).map(|value| -value))?;
            let reversed: Vec<_> = pairs.iter().rev().copied().collect();
            same(found, statistic(&reversed))?;
            let equal: Vec<_> = pairs.iter().map(|(x, _)| (*x, *x)).collect();
            prop_assert!(statistic(&equal).is_none_or(|value| value == 1.0));
        }
    }

    #[test]
    fn precision_is_a_share_and_whole_for_the_truth_itself(pairs in some_pairs(), k in 0..30_usize) {
        let found = precision_at(&pairs, k);
        prop_assert_eq!(found.is_some(), k > 0 && k < pairs.len());
        prop_assert!(found.is_none_or(|value| (0.0..=1.0 + 1e-12).contains(&value)));
        let equal: Vec<_> = pairs.iter().map(|(x, _)| (*x, *x)).collect();
        prop_assert!(precision_at(&equal, k).is_none_or(|value| (value - 1.0).abs() < 1e-12));
        let reversed: Vec<_> = pairs.iter().rev().copied().collect();
        same(found, precision_at(&reversed, k))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_interval_is_in_order_and_repeatable(pairs in some_pairs(), seed in any::<u64>()) {
        let found = bootstrap(&pairs, seed, kendall_tau);
        prop_assert_eq!(found, bootstrap(&pairs, seed, kendall_tau));
        let ordered = |found: Interval| -1.0 <= found.low && found.low <= found.high && found.high <= 1.0;
        prop_assert!(found.is_none_or(ordered));
    }

    #[test]
    fn a_p_value_is_a_probability_and_does_not_depend_on_units(
        a in proptest::collection::vec(-9..9_i32, 2..12),
        b in proptest::collection::vec(-9..9_i32, 2..12),
        seed in any::<u64>(),
    ) {
        let scaled = |values: &[i32], scale: f64| -> Vec<f64> {
            values.iter().map(|value| f64::from(*value) * scale).collect()
        };
        let p = |scale| permutation_p(&scaled(&a, scale), &scaled(&b, scale), seed);
        let found = p(1.0).expect("a number");
        prop_assert!(found > 0.0 && found <= 1.0);
        prop_assert_eq!(Some(found), p(0.1));
    }
}
