//! What other programs compute from exported networks, against what ours do.
//!
//! Every run of the tests computes what is exported by a few lines of plain arithmetic. `cargo xtask test --export` sets
//! `EPNAS_EXPORT_PYTHON` to a Python that has onnxruntime and torch, and those compute the same networks then, on CIFAR-10's
//! test images where `EPNAS_CIFAR10` names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Device;
use epnas_arch::{Design, Network, NetworkConfig, ParamKind, PoolKind, Shape, StageChannels};
use epnas_data::{Images, Normalization};
use epnas_export::lowered::{BN_EPSILON, Conv, Kind, lower};
use epnas_export::{Normalizing, Trained, onnx, pytorch, safetensors};
use epnas_supernet::{
    Model, ModelInfo, Origin, TrainConfig, TrainingRecord, WeightStore, network_params,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The share of the largest logit that rounding may change.
const TOLERANCE: f64 = 1e-4;

/// A network to export.
struct Case {
    name: &'static str,
    design: &'static str,
    levels: usize,
    config: NetworkConfig,
    image: Shape,
    classes: usize,
}

fn case(name: &'static str, design: &'static str, channels: usize, side: usize) -> Case {
    let levels = design.split('/').count().max(3);
    Case {
        name,
        design,
        levels,
        config: NetworkConfig {
            channels,
            cells_per_stage: 1,
            ..NetworkConfig::default()
        },
        image: Shape::new(side, side, 3),
        classes: 10,
    }
}

/// Every operation in both spaces, odd numbers of channels and pixels, and networks made by hand.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(
            "macro",
            "macro:c3.0/d3.0+1/c5.1+2/d5.0+1+2+3/mp.2+4/ap.0+5",
            16,
            32,
        ),
        case(
            "macro-odd",
            "macro:c3.0/d3.0+1/c5.1+2/d5.0+1+2+3/mp.2+4/ap.0+5",
            7,
            17,
        ),
        case(
            "micro",
            "micro:c3.-2+mp.-1/d5.-1+id.0/id.-2+d3.1/ap.-2+c5.0/d7.-1+id.-1",
            16,
            32,
        ),
        case(
            "micro-odd",
            "micro:c3.-2+mp.-1/d5.-1+id.0/id.-2+d3.1/ap.-2+c5.0",
            9,
            15,
        ),
        case("macro-odd-channels", "macro:c3.0/d5.0+1/mp.1+2", 7, 32),
        case("micro-odd-channels", "micro:c3.-2+mp.-1/id.-2+d3.0", 9, 32),
        case("resnet", "resnet:8x5", 1, 32),
        case("densenet", "densenet:13k5", 1, 20),
        case("densenet-bc", "densenet-bc:16k6", 1, 32),
    ];
    for (name, real, design) in [
        ("max-pool", "max-pool-32", "macro:mp.0"),
        ("avg-pool", "avg-pool-32", "macro:ap.0"),
        ("conv-3x3", "conv-3x3-32", "macro:c3.0"),
        ("conv-5x5", "conv-5x5-32", "macro:c5.0"),
        ("separable-3x3", "separable-3x3-32", "macro:d3.0"),
        ("separable-5x5", "separable-5x5-32", "macro:d5.0"),
        ("identity", "identity-32", "micro:id.-2+id.-1"),
        ("separable-7x7", "separable-7x7-32", "micro:d7.-2+d7.-1"),
    ] {
        cases.push(case(name, design, 5, 11));
        // As large as real images are.
        cases.push(case(real, design, 5, 32));
    }
    let mut doubled = case("micro-doubled", "micro:c3.-2+d3.-1/id.0+mp.-2", 6, 16);
    doubled.config.stage_channels = StageChannels::Double;
    cases.push(doubled);
    let mut gray = case("gray", "macro:c3.0/mp.0+1", 3, 13);
    gray.image = Shape {
        height: 13,
        width: 10,
        channels: 1,
    };
    gray.classes = 3;
    cases.push(gray);
    cases
}

