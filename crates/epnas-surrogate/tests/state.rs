//! Snapshots, repeatability, and errors that leave the state as it was.

use candle_core::Device;
use epnas_arch::{Arch, Candidates, Encoding, Space, Surrogate, SurrogateError};
use epnas_surrogate::{Lstm, LstmConfig};

fn config() -> LstmConfig {
    LstmConfig {
        embedding: 24,
        hidden: 20,
        epochs: 4,
        ..LstmConfig::default()
    }
}

/// 72 + 6 architectures of two lengths.
fn records(space: &Space) -> Vec<(Arch, f64)> {
    let first: Vec<Arch> = Candidates::first(space).iter().collect();
    let second = Candidates::extend(space, first.clone()).unwrap();
    let all = first.into_iter().chain(second.iter());
    all.enumerate()
        .map(|(i, arch)| (arch, 0.4 + 0.005 * i as f64))
        .collect()
}

fn bits(surrogate: &Lstm, space: &Space) -> Vec<u32> {
    let first = Candidates::first(space).iter().collect();
    let second = Candidates::extend(space, first).unwrap();
    let third = Candidates::extend(space, second.iter().take(20).collect()).unwrap();
    let scores = surrogate.predict(&third, 0..third.len()).unwrap();
    scores.iter().map(|s| s.to_bits()).collect()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let space = Space::default();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut surrogate = Lstm::new(&LstmConfig::default(), &space, 1).unwrap();
            let mut records = records(&space);
            records.truncate(60);
            let report = surrogate.fit(&records, 2).unwrap();
            (
                report,
                bits(&surrogate, &space),
                surrogate.snapshot().unwrap(),
            )
        })
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        let many = run(threads);
        assert_eq!(one.0, many.0, "{threads} threads");
        assert!(one.1 == many.1 && one.2 == many.2, "{threads} threads");
    }
}

#[test]
fn a_restored_surrogate_goes_on_as_the_original() {
    let space = Space::default();
    let records = records(&space);
    let mut original = Lstm::new(&config(), &space, 1).unwrap();
    original.fit(&records[..30], 2).unwrap();
    let snapshot = original.snapshot().unwrap();

    let mut restored = Lstm::new(&config(), &space, 99).unwrap();
    assert_ne!(bits(&restored, &space), bits(&original, &space));
    restored.restore(&snapshot).unwrap();
    assert_eq!(bits(&restored, &space), bits(&original, &space));
    assert_eq!(restored.snapshot().unwrap(), snapshot, "the bytes repeat");

    let a = original.fit(&records, 3).unwrap();
    let b = restored.fit(&records, 3).unwrap();
    assert_eq!(a, b);
    assert_eq!(bits(&restored, &space), bits(&original, &space));
    assert_eq!(restored.snapshot().unwrap(), original.snapshot().unwrap());

    // The moments matter: without them the second fit goes elsewhere.
    let mut fresh = Lstm::new(&config(), &space, 1).unwrap();
    fresh.fit(&records, 3).unwrap();
    assert_ne!(bits(&fresh, &space), bits(&original, &space));
}

#[test]
fn seeds_decide() {
    let space = Space::default();
    let records = records(&space);
    let run = |seed, fit_seed| {
        let mut surrogate = Lstm::new(&config(), &space, seed).unwrap();
        surrogate.fit(&records, fit_seed).unwrap();
        bits(&surrogate, &space)
    };
    assert_eq!(run(1, 2), run(1, 2));
    assert_ne!(run(1, 2), run(3, 2));
    // 72 architectures of one length are two batches, whose order the seed shuffles.
    assert_ne!(run(1, 2), run(1, 3));
}

