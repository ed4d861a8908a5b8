//! Batch norms as part of the convolution before them, as far as nothing else reads that.

use crate::lowered::{BN_EPSILON, BatchNorm, Conv, Kind, Operation, readers};

/// The same network with fewer operations.
pub(crate) fn fold(mut operations: Vec<Operation>) -> Vec<Operation> {
    let readers = readers(&operations);
    // What gives the values of each operation.
    let mut gives: Vec<usize> = (0..operations.len()).collect();
    for id in 0..operations.len() {
        let Operation { kind, inputs, .. } = &operations[id];
        let Kind::BatchNorm(norm) = kind else {
            continue;
        };
        let (norm, input) = (norm.clone(), inputs[0]);
        if let Kind::Conv(conv) | Kind::Factorized(conv) = &mut operations[input].kind
            && readers[input] == 1
        {
            into(conv, &norm);
            gives[id] = input;
        }
    }
    let mut numbers = vec![0; operations.len()];
    let mut folded = Vec::new();
    for (id, mut operation) in operations.into_iter().enumerate() {
        if gives[id] != id {
            continue;
        }
        for input in &mut operation.inputs {
            *input = numbers[gives[*input]];
        }
        numbers[id] = folded.len();
        folded.push(operation);
    }
    folded
}

fn into(conv: &mut Conv, norm: &BatchNorm) {
    let channels = norm.scale.iter().zip(&norm.variance);
    // In double precision: rounded once.
    let factors: Vec<f64> = channels
        .map(|(&scale, &variance)| {
            f64::from(scale) / (f64::from(variance) + f64::from(BN_EPSILON)).sqrt()
        })
        .collect();
    let each = conv.weight.len() / conv.outputs;
    for (row, factor) in conv.weight.chunks_exact_mut(each).zip(&factors) {
        for weight in row {
            *weight = (f64::from(*weight) * factor) as f32;
        }
    }
    let terms = norm.shift.iter().zip(&norm.mean).zip(&factors);
    conv.bias = terms
        .map(|((&shift, &mean), factor)| (f64::from(shift) - f64::from(mean) * factor) as f32)
        .collect();
}
