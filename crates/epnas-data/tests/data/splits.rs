//! Splits: disjoint, complete, stratified, seeded; what cannot be divided is an error.

use std::collections::BTreeSet;

use epnas_data::{DataConfig, DataError, Dataset, Images, Share, SplitKind, epoch_order, split};
use proptest::prelude::*;

use crate::{assert_mentions, message};

/// A data set of 1 x 1 pixel images with these labels.
fn labeled(labels: Vec<u32>, classes: usize) -> Dataset {
    Dataset {
        name: "made_up".to_owned(),
        classes: (0..classes).map(|i| format!("class_{i}")).collect(),
        train: Images {
            pixels: vec![0; labels.len()],
            labels,
            height: 1,
            width: 1,
            channels: 1,
        },
        test: None,
    }
}

fn config(validation: Share, split: SplitKind) -> DataConfig {
    DataConfig {
        validation,
        split,
        ..DataConfig::default()
    }
}

fn counts(dataset: &Dataset, indices: &[u32]) -> Vec<usize> {
    let indices: Vec<usize> = indices.iter().map(|&i| i as usize).collect();
    dataset
        .train
        .subset(&indices)
        .class_counts(dataset.classes.len())
}

#[test]
fn fixed_takes_the_last() {
    let dataset = labeled((0..100).map(|i| i % 4).collect(), 4);
    for share in [Share::Count(10), Share::Fraction(0.1)] {
        let got = split(&dataset, &config(share, SplitKind::Fixed), 3).unwrap();
        assert_eq!(got.train, (0..90).collect::<Vec<_>>());
        assert_eq!(got.validation, (90..100).collect::<Vec<_>>());
    }
}

#[test]
fn stratified_keeps_shares_and_depends_on_the_seed() {
    // 60, 30 and 10 images; a fifth of each validates.
    let labels = (0..100)
        .map(|i| {
            if i % 10 < 6 {
                0
            } else if i % 10 < 9 {
                1
            } else {
                2
            }
        })
        .collect();
    let dataset = labeled(labels, 3);
    let config = config(Share::Fraction(0.2), SplitKind::Stratified);
    let got = split(&dataset, &config, 3).unwrap();
    assert_eq!(counts(&dataset, &got.validation), [12, 6, 2]);
    assert_eq!(counts(&dataset, &got.train), [48, 24, 8]);
    assert_eq!(split(&dataset, &config, 3).unwrap(), got);
    assert_ne!(split(&dataset, &config, 4).unwrap(), got);
}

#[test]
fn a_limit_keeps_shares_and_validation() {
    let labels = (0..200).map(|i| u32::from(i % 4 == 0)).collect();
    let dataset = labeled(labels, 2);
    let mut config = config(Share::Count(40), SplitKind::Stratified);
    let whole = split(&dataset, &config, 9).unwrap();
    config.train_limit = Some(20);
    let limited = split(&dataset, &config, 9).unwrap();
    assert_eq!(limited.validation, whole.validation);
    assert_eq!(counts(&dataset, &limited.train), [15, 5]);
    let whole_train: BTreeSet<u32> = whole.train.iter().copied().collect();
    assert!(limited.train.iter().all(|i| whole_train.contains(i)));
    config.train_limit = Some(160);
    assert_eq!(
        split(&dataset, &config, 9).unwrap(),
        whole,
        "a limit that does not bind"
    );
}

#[test]
fn what_cannot_be_divided_is_an_error() {
    let dataset = labeled((0..40).map(|i| i % 4).collect(), 4);
    let with = |share, kind| message(split(&dataset, &config(share, kind), 0));
    assert_mentions(
        &with(Share::Count(40), SplitKind::Fixed),
        &["data.validation = 40", "fewer", "40 training images"],
    );
    assert_mentions(
        &with(Share::Count(41), SplitKind::Stratified),
        &["data.validation = 41"],
    );
    assert_mentions(
        &with(Share::Count(0), SplitKind::Fixed),
        &["data.validation = 0", "at least 1"],
    );
    assert_mentions(
        &with(Share::Fraction(0.06), SplitKind::Stratified),
        // 0.06 of 40 is 2.4: the number that did not fit is 2.
        &[
            "data.validation = 0.06: expected 4 to 36 images",
            "4 classes",
            "out of the 40 training images of made_up, got 2",
        ],
    );
    assert_mentions(
        &with(Share::Count(37), SplitKind::Stratified),
        &["data.validation = 37", "4 to 36 images"],
    );
    assert_mentions(
        &with(Share::Fraction(0.001), SplitKind::Fixed),
        &["data.validation = 0.001", "at least one image"],
    );
    for fraction in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
        assert_mentions(
            &with(Share::Fraction(fraction), SplitKind::Stratified),
            &["data.validation", "above 0 and below 1"],
        );
    }
    let sorted = labeled((0..40).map(|i| i / 10).collect(), 4);
    let error = message(split(
        &sorted,
        &config(Share::Count(10), SplitKind::Fixed),
        0,
    ));
    assert_mentions(&error, &["data.split", "class_3", "stratified"]);
    let pairs = labeled(vec![0, 1, 2], 3);
    let error = message(split(
        &pairs,
        &config(Share::Count(1), SplitKind::Stratified),
        0,
    ));
    assert_mentions(
        &error,
        &["data.validation = 1", "at least 2 images of some class"],
    );
    let mut limited = config(Share::Count(4), SplitKind::Stratified);
    limited.train_limit = Some(3);
    assert_mentions(
        &message(split(&dataset, &limited, 0)),
        &["data.train_limit = 3", "4 classes"],
    );
}

