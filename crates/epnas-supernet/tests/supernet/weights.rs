//! Weight stores: where values come from, and bytes.

use candle_core::{DType, Device, Tensor};
use epnas_arch::{Param, ParamKind};
use epnas_supernet::{Mode, Plan, SupernetError, WeightStore, network_params};

use crate::samples::{build, tiny};

fn param(path: &str, kind: ParamKind, shape: &[usize]) -> Param {
    Param {
        path: path.to_owned(),
        shape: shape.to_vec(),
        kind,
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn moments(values: &[f32]) -> (f64, f64) {
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|v| (f64::from(*v) - mean).powi(2));
    (mean, squares.sum::<f64>() / values.len() as f64)
}

#[test]
fn initial_values_depend_on_seed_and_path_alone() {
    let a = param(
        "layer.1.conv_3x3.weight",
        ParamKind::ConvWeight,
        &[3, 3, 4, 4],
    );
    let b = param(
        "layer.2.conv_3x3.weight",
        ParamKind::ConvWeight,
        &[3, 3, 4, 4],
    );
    let (mut first, mut second) = (WeightStore::new(9), WeightStore::new(9));
    let forward = (first.get(&a).unwrap(), first.get(&b).unwrap());
    let backward = (second.get(&b).unwrap(), second.get(&a).unwrap());
    assert_eq!(values(&forward.0), values(&backward.1));
    assert_eq!(values(&forward.1), values(&backward.0));
    assert_ne!(values(&forward.0), values(&forward.1));
    let other = WeightStore::new(10).get(&a).unwrap();
    assert_ne!(values(&other), values(&forward.0));
    // The same path is the same tensor.
    assert_eq!(first.get(&a).unwrap().id(), forward.0.id());
    assert_eq!(first.len(), 2);
}

#[test]
fn initial_values_have_the_stated_distributions() {
    let mut store = WeightStore::new(1);
    let mut get = |kind, shape: &[usize]| {
        values(
            &store
                .get(&param(&format!("{kind:?}{shape:?}"), kind, shape))
                .unwrap(),
        )
    };
    // 2 / (3 * 3 * 64), 2 / 64 and 2 / 25; the standard error of a variance of n normal values is sqrt(2 / n) of it,
    // at most 0.9% here.
    for (kind, shape, variance) in [
        (ParamKind::ConvWeight, vec![3, 3, 64, 64], 2.0 / 576.0),
        (ParamKind::ConvWeight, vec![1, 1, 256, 128], 2.0 / 128.0),
        (ParamKind::DepthwiseWeight, vec![5, 5, 1024], 2.0 / 25.0),
    ] {
        let (mean, found) = moments(&get(kind, &shape));
        assert!(
            (found / variance - 1.0).abs() < 0.05,
            "{kind:?} {shape:?}: {found}"
        );
        assert!(mean.abs() < 0.05 * variance.sqrt(), "{kind:?}: {mean}");
    }
    // Uniform within 1 / 8: variance (1 / 8)^2 / 3.
    let linear = get(ParamKind::LinearWeight, &[64, 500]);
    assert!(linear.iter().all(|v| v.abs() <= 0.125));
    assert!((moments(&linear).1 * 3.0 * 64.0 - 1.0).abs() < 0.05);
    for kind in [ParamKind::BnScale, ParamKind::BnVariance] {
        assert_eq!(get(kind, &[5]), [1.0; 5]);
    }
    for kind in [ParamKind::BnShift, ParamKind::BnMean, ParamKind::LinearBias] {
        assert_eq!(get(kind, &[5]), [0.0; 5]);
    }
}

#[test]
fn bytes_round_trip_exactly_and_are_always_the_same() {
    let network = build("macro:c3.0/d5.0+1", 2, &tiny(), 8);
    let mut store = WeightStore::new(77);
    Plan::compile(&network, &mut store, 1, Mode::Infer).unwrap();
    let bytes = store.to_bytes().unwrap();
    let mut read = WeightStore::from_bytes(&bytes).unwrap();
    assert_eq!(read.seed(), 77);
    assert_eq!(read.len(), network_params(&network).len());
    assert_eq!(read.to_bytes().unwrap(), bytes);
    for (path, tensor) in store.iter() {
        assert_eq!(values(read.tensor(path).unwrap()), values(tensor), "{path}");
    }
    // A tensor that was not there yet comes from the seed, as it would have.
    let late = param(
        "layer.9.conv_3x3.weight",
        ParamKind::ConvWeight,
        &[3, 3, 4, 4],
    );
    assert_eq!(
        values(&read.get(&late).unwrap()),
        values(&store.get(&late).unwrap())
    );
}

#[test]
fn bad_bytes_are_named() {
    let mut store = WeightStore::new(1);
    store.get(&param("a", ParamKind::BnScale, &[3])).unwrap();
    let bytes = store.to_bytes().unwrap();
    let message = |bytes: &[u8]| WeightStore::from_bytes(bytes).unwrap_err().to_string();
    assert!(message(&bytes[..bytes.len() - 1]).contains("not a valid safetensors file"));
    assert!(message(b"").contains("not a valid safetensors file"));
    let foreign = safetensors::serialize(
        Vec::<(String, safetensors::tensor::TensorView)>::new(),
        None,
    );
    assert!(message(&foreign.unwrap()).contains("not written by epnas"));

    let error = store
        .get(&param("a", ParamKind::BnScale, &[4]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "weight `a` has shape [3], the network needs [4]"
    );
    let wrong = Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap();
    let error = store.insert("a", wrong).unwrap_err();
    assert!(matches!(error, SupernetError::WeightType { .. }), "{error}");
}

#[test]
fn deep_clones_are_apart() {
    let mut store = WeightStore::new(1);
    let scale = param("a", ParamKind::BnScale, &[3]);
    store.get(&scale).unwrap();
    let copy = store.deep_clone().unwrap();
    let ones = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    let changed = (ones * 5.0).unwrap();
    store
        .tensor("a")
        .unwrap()
        .slice_set(&changed, 0, 0)
        .unwrap();
    assert_eq!(values(copy.tensor("a").unwrap()), [1.0; 3]);
    assert_eq!(values(store.clone().tensor("a").unwrap()), [5.0; 3]);
}
