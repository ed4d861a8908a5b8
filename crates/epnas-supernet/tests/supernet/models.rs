//! Saved models.

use std::fs;

use epnas_supernet::{
    MODEL_FILE, Model, Refinements, TrainConfig, Trainer, TrainerConfig, TrainingPart,
    WEIGHTS_FILE, WeightStore,
};

use crate::samples::{arch, data, dataset, quick, supernet, tiny};

fn trained() -> Model {
    let config = TrainerConfig {
        arch: arch("macro:c3.0/d3.0+1").into(),
        space_len: 3,
        network: tiny(),
        training: TrainConfig {
            epochs: 2,
            ..quick()
        },
        refinements: Refinements::default(),
        part: TrainingPart::Train,
    };
    let mut trainer = Trainer::new(config, data(200, 8), 5).unwrap();
    while trainer.train_epoch(&mut |_| ()).unwrap().is_some() {}
    trainer.model().unwrap()
}

#[test]
fn a_loaded_model_predicts_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/model");
    let model = trained();
    model.save(&path).unwrap();
    let loaded = Model::load(&path).unwrap();
    assert_eq!(loaded.info(), model.info());
    let test = dataset(10, 8).test.unwrap();
    let images: Vec<Vec<u8>> = (0..test.len()).map(|i| test.image(i).to_vec()).collect();
    let predicted = model.predict(&images).unwrap();
    assert_eq!(loaded.predict(&images).unwrap(), predicted);
    assert_eq!(
        loaded.evaluate(&test).unwrap(),
        model.evaluate(&test).unwrap()
    );
    for row in &predicted {
        assert_eq!(row.len(), 10);
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    // One at a time gives the same.
    assert_eq!(model.predict(&images[7..8]).unwrap()[0], predicted[7]);
    assert!(model.predict(&[]).unwrap().is_empty());
    let mut names: Vec<String> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [MODEL_FILE, WEIGHTS_FILE]);
    // Saving again replaces it.
    trained().save(&path).unwrap();
    Model::load(&path).unwrap();
}

#[test]
fn an_evaluation_adds_up() {
    let model = trained();
    // More than one batch of 250, with a remainder.
    let mut test = dataset(10, 8).test.unwrap();
    let indices: Vec<usize> = (0..600).map(|i| i % test.len()).collect();
    test = test.subset(&indices);
    let report = model.evaluate(&test).unwrap();
    assert_eq!(report.images, 600);
    let total: u64 = report.confusion.iter().flatten().sum();
    let diagonal: u64 = (0..10).map(|class| report.confusion[class][class]).sum();
    assert_eq!(total, 600);
    assert!((report.accuracy - diagonal as f64 / 600.0).abs() < 1e-12);
    assert_eq!(
        report
            .per_class
            .iter()
            .map(|class| class.correct)
            .sum::<u64>(),
        diagonal
    );
    let images: Vec<Vec<u8>> = (0..test.len()).map(|i| test.image(i).to_vec()).collect();
    let predicted = model.predict(&images).unwrap();
    let loss = predicted
        .iter()
        .zip(&test.labels)
        .map(|(row, label)| -f64::from(row[*label as usize]).ln());
    let loss = loss.sum::<f64>() / 600.0;
    assert!((report.loss - loss).abs() < 1e-4, "{} {loss}", report.loss);
}

#[test]
fn a_childs_model_has_its_shared_weights() {
    let data = data(80, 8);
    let mut supernet = supernet(quick(), &data, 1);
    let arch = arch("macro:c3.0/d5.1");
    let job = epnas_arch::Job {
        arch: &arch,
        seed: 1,
        progress: &mut |_| (),
    };
    let measurement = epnas_arch::Evaluator::evaluate(&mut supernet, job).unwrap();
    let model = supernet.model(&arch).unwrap();
    let indices: Vec<usize> = data.validation.iter().map(|i| *i as usize).collect();
    let report = model.evaluate(&data.images.subset(&indices)).unwrap();
    assert_eq!(report.accuracy, measurement.estimate);
    assert_eq!(report.per_class.len(), 10);
    // Its weights are a copy.
    let before = model.weights().to_bytes().unwrap();
    let job = epnas_arch::Job {
        arch: &arch,
        seed: 2,
        progress: &mut |_| (),
    };
    epnas_arch::Evaluator::evaluate(&mut supernet, job).unwrap();
    assert_eq!(model.weights().to_bytes().unwrap(), before);
}

#[test]
fn damaged_folders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let model = trained();
    let reload = || Model::load(dir.path()).unwrap_err().to_string();
    assert!(reload().contains(MODEL_FILE), "{}", reload());
    model.save(dir.path()).unwrap();
    let (json, weights) = (dir.path().join(MODEL_FILE), dir.path().join(WEIGHTS_FILE));
    let (text, bytes) = (
        fs::read_to_string(&json).unwrap(),
        fs::read(&weights).unwrap(),
    );

    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&weights, &flipped).unwrap();
    assert!(
        reload().contains(WEIGHTS_FILE) && reload().contains("damaged"),
        "{}",
        reload()
    );
    fs::remove_file(&weights).unwrap();
    assert!(reload().contains(WEIGHTS_FILE), "{}", reload());
    fs::write(&weights, &bytes).unwrap();

    for (from, to, expected) in [
        (
            "\"format\": 1",
            "\"format\": 2",
            "format 2 is not known, expected 1",
        ),
        ("macro:c3.0", "macro:c9.0", "c9"),
        ("\"space_len\"", "\"space_length\"", "space_length"),
        (
            "\"channels\": 4",
            "\"channels\": 6",
            "`stem.conv.weight` has shape [3, 3, 3, 4], the network needs [3, 3, 3, 6]",
        ),
        (
            "macro:c3.0/d3.0+1",
            "macro:c3.0/d3.1",
            "`layer.2.in.0.weight` is not one of the network's",
        ),
        (
            "macro:c3.0/d3.0+1",
            "macro:c3.0/d5.0+1",
            "`layer.2.dw_conv_5x5",
        ),
        ("weights_digest", "digest", "digest"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        let changed = text.replacen(from, to, 1);
        fs::write(&json, &changed).unwrap();
        let message = "model.json: damaged: its content has changed since it was written";
        assert!(reload().contains(message), "{from}: {}", reload());
        // As another program would write it, with its checksum.
        let mut value: serde_json::Value = serde_json::from_str(&changed).unwrap();
        value.as_object_mut().unwrap().remove("crc32");
        epnas_disk::write_json(&json, &value).unwrap();
        assert!(reload().contains(expected), "{from}: {}", reload());
    }
    fs::write(&json, &text[..text.len() / 2]).unwrap();
    assert!(reload().contains(MODEL_FILE), "{}", reload());
}

#[test]
fn images_of_another_size_are_refused() {
    let model = trained();
    let error = model
        .predict(&[vec![0; 8 * 8 * 3], vec![0; 5]])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "image 1 has 5 values, the model takes 8 x 8 x 3 = 192"
    );
    let error = model
        .evaluate(&dataset(10, 16).test.unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("16 x 16 x 3") && error.contains("8 x 8 x 3"),
        "{error}"
    );
    let error = Model::new(model.info().clone(), WeightStore::new(1))
        .unwrap_err()
        .to_string();
    assert!(error.contains("is missing"), "{error}");
}