#[test]
fn the_single_image_of_a_class_is_trained_on() {
    let labels = [vec![1], vec![0; 20], vec![2, 2]].concat();
    let dataset = labeled(labels, 3);
    for seed in 0..20 {
        let mut config = config(Share::Count(5), SplitKind::Stratified);
        let got = split(&dataset, &config, seed).unwrap();
        assert_eq!(counts(&dataset, &got.validation), [4, 0, 1]);
        assert_eq!(counts(&dataset, &got.train), [16, 1, 1]);
        // The least and the most that can validate.
        for (take, expected) in [(2, [1, 0, 1]), (20, [19, 0, 1])] {
            config.validation = Share::Count(take);
            let got = split(&dataset, &config, seed).unwrap();
            assert_eq!(counts(&dataset, &got.validation), expected);
        }
        // A limit keeps it too: of 16, 1 and 1.
        config.validation = Share::Count(5);
        for (limit, expected) in [(3, [1, 1, 1]), (17, [15, 1, 1])] {
            config.train_limit = Some(limit);
            let got = split(&dataset, &config, seed).unwrap();
            assert_eq!(counts(&dataset, &got.train), expected);
        }
        config.train_limit = Some(2);
        assert_mentions(
            &message(split(&dataset, &config, seed)),
            &["data.train_limit = 2", "at least 3", "3 classes"],
        );
    }
}

#[test]
fn a_label_without_a_class_is_an_error() {
    let dataset = labeled(vec![0, 1, 0, 2, 1], 2);
    for kind in [SplitKind::Fixed, SplitKind::Stratified] {
        let error = split(&dataset, &config(Share::Count(2), kind), 0);
        assert!(matches!(
            error,
            Err(DataError::Label {
                index: 3,
                label: 2,
                classes: 2,
                ..
            })
        ));
        assert_mentions(
            &message(error),
            &["label 2 of training image 3 of made_up", "below 2"],
        );
    }
}

proptest! {
    #[test]
    fn splits_are_disjoint_complete_and_stratified(
        sizes in proptest::collection::vec(1usize..60, 2..8).prop_filter("nothing to divide", |s| s.iter().any(|&n| n > 1)),
        fraction in 0.02f64..0.98,
        seed: u64,
    ) {
        let labels: Vec<u32> = sizes.iter().enumerate().flat_map(|(class, &n)| vec![class as u32; n]).collect();
        let order = epoch_order(&(0..labels.len() as u32).collect::<Vec<_>>(), seed);
        let dataset = labeled(order.iter().map(|&i| labels[i as usize]).collect(), sizes.len());
        let total = labels.len();
        let divisible = sizes.iter().filter(|&&n| n > 1).count();
        let take = ((total as f64 * fraction) as usize).clamp(divisible, total - sizes.len());
        let got = split(&dataset, &config(Share::Count(take), SplitKind::Stratified), seed).unwrap();
        prop_assert_eq!(got.validation.len(), take);
        prop_assert!(got.train.is_sorted() && got.validation.is_sorted());
        let union: BTreeSet<u32> = got.train.iter().chain(&got.validation).copied().collect();
        prop_assert_eq!(union.len(), total);
        prop_assert_eq!(got.train.len() + take, total);
        for (class, &n) in counts(&dataset, &got.validation).iter().enumerate() {
            let size = sizes[class];
            prop_assert!(n < size && (n >= 1) == (size > 1));
            // Rounding moves a class by less than one image, the minimum of one elsewhere by at most one per class.
            let share = size as f64 * take as f64 / total as f64;
            let slack = 1.0 + sizes.len() as f64;
            prop_assert!((n as f64 - share).abs() <= slack, "{} of {} for a share of {}", n, size, share);
        }
    }

    #[test]
    fn an_epoch_is_a_permutation(len in 0u32..300, seed: u64) {
        let indices: Vec<u32> = (0..len).map(|i| i * 3).collect();
        let mut order = epoch_order(&indices, seed);
        prop_assert_eq!(&order, &epoch_order(&indices, seed));
        order.sort_unstable();
        prop_assert_eq!(order, indices);
    }
}

#[test]
fn epochs_are_shuffled_evenly() {
    // Where does element 0 go? Over 8,000 seeds, each of 8 places: mean 1000, deviation 29.6; 5 of them.
    let mut places = [0u32; 8];
    let indices: Vec<u32> = (0..8).collect();
    for seed in 0..8000 {
        let place = epoch_order(&indices, seed)
            .iter()
            .position(|&i| i == 0)
            .unwrap();
        places[place] += 1;
    }
    assert!(places.iter().all(|&n| n.abs_diff(1000) < 150), "{places:?}");
}
