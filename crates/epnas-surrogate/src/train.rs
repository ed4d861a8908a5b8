//! One fit: epochs over buckets of equal length, Adam after each batch.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::adam::Adam;
use crate::backward::{Chunk, Transposed};
use crate::config::{Loss, LstmConfig};
use crate::lanes::LANES;
use crate::layout::{Sizes, Weights, gate_bias};

/// An architecture and its measured accuracy.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    /// Levels.
    pub(crate) length: usize,
    /// `[level][feature]`.
    pub(crate) features: Vec<f32>,
    /// Accuracy.
    pub(crate) target: f32,
}

/// Indices of examples of one length.
type Batch = Vec<usize>;

/// Splits the examples into batches of one length each, in random order.
///
/// A bucket is cut into the fewest batches of at most `size`, as even as possible: a last batch of
/// one or two architectures would be a noisy update.
pub(crate) fn batches(examples: &[Example], size: usize, rng: &mut ChaCha8Rng) -> Vec<Batch> {
    let mut buckets: BTreeMap<usize, Batch> = BTreeMap::new();
    for (index, example) in examples.iter().enumerate() {
        buckets.entry(example.length).or_default().push(index);
    }
    let mut batches = Vec::new();
    for mut bucket in buckets.into_values() {
        bucket.shuffle(rng);
        let count = bucket.len().div_ceil(size);
        let (share, larger) = (bucket.len() / count, bucket.len() % count);
        let mut rest = &bucket[..];
        for batch in 0..count {
            let (head, tail) = rest.split_at(share + usize::from(batch < larger));
            batches.push(head.to_vec());
            rest = tail;
        }
    }
    batches.shuffle(rng);
    batches
}

/// Trains `values` for `config.epochs` epochs; the mean loss of the last one.
///
/// A batch is computed in chunks of 16 architectures, in parallel, and the chunks' gradients are
/// added in their order: the result does not depend on the number of threads.
pub(crate) fn train(
    config: &LstmConfig,
    sizes: Sizes,
    values: &mut [f32],
    adam: &mut Adam,
    examples: &[Example],
    seed: u64,
) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut transposed = Transposed::new(sizes);
    let mut loss = 0.0;
    for epoch in 0..config.epochs {
        loss = 0.0;
        for batch in batches(examples, config.batch, &mut rng) {
            let used = batch.len().div_ceil(LANES);
            if chunks.len() < used {
                chunks.resize_with(used, || Chunk::new(sizes));
            }
            let chunks = &mut chunks[..used];
            gradient(
                config.loss,
                sizes,
                values,
                &mut transposed,
                examples,
                &batch,
                chunks,
            );
            loss += chunks.iter().map(|chunk| chunk.loss).sum::<f64>();
            let parts: Vec<&[f32]> = chunks.iter().map(|chunk| &chunk.gradient[..]).collect();
            adam.update(values, &parts, config.learning_rate);
        }
        loss /= examples.len() as f64;
        tracing::trace!(epoch, loss, "surrogate epoch");
    }
    loss
}

/// Loss and gradient of one batch, spread over chunks.
fn gradient(
    loss: Loss,
    sizes: Sizes,
    values: &[f32],
    transposed: &mut Transposed,
    examples: &[Example],
    batch: &[usize],
    chunks: &mut [Chunk],
) {
    let bias = gate_bias(sizes, values);
    let weights = Weights::new(sizes, values, &bias);
    transposed.update(sizes, &weights);
    chunks
        .par_iter_mut()
        .zip(batch.par_chunks(LANES))
        .for_each(|(chunk, indices)| {
            let examples = indices.iter().map(|&index| &examples[index]);
            let length = examples.clone().next().map_or(0, |example| example.length);
            chunk.load(length, examples.map(|e| (&e.features[..], e.target)));
            chunk.backward(&weights, transposed, loss, batch.len());
        });
}

/// Predictions for the examples, in their order.
pub(crate) fn predictions(sizes: Sizes, values: &[f32], examples: &[Example]) -> Vec<f32> {
    let bias = gate_bias(sizes, values);
    let weights = Weights::new(sizes, values, &bias);
    let mut buckets: BTreeMap<usize, Batch> = BTreeMap::new();
    for (index, example) in examples.iter().enumerate() {
        buckets.entry(example.length).or_default().push(index);
    }
    let groups: Vec<&[usize]> = buckets
        .values()
        .flat_map(|bucket| bucket.chunks(LANES))
        .collect();
    let predicted: Vec<Vec<f32>> = groups
        .par_iter()
        .map_init(
            || Chunk::new(sizes),
            |chunk, indices| {
                let examples = indices.iter().map(|&index| &examples[index]);
                let length = examples.clone().next().map_or(0, |example| example.length);
                chunk.load(length, examples.map(|e| (&e.features[..], e.target)));
                chunk.forward(&weights)
            },
        )
        .collect();
    let mut out = vec![0.0; examples.len()];
    for (indices, values) in groups.iter().zip(predicted) {
        for (&index, value) in indices.iter().zip(values) {
            out[index] = value;
        }
    }
    out
}
