//! Batches and augmentation: against the definition pixel by pixel, and independent of threads and batch sizes.

use epnas_data::{
    AugmentConfig, Augmentation, BatchStream, Flip, Images, Normalization, counter, epoch_order,
    fill_batch,
};
use proptest::prelude::*;

use crate::asymmetric;

const IDENTITY: fn(usize) -> Normalization = |channels| Normalization {
    mean: vec![0.0; channels],
    std: vec![1.0; channels],
};

fn batch(
    images: &Images,
    indices: &[u32],
    augment: Option<&AugmentConfig>,
    seed: u64,
    first: u64,
) -> Vec<f32> {
    let mut out = vec![f32::NAN; indices.len() * images.image_len()];
    let mut labels = vec![u32::MAX; indices.len()];
    fill_batch(
        images,
        indices,
        &IDENTITY(images.channels),
        augment,
        seed,
        first,
        &mut out,
        &mut labels,
    );
    assert!(
        labels
            .iter()
            .zip(indices)
            .all(|(&label, &i)| label == images.labels[i as usize])
    );
    out
}

/// The documented definition, one pixel at a time, with its own arithmetic.
fn by_definition(
    images: &Images,
    index: usize,
    config: &AugmentConfig,
    seed: u64,
    position: u64,
) -> Vec<f32> {
    let (h, w, c, p) = (
        images.height as i64,
        images.width as i64,
        images.channels,
        config.pad as i64,
    );
    let random = |channel| counter::draw(seed, position, channel);
    let below = |channel, n: i64| (((random(channel) >> 32) * n as u64) >> 32) as i64;
    let (dy, dx) = (below(0, 2 * p + 1), below(1, 2 * p + 1));
    let mirrored = config.flip == Flip::Horizontal && random(2) >> 63 == 1;
    let (cy, cx, k) = (below(3, h), below(4, w), config.cutout as i64);
    let mut out = Vec::new();
    for y in 0..h {
        for x in 0..w {
            let (row, column) = (y + dy - p, if mirrored { w - 1 - x } else { x } + dx - p);
            let cut = (cy - k / 2..cy - k / 2 + k).contains(&y)
                && (cx - k / 2..cx - k / 2 + k).contains(&x);
            for channel in 0..c {
                let inside = (0..h).contains(&row) && (0..w).contains(&column);
                out.push(if cut || !inside {
                    0.0
                } else {
                    f32::from(images.image(index)[(row * w + column) as usize * c + channel])
                        / 255.0
                });
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn batches_follow_the_definition(
        height in 1usize..9, width in 1usize..9, channels in 1usize..5,
        pad in 0usize..12, cutout in 0usize..12, flips: bool, seed: u64, first in 0u64..1000,
    ) {
        let images = asymmetric(13, height, width, channels);
        let config = AugmentConfig { pad, flip: if flips { Flip::Horizontal } else { Flip::None }, cutout };
        let indices = [3, 3, 0, 12, 7, 1, 2, 4, 5, 6, 8];
        let got = batch(&images, &indices, Some(&config), seed, first);
        for (i, image) in got.chunks_exact(images.image_len()).enumerate() {
            let expected = by_definition(&images, indices[i] as usize, &config, seed, first + i as u64);
            prop_assert_eq!(image, &expected[..]);
        }
    }

    #[test]
    fn a_crop_is_a_shifted_window(pad in 0usize..5, seed: u64, position: u64) {
        let images = asymmetric(1, 6, 7, 3);
        let config = AugmentConfig { pad, flip: Flip::None, cutout: 0 };
        let got = batch(&images, &[0], Some(&config), seed, position);
        // Some shift by at most the padding explains every pixel.
        let source = |y: isize, x: isize, channel: usize| {
            if (0..6).contains(&y) && (0..7).contains(&x) {
                f32::from(images.pixels[(y as usize * 7 + x as usize) * 3 + channel]) / 255.0
            } else {
                0.0
            }
        };
        let pad = pad as isize;
        let explained = (-pad..=pad).flat_map(|dy| (-pad..=pad).map(move |dx| (dy, dx))).any(|(dy, dx)| {
            (0..6).all(|y| (0..7).all(|x| (0..3).all(|channel| {
                got[(y * 7 + x) * 3 + channel] == source(y as isize + dy, x as isize + dx, channel)
            })))
        });
        prop_assert!(explained);
    }

    #[test]
    fn mirroring_twice_changes_nothing(width in 1usize..10, channels in 1usize..4, seed: u64) {
        let mut images = asymmetric(1, 3, width, channels);
        let config = AugmentConfig { pad: 0, flip: Flip::Horizontal, cutout: 0 };
        let position = (0..).find(|&p| {
            Augmentation::draw(&config, seed, p, 3, width).flip == Flip::Horizontal
        }).unwrap();
        let once = batch(&images, &[0], Some(&config), seed, position);
        let original = images.pixels.clone();
        images.pixels = once.iter().map(|v| (v * 255.0).round() as u8).collect();
        if width > 1 {
            prop_assert_ne!(&images.pixels, &original);
        }
        let twice = batch(&images, &[0], Some(&config), seed, position);
        let twice: Vec<u8> = twice.iter().map(|v| (v * 255.0).round() as u8).collect();
        prop_assert_eq!(twice, original);
    }
}

#[test]
fn padding_is_black_before_and_cutout_zero_after_normalization() {
    let images = Images {
        pixels: vec![200; 4 * 4],
        labels: vec![0],
        height: 4,
        width: 4,
        channels: 1,
    };
    let normalization = Normalization {
        mean: vec![0.5],
        std: vec![0.25],
    };
    let fill = |config: &AugmentConfig| {
        let mut out = vec![f32::NAN; 16];
        fill_batch(
            &images,
            &[0],
            &normalization,
            Some(config),
            1,
            0,
            &mut out,
            &mut [0],
        );
        out
    };
    // A pad so large that some position shows nothing but padding: (0 - 0.5) / 0.25 = -2.
    let config = AugmentConfig {
        pad: 1_000_000,
        flip: Flip::None,
        cutout: 0,
    };
    assert_eq!(fill(&config), [-2.0; 16]);
    let config = AugmentConfig {
        pad: 0,
        flip: Flip::None,
        cutout: 100,
    };
    assert_eq!(fill(&config), [0.0; 16]);
}

#[test]
fn offsets_cover_their_range_and_half_of_the_images_are_mirrored() {
    let config = AugmentConfig::default();
    let (mut rows, mut columns, mut mirrored) = ([0u32; 9], [0u32; 9], 0u32);
    for position in 0..9000 {
        let drawn = Augmentation::draw(&config, 11, position, 32, 32);
        rows[(drawn.top + 4) as usize] += 1;
        columns[(drawn.left + 4) as usize] += 1;
        mirrored += u32::from(drawn.flip == Flip::Horizontal);
    }
    // Binomial: mean 1000 and deviation 29.8 for an offset, 4500 and 47.4 for mirroring; 5 deviations.
    assert!(
        rows.iter().chain(&columns).all(|&n| n.abs_diff(1000) < 150),
        "{rows:?} {columns:?}"
    );
    assert!(mirrored.abs_diff(4500) < 240, "{mirrored}");
}

/// The draws that a kernel elsewhere must reproduce. Computed once by a script from the definition in the
/// documentation of `counter` and `augment`, in Python's integers:
///
/// ```python
/// M = 2**64 - 1; G = 0x9e3779b97f4a7c15
/// def mix(z):
///     z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & M
///     z = (z ^ z >> 27) * 0x94d049bb133111eb & M
///     return z ^ z >> 31
/// draw = lambda s, p, c: mix(mix(s + G*(p+1) & M) + G*(c+1) & M)
/// below = lambda r, n: (r >> 32) * n >> 32
/// [(below(draw(7, p, 0), 9) - 4, below(draw(7, p, 1), 9) - 4, draw(7, p, 2) >> 63,
///   below(draw(7, p, 3), 32) - 8, below(draw(7, p, 4), 32) - 8) for p in range(4)]
/// ```
#[test]
fn golden_draws() {
    let config = AugmentConfig {
        pad: 4,
        flip: Flip::Horizontal,
        cutout: 16,
    };
    let got: Vec<_> = (0..4)
        .map(|position| {
            let drawn = Augmentation::draw(&config, 7, position, 32, 32);
            let mirrored = u8::from(drawn.flip == Flip::Horizontal);
            (
                drawn.top,
                drawn.left,
                mirrored,
                drawn.cutout.0,
                drawn.cutout.1,
            )
        })
        .collect();
    assert_eq!(got, GOLDEN);
}

const GOLDEN: [(isize, isize, u8, isize, isize); 4] = [
    (2, 1, 1, 11, 3),
    (0, 2, 1, 19, 3),
    (1, 4, 0, 3, 9),
    (2, -2, 0, 19, 1),
];

#[test]
fn streams_do_not_depend_on_batch_size_or_threads() {
    let images = asymmetric(50, 8, 8, 3);
    let order = epoch_order(&(0..50).collect::<Vec<_>>(), 5);
    let config = AugmentConfig {
        pad: 2,
        flip: Flip::Horizontal,
        cutout: 3,
    };
    let normalization = Normalization::from_images(&images, &order);
    let epoch = |size: usize, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut stream =
                BatchStream::new(&images, &order, size, &normalization, Some(&config), 99);
            assert_eq!(stream.batches(), 50usize.div_ceil(size));
            let (mut pixels, mut labels) = (vec![0.0; size * images.image_len()], vec![0; size]);
            let (mut all_pixels, mut all_labels) = (Vec::new(), Vec::new());
            while let Some(n) = stream.next_into(&mut pixels, &mut labels) {
                all_pixels.extend_from_slice(&pixels[..n * images.image_len()]);
                all_labels.extend_from_slice(&labels[..n]);
            }
            (all_pixels, all_labels)
        })
    };
    let (pixels, labels) = epoch(50, 1);
    assert_eq!(labels.len(), 50);
    for (size, threads) in [(50, 3), (7, 1), (16, 2), (1, 4), (64, 2)] {
        assert_eq!(
            epoch(size, threads),
            (pixels.clone(), labels.clone()),
            "batch {size}, {threads} threads"
        );
    }
}

#[test]
fn buffers_may_be_longer() {
    let images = asymmetric(3, 2, 2, 1);
    let mut out = vec![9.0; 100];
    let mut labels = vec![9; 10];
    fill_batch(
        &images,
        &[2],
        &IDENTITY(1),
        None,
        0,
        0,
        &mut out,
        &mut labels,
    );
    assert_eq!(out[4..], [9.0; 96]);
    assert_eq!(labels, [2, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
}