/// A model with random weights and statistics.
fn model(case: &Case) -> Model {
    let design: Design = case.design.parse().expect("a design");
    let network = design.network(case.levels, &case.config, case.image, case.classes);
    let network: Network = network.expect("a network");
    let mut rng = ChaCha8Rng::seed_from_u64(case.name.len() as u64);
    let mut weights = WeightStore::new(1);
    for param in network_params(&network) {
        let mut uniform = |low: f32, high: f32| -> Vec<f32> {
            (0..param.len())
                .map(|_| low + (high - low) * rng.random::<f32>())
                .collect()
        };
        let values = match param.kind {
            ParamKind::BnScale => uniform(0.5, 1.5),
            ParamKind::BnShift | ParamKind::BnMean | ParamKind::LinearBias => uniform(-0.5, 0.5),
            ParamKind::BnVariance => uniform(0.3, 2.0),
            // About as strong as what training begins with.
            _ => {
                let inputs: usize = param.shape[..param.shape.len() - 1].iter().product();
                let size = (3.0 / inputs as f32).sqrt();
                uniform(-size, size)
            }
        };
        let tensor = candle_core::Tensor::from_vec(values, param.shape.as_slice(), &Device::Cpu);
        weights
            .insert(param.path.as_str(), tensor.expect("a tensor"))
            .expect("inserted");
    }
    let info = ModelInfo {
        format: 1,
        architecture: design.to_string(),
        space_len: case.levels,
        network: case.config.clone(),
        classes: (0..case.classes)
            .map(|class| format!("class \"{class}\"\n</script>"))
            .collect(),
        normalization: Normalization {
            mean: [0.49, 0.48, 0.45][..case.image.channels].to_vec(),
            std: [0.25, 0.24, 0.26][..case.image.channels].to_vec(),
        },
        height: case.image.height,
        width: case.image.width,
        channels: case.image.channels,
        training: TrainingRecord {
            refinements: epnas_supernet::Refinements::default(),
            origin: Origin::Scratch,
            config: TrainConfig::fast(),
            seed: 0,
            epochs: 0,
            images: 0,
            loss: None,
            training_accuracy: None,
            validation_accuracy: None,
        },
    };
    Model::new(info, weights).expect("a model")
}

fn with_parts<T>(model: &Model, export: impl FnOnce(&Trained<'_>) -> T) -> T {
    let info = model.info();
    export(&Trained {
        network: model.network(),
        architecture: &info.architecture,
        classes: &info.classes,
        mean: &info.normalization.mean,
        std: &info.normalization.std,
        weights: &|path| model.values(path),
    })
}

fn random_images(shape: Shape, count: usize) -> Vec<Vec<u8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let image = |_| (0..shape.len()).map(|_| rng.random()).collect();
    (0..count).map(image).collect()
}

/// `[image, channel, height, width]` from 0 to 1, normalized or not.
fn planes(model: &Model, images: &[Vec<u8>], normalizing: Normalizing) -> Vec<f32> {
    let info = model.info();
    let mut planes = Vec::new();
    for image in images {
        for channel in 0..info.channels {
            for pixel in image.chunks_exact(info.channels) {
                let value = f32::from(pixel[channel]) / 255.0;
                let normalization = &info.normalization;
                planes.push(match normalizing {
                    Normalizing::Inside => value,
                    Normalizing::Outside => {
                        (value - normalization.mean[channel]) / normalization.std[channel]
                    }
                });
            }
        }
    }
    planes
}

#[track_caller]
fn assert_close(name: &str, ours: &[Vec<f32>], theirs: &[f32]) {
    let classes = ours[0].len();
    assert_eq!(theirs.len(), ours.len() * classes, "{name}");
    for (ours, theirs) in ours.iter().zip(theirs.chunks_exact(classes)) {
        let largest = ours
            .iter()
            .fold(0.0_f64, |most, &logit| most.max(f64::from(logit).abs()));
        for (&a, &b) in ours.iter().zip(theirs) {
            let difference = (f64::from(a) - f64::from(b)).abs() / largest;
            assert!(
                difference <= TOLERANCE,
                "{name}: {a} and {b}, of at most {largest}"
            );
        }
    }
}

/// A feature map `[channel][pixel]`, in double precision.
type Map = Vec<Vec<f64>>;

/// The pixels of a 3x3 or other window around each output pixel: `each(tap, value)`, and `None` beyond the edge.
fn window(
    map: &[f64],
    from: Shape,
    at: (usize, usize),
    kernel: usize,
    padding: usize,
    mut each: impl FnMut(usize, Option<f64>),
) {
    for tap in 0..kernel * kernel {
        let y = (at.0 + tap / kernel)
            .checked_sub(padding)
            .filter(|&y| y < from.height);
        let x = (at.1 + tap % kernel)
            .checked_sub(padding)
            .filter(|&x| x < from.width);
        each(tap, y.zip(x).map(|(y, x)| map[y * from.width + x]));
    }
}

fn places(to: Shape, stride: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..to.height).flat_map(move |y| (0..to.width).map(move |x| (y * stride, x * stride)))
}

fn convolved(input: &Map, from: Shape, to: Shape, conv: &Conv, padding: usize) -> Map {
    let taps = conv.kernel * conv.kernel;
    let inputs = conv.inputs / conv.groups;
    let outputs = conv.outputs / conv.groups;
    let value = |output: usize, at: (usize, usize)| {
        let mut sum = 0.0;
        for input_of_group in 0..inputs {
            let map = &input[output / outputs * inputs + input_of_group];
            let weights = &conv.weight[(output * inputs + input_of_group) * taps..][..taps];
            window(map, from, at, conv.kernel, padding, |tap, value| {
                sum += f64::from(weights[tap]) * value.unwrap_or(0.0);
            });
        }
        sum
    };
    (0..conv.outputs)
        .map(|output| {
            places(to, conv.stride)
                .map(|at| value(output, at))
                .collect()
        })
        .collect()
}