#[test]
fn foreign_bytes_are_refused_and_change_nothing() {
    let space = Space::default();
    let surrogate = Lstm::new(&config(), &space, 1).unwrap();
    let good = surrogate.snapshot().unwrap();
    let other = |config: LstmConfig| Lstm::new(&config, &space, 1).unwrap().snapshot().unwrap();
    let wider = other(LstmConfig {
        hidden: 21,
        ..config()
    });
    let integer = other(LstmConfig {
        encoding: Encoding::Integer,
        ..config()
    });
    let mut infinite = good.clone();
    // The header names no offset here: find a weight by its bytes.
    let tensors = candle_core::safetensors::load_buffer(&good, &Device::Cpu).unwrap();
    let weight = tensors["embedding.weight"]
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap()[0];
    let place = good
        .windows(4)
        .position(|w| w == weight.to_le_bytes())
        .unwrap();
    infinite[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());

    let cases: [(&[u8], &str); 6] = [
        (&[], "not a state"),
        (b"hello, world, this is no state", "not a state"),
        (&good[..good.len() - 1], "not a state"),
        (&wider, "expected F32 [80"),
        (&integer, "one_hot"),
        (&infinite, "embedding.weight holds NaN"),
    ];
    for (bytes, part) in cases {
        let mut surrogate = surrogate.clone();
        let error = surrogate.restore(bytes).unwrap_err();
        assert!(matches!(error, SurrogateError::Snapshot { .. }), "{error}");
        assert!(
            error.to_string().contains(part),
            "{error} should say {part}"
        );
        assert_eq!(surrogate.snapshot().unwrap(), good);
    }
}

#[test]
fn a_failed_fit_changes_nothing() {
    let space = Space::default();
    let mut surrogate = Lstm::new(&config(), &space, 1).unwrap();
    let before = surrogate.snapshot().unwrap();
    let mut wrong = records(&space);
    wrong[7].1 = f64::NAN;
    let error = surrogate.fit(&wrong, 1).unwrap_err().to_string();
    assert!(
        error.contains(&wrong[7].0.to_string()) && error.contains("NaN"),
        "{error}"
    );
    let mut foreign = records(&space);
    foreign[3].0 = "micro:c3.-2+mp.-1".parse().unwrap();
    assert!(matches!(
        surrogate.fit(&foreign, 1),
        Err(SurrogateError::Space(_))
    ));
    assert_eq!(surrogate.snapshot().unwrap(), before);
    let report = surrogate.fit(&[], 1).unwrap();
    assert_eq!((report.records, report.epochs), (0, 0));
    assert_eq!(surrogate.snapshot().unwrap(), before);

    let config = LstmConfig {
        learning_rate: 1e38,
        ..config()
    };
    let mut surrogate = Lstm::new(&config, &space, 1).unwrap();
    let error = surrogate.fit(&records(&space), 1).unwrap_err().to_string();
    assert!(error.contains("learning_rate"), "{error}");
    assert_eq!(
        surrogate.snapshot().unwrap(),
        before,
        "same initial weights"
    );
}

#[test]
fn settings_are_checked() {
    let space = Space::default();
    let wrong = [
        LstmConfig {
            hidden: 0,
            ..config()
        },
        LstmConfig {
            embedding: 5000,
            ..config()
        },
        LstmConfig {
            batch: 0,
            ..config()
        },
        LstmConfig {
            epochs: 0,
            ..config()
        },
        LstmConfig {
            learning_rate: -1.0,
            ..config()
        },
        LstmConfig {
            init: f64::NAN,
            ..config()
        },
        LstmConfig {
            output_bias: f64::INFINITY,
            ..config()
        },
    ];
    let fields = [
        "hidden",
        "embedding",
        "batch",
        "epochs",
        "learning_rate",
        "init",
        "output_bias",
    ];
    for (config, field) in wrong.iter().zip(fields) {
        let error = Lstm::new(config, &space, 1).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
    let read: LstmConfig =
        serde_json::from_str(r#"{"loss": "mse", "encoding": "integer"}"#).unwrap();
    assert_eq!(read.hidden, 100);
    assert!(serde_json::from_str::<LstmConfig>(r#"{"hiden": 3}"#).is_err());
}

#[test]
fn golden_numbers_of_weights() {
    // See the derivation in the layout module: 100 F + 81,001.
    let params = |space: &Space| {
        Lstm::new(&LstmConfig::default(), space, 1)
            .unwrap()
            .params()
    };
    assert_eq!(params(&Space::default()), 82_701);
    assert_eq!(
        params(&Space::Micro(epnas_arch::MicroSpace::default())),
        83_601
    );
}
