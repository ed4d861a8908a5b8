//! The values that a tensor starts with: a function of seed, path and shape.

use epnas_arch::{Param, ParamKind, seed::split};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Initial values of a parameter, row-major. See [`super::WeightStore::get`] for the distributions.
pub(super) fn values(param: &Param, seed: u64) -> Vec<f32> {
    let count = param.shape.iter().product();
    match param.kind {
        ParamKind::BnScale | ParamKind::BnVariance => vec![1.0; count],
        ParamKind::BnShift | ParamKind::BnMean | ParamKind::LinearBias => vec![0.0; count],
        ParamKind::ConvWeight | ParamKind::DepthwiseWeight => {
            let window: usize = param.shape.iter().take(2).product();
            let fan = match param.kind {
                ParamKind::ConvWeight => window * param.shape.last().copied().unwrap_or(1),
                _ => window,
            };
            let deviation = (2.0 / fan.max(1) as f64).sqrt();
            normal(seed, &param.path, count)
                .into_iter()
                .map(|z| (deviation * z) as f32)
                .collect()
        }
        ParamKind::LinearWeight => uniform(
            seed,
            &param.path,
            count,
            param.shape.first().copied().unwrap_or(1),
        ),
    }
}

fn generator(seed: u64, path: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(split(seed, path))
}

fn uniform(seed: u64, path: &str, count: usize, inputs: usize) -> Vec<f32> {
    let bound = 1.0 / (inputs.max(1) as f64).sqrt();
    let mut rng = generator(seed, path);
    (0..count)
        .map(|_| (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32)
        .collect()
}

/// Standard normal values by Box and Muller, two from each pair of uniform ones.
fn normal(seed: u64, path: &str, count: usize) -> Vec<f64> {
    let mut rng = generator(seed, path);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.push(radius * cos);
        values.push(radius * sin);
    }
    values.truncate(count);
    values
}