/// The logits of one image, `[channel, height, width]` and normalized, operation by operation.
fn computed(trained: &Trained<'_>, image: &[f32]) -> Vec<f64> {
    let operations = lower(trained).expect("lowered");
    let mut maps: Vec<Map> = Vec::new();
    for operation in &operations {
        let input = |at: usize| &maps[operation.inputs[at]];
        let from = operation
            .inputs
            .first()
            .map(|&input| operations[input].shape);
        let to = operation.shape;
        let map: Map = match &operation.kind {
            Kind::Image => {
                let channels = image.chunks_exact(to.pixels());
                channels
                    .map(|channel| channel.iter().copied().map(f64::from).collect())
                    .collect()
            }
            Kind::Concat => (0..operation.inputs.len())
                .flat_map(|at| input(at).clone())
                .collect(),
            Kind::Conv(conv) => convolved(input(0), from.expect("one"), to, conv, conv.padding()),
            Kind::Factorized(conv) => convolved(input(0), from.expect("one"), to, conv, 0),
            Kind::BatchNorm(norm) => {
                let normalized = |(channel, map): (usize, &Vec<f64>)| {
                    let [scale, shift, mean, variance] =
                        [&norm.scale, &norm.shift, &norm.mean, &norm.variance]
                            .map(|values| f64::from(values[channel]));
                    let factor = scale / (variance + f64::from(BN_EPSILON)).sqrt();
                    map.iter()
                        .map(|value| (value - mean) * factor + shift)
                        .collect()
                };
                input(0).iter().enumerate().map(normalized).collect()
            }
            Kind::Relu => input(0)
                .iter()
                .map(|map| map.iter().map(|v| v.max(0.0)).collect())
                .collect(),
            Kind::Pool { kind, stride } => {
                let pooled = |map: &Vec<f64>| {
                    let value = |at| {
                        let (mut most, mut sum) = (f64::MIN, 0.0);
                        window(map, from.expect("one"), at, 3, 1, |_, value| {
                            most = most.max(value.unwrap_or(f64::MIN));
                            sum += value.unwrap_or(0.0);
                        });
                        match kind {
                            PoolKind::Max => most,
                            PoolKind::Avg => sum / 9.0,
                        }
                    };
                    places(to, *stride).map(value).collect()
                };
                input(0).iter().map(pooled).collect()
            }
            Kind::Add => {
                let pairs = input(0).iter().zip(input(1));
                pairs
                    .map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect())
                    .collect()
            }
            Kind::Average => {
                let mean = |map: &Vec<f64>| vec![map.iter().sum::<f64>() / map.len() as f64];
                input(0).iter().map(mean).collect()
            }
            Kind::Linear { weight, bias } => {
                let rows = weight.chunks_exact(input(0).len()).zip(bias);
                rows.map(|(row, bias)| {
                    let products = row
                        .iter()
                        .zip(input(0))
                        .map(|(w, map)| f64::from(*w) * map[0]);
                    vec![products.sum::<f64>() + f64::from(*bias)]
                })
                .collect()
            }
        };
        assert_eq!(map.len() * map[0].len(), to.len(), "{}", operation.name);
        maps.push(map);
    }
    maps.pop().expect("logits").concat()
}

