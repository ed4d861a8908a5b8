//! The built-in set: deterministic, balanced, and not solvable by a linear model.

use epnas_data::synthetic::{CLASSES, Stream, dataset, images};
use epnas_data::{DataConfig, Images, Normalization, SyntheticConfig, epoch_order, load};

#[test]
fn images_do_not_depend_on_threads_or_count() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| images(3, Stream::Train, 60, 32))
    };
    let all = with(1);
    assert_eq!(with(3), all);
    let few = images(3, Stream::Train, 7, 32);
    assert_eq!(few.pixels, all.pixels[..few.pixels.len()]);
    assert_ne!(images(4, Stream::Train, 7, 32), few, "another seed");
    assert_ne!(images(3, Stream::Test, 7, 32), few, "another stream");
    for index in 1..60 {
        assert_ne!(all.image(index), all.image(index - 1));
    }
}

#[test]
fn sizes_channels_and_balance() {
    let mut config = DataConfig {
        image_size: 17,
        channels: epnas_data::Channels::Gray,
        synthetic: SyntheticConfig {
            train: 205,
            test: 30,
            seed: 1,
        },
        ..DataConfig::default()
    };
    let set = load(&config).unwrap();
    assert_eq!(
        (set.train.height, set.train.width, set.train.channels),
        (17, 17, 1)
    );
    assert_eq!(set.classes, CLASSES);
    assert_eq!(
        set.train.class_counts(10),
        [21, 21, 21, 21, 21, 20, 20, 20, 20, 20]
    );
    assert_eq!(set.test.unwrap().class_counts(10), [3; 10]);
    config.channels = epnas_data::Channels::Auto;
    config.image_size = 64;
    assert_eq!(load(&config).unwrap().train.image_len(), 64 * 64 * 3);
}

/// Multinomial logistic regression on normalized pixels: the accuracies on both parts after every epoch.
struct Softmax {
    /// `[classes, features + 1]`, the last one the bias.
    weights: Vec<f32>,
    features: usize,
}

impl Softmax {
    fn scores(&self, x: &[f32]) -> [f32; 10] {
        std::array::from_fn(|class| {
            let row = &self.weights[class * (self.features + 1)..][..=self.features];
            // Eight sums, so that the loop vectorizes.
            let mut sums = [0.0f32; 8];
            for (x, w) in x.chunks_exact(8).zip(row.chunks_exact(8)) {
                for i in 0..8 {
                    sums[i] += x[i] * w[i];
                }
            }
            sums.iter().sum::<f32>() + row[self.features]
        })
    }

    fn step(&mut self, x: &[f32], label: usize, rate: f32) {
        let scores = self.scores(x);
        let top = scores.iter().copied().fold(f32::MIN, f32::max);
        let exp = scores.map(|s| (s - top).exp());
        let sum: f32 = exp.iter().sum();
        for (class, exp) in exp.into_iter().enumerate() {
            let step = rate * (exp / sum - f32::from(u8::from(class == label)));
            let row = &mut self.weights[class * (self.features + 1)..][..=self.features];
            for (w, x) in row.iter_mut().zip(x) {
                *w -= step * x;
            }
            row[self.features] -= step;
        }
    }

    fn accuracy(&self, x: &[f32], labels: &[u32]) -> f64 {
        let right = x
            .chunks_exact(self.features)
            .zip(labels)
            .filter(|(x, label)| {
                let scores = self.scores(x);
                (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b])) == Some(**label as usize)
            })
            .count();
        right as f64 / labels.len() as f64
    }
}

fn normalized(images: &Images, table: &[[f32; 256]]) -> Vec<f32> {
    images
        .pixels
        .iter()
        .enumerate()
        .map(|(i, &v)| table[i % 3][usize::from(v)])
        .collect()
}

#[test]
fn a_linear_softmax_stays_under_half() {
    const EPOCHS: u64 = 40;
    let set = dataset(
        &SyntheticConfig {
            train: 4000,
            test: 2000,
            seed: 0,
        },
        32,
        3,
    );
    let test = set.test.unwrap();
    let all: Vec<u32> = (0..4000).collect();
    let table = Normalization::from_images(&set.train, &all).table();
    let (train_x, test_x) = (normalized(&set.train, &table), normalized(&test, &table));
    let features = set.train.image_len();
    let mut model = Softmax {
        weights: vec![0.0; 10 * (features + 1)],
        features,
    };
    let (mut best, mut last) = (0.0f64, 0.0);
    for epoch in 0..EPOCHS {
        // The sum of squares of a normalized image is about 3,072, so that 2 / 3,072 = 6e-4 is the stable limit.
        let rate = 2e-4 * (1.0 - epoch as f32 / EPOCHS as f32);
        for index in epoch_order(&all, epoch) {
            let index = index as usize;
            model.step(
                &train_x[index * features..][..features],
                set.train.labels[index] as usize,
                rate,
            );
        }
        last = model.accuracy(&test_x, &test.labels);
        best = best.max(last);
    }
    let fitted = model.accuracy(&train_x, &set.train.labels);
    println!(
        "linear softmax: training accuracy {fitted:.3}, test accuracy {last:.3}, best epoch {best:.3}"
    );
    // It has learned what there is to learn (far more than chance on its own images), and that does not carry over.
    assert!(fitted > 0.5, "{fitted}");
    assert!(last > 0.1, "{last}");
    // Even by the epoch that is best on the test images.
    assert!(best < 0.5, "{best}");
}

/// Guards the set against a change that nobody meant: figures in a README compare only with the same pictures.
///
/// The values are those of the first version of the set, read off once. One step of tolerance, because sine and square
/// root come from the platform's library.
#[test]
fn the_pictures_stay_the_same() {
    let set = images(0, Stream::Train, 1000, 32);
    let row = &set.image(999)[16 * 96..][..18];
    let near = row.iter().zip(GOLDEN_ROW).all(|(&a, b)| a.abs_diff(b) <= 1);
    assert!(near, "{row:?}");
    let sum: u64 = set.pixels.iter().map(|&v| u64::from(v)).sum();
    // 3,072,000 values; at most one in a thousand off by one.
    assert!(sum.abs_diff(GOLDEN_SUM) < 3072, "{sum}");
}

const GOLDEN_ROW: [u8; 18] = [
    93, 101, 14, 124, 111, 13, 116, 111, 19, 98, 110, 23, 98, 96, 0, 92, 94, 19,
];
const GOLDEN_SUM: u64 = 394_843_217;