#[test]
fn plain_arithmetic_computes_our_logits() {
    for case in cases() {
        let model = model(&case);
        let images = random_images(case.image, 2);
        let values = planes(&model, &images, Normalizing::Outside);
        let theirs: Vec<f32> = with_parts(&model, |trained| {
            let images = values.chunks_exact(case.image.len());
            images
                .flat_map(|image| computed(trained, image))
                .map(|logit| logit as f32)
                .collect()
        });
        let ours = model.logits(&images).expect("logits");
        assert_close(case.name, &ours, &theirs);
        // A test that could not fail would be no test.
        let spread = ours[0]
            .iter()
            .fold(0.0_f32, |most, logit| most.max((logit - ours[0][0]).abs()));
        assert!(spread > 1e-3, "{}: {:?}", case.name, ours[0]);
        // The same network always gives the same bytes.
        let exported = || {
            with_parts(&model, |trained| {
                let network = onnx(trained, Normalizing::Inside).expect("exported");
                (
                    network,
                    pytorch(trained, "w.safetensors").expect("exported"),
                )
            })
        };
        assert!(exported() == exported(), "{}", case.name);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let model = model(&case("macro", "macro:c3.0/mp.1", 4, 8));
    let info = model.info();
    let with = |weights: &dyn Fn(&str) -> Option<Vec<f32>>, classes: &[String], mean: &[f32]| {
        let trained = Trained {
            network: model.network(),
            architecture: &info.architecture,
            classes,
            mean,
            std: &info.normalization.std,
            weights,
        };
        safetensors(&trained).expect_err("refused").to_string()
    };
    let (classes, mean) = (&info.classes, &info.normalization.mean);
    let none = |_: &str| None;
    assert!(with(&none, classes, mean).contains("stem.conv.weight is missing"));
    let short = |_: &str| Some(vec![0.0]);
    assert!(with(&short, classes, mean).contains("stem.conv.weight has 1 values, expected 108"));
    let nan = |_: &str| Some(vec![f32::NAN; 108]);
    assert!(with(&nan, classes, mean).contains("NaN, expected finite numbers"));
    assert!(with(&none, &classes[1..], mean).contains("9 class names for 10 outputs"));
    assert!(with(&none, classes, &mean[1..]).contains("2 means and 3 deviations"));
}

/// The Python of `cargo xtask test --export`.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("EPNAS_EXPORT_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: EPNAS_EXPORT_PYTHON names no Python with onnxruntime and torch");
    }
    python
}

/// The first 1,000 of CIFAR-10's test images with their labels, where `EPNAS_CIFAR10` names the folder, else random ones.
fn real_images() -> (Vec<Vec<u8>>, Option<Vec<u32>>) {
    let dir = std::env::var("EPNAS_CIFAR10").unwrap_or_default();
    if !Path::new(&dir).is_dir() {
        println!("skipped: no data at EPNAS_CIFAR10={dir:?}; random images instead");
        return (random_images(Shape::new(32, 32, 3), 1000), None);
    }
    let test = epnas_data::load(&epnas_data::DataConfig {
        source: epnas_data::Source::Cifar10,
        dir: Some(dir.into()),
        ..epnas_data::DataConfig::default()
    });
    let test: Images = test.expect("CIFAR-10").test.expect("a test set");
    let images = (0..1000).map(|index| test.image(index).to_vec()).collect();
    (images, Some(test.labels[..1000].to_vec()))
}

/// Runs all exported networks in onnxruntime and torch: `check.py FOLDER`, one folder a network.
fn in_python(python: &Path, folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check.py");
    let status = Command::new(python).arg(script).arg(folder).status();
    assert!(
        status.expect("Python starts").success(),
        "{} failed",
        python.display()
    );
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect()
}

#[test]
fn onnxruntime_and_torch_compute_our_logits() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (real, labels) = real_images();
    let mut expected = BTreeMap::new();
    for case in cases() {
        let model = model(&case);
        let is_real = case.image == Shape::new(32, 32, 3);
        let images = if is_real {
            real.clone()
        } else {
            random_images(case.image, 20)
        };
        let dir = folder.path().join(case.name);
        std::fs::create_dir(&dir).expect("a folder");
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).expect("written");
        let (network, module) = with_parts(&model, |trained| {
            (
                onnx(trained, Normalizing::Inside).expect("exported"),
                pytorch(trained, "network.safetensors").expect("exported"),
            )
        });
        write("network.onnx", &network);
        write("network.py", module.source.as_bytes());
        write("network.safetensors", &module.weights);
        let Shape {
            height,
            width,
            channels,
        } = case.image;
        write(
            "shape",
            format!("{} {channels} {height} {width}", images.len()).as_bytes(),
        );
        let values = planes(&model, &images, Normalizing::Inside);
        write(
            "images",
            &values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
        expected.insert(case.name, (model.logits(&images).expect("logits"), is_real));
    }
    in_python(&python, folder.path());
    let hits = |logits: &[f32], labels: &[u32]| {
        let rows = logits.chunks_exact(10).zip(labels);
        let best = |row: &[f32]| {
            (0..10).fold(
                0,
                |best, class| if row[class] > row[best] { class } else { best },
            )
        };
        rows.filter(|(row, label)| best(row) == **label as usize)
            .count()
    };
    for (name, (ours, is_real)) in expected {
        for reader in ["onnxruntime", "torch"] {
            let theirs = floats(&folder.path().join(name).join(reader));
            assert_close(&format!("{name}, {reader}"), &ours, &theirs);
            if let (true, Some(labels)) = (is_real, &labels) {
                let (ours, theirs) = (hits(&ours.concat(), labels), hits(&theirs, labels));
                println!("{name}, {reader}: {theirs} of 1000 right, ours {ours}");
                assert_eq!(ours, theirs, "{name}, {reader}: accuracy");
            }
        }
    }
}
