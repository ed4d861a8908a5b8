//! The configuration: defaults, names, ranges.

use epnas_data::{Channels, DataConfig, Share, Source, SplitKind, load};
use serde_json::json;

use crate::{assert_mentions, message};

#[test]
fn the_default_survives_json() {
    let config = DataConfig::default();
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<DataConfig>(&text).unwrap(), config);
    assert_eq!(serde_json::from_str::<DataConfig>("{}").unwrap(), config);
}

#[test]
fn names_are_as_documented() {
    let config: DataConfig = serde_json::from_value(json!({
        "source": "fashion_mnist", "channels": "rgb", "split": "fixed", "validation": 5000, "unreadable": "skip",
        "train_limit": 100, "synthetic": { "train": 5, "seed": 3 },
    }))
    .unwrap();
    assert_eq!(
        (config.source, config.channels, config.split),
        (Source::FashionMnist, Channels::Rgb, SplitKind::Fixed)
    );
    assert_eq!(
        (config.validation, config.synthetic.seed),
        (Share::Count(5000), 3)
    );
    for source in [
        Source::Synthetic,
        Source::Cifar10,
        Source::Cifar100,
        Source::Mnist,
        Source::FashionMnist,
        Source::Folder,
    ] {
        assert_eq!(serde_json::to_value(source).unwrap(), json!(source.name()));
    }
}

#[test]
fn a_share_is_a_count_or_a_fraction() {
    let parse = |value| serde_json::from_value::<Share>(value);
    assert_eq!(parse(json!(0.25)).unwrap(), Share::Fraction(0.25));
    assert_eq!(parse(json!(3)).unwrap(), Share::Count(3));
    assert_eq!(serde_json::to_value(Share::Count(3)).unwrap(), json!(3));
    assert_eq!(
        serde_json::to_value(Share::Fraction(0.1)).unwrap(),
        json!(0.1)
    );
    for wrong in [json!("many"), json!(-1)] {
        assert_mentions(
            &parse(wrong).unwrap_err().to_string(),
            &["a number of images (5000) or a fraction (0.1)"],
        );
    }
}

#[test]
fn unknown_keys_are_refused() {
    let error = serde_json::from_str::<DataConfig>(r#"{"imagesize": 3}"#)
        .unwrap_err()
        .to_string();
    assert_mentions(&error, &["imagesize", "image_size"]);
}

#[test]
fn values_out_of_range_are_named() {
    let with = |change: fn(&mut DataConfig)| {
        let mut config = DataConfig::default();
        change(&mut config);
        message(load(&config))
    };
    assert_mentions(
        &with(|c| c.image_size = 0),
        &["data.image_size = 0", "4 to 1024"],
    );
    assert_mentions(&with(|c| c.image_size = 5000), &["data.image_size = 5000"]);
    assert_mentions(
        &with(|c| c.test_fraction = 1.0),
        &["data.test_fraction = 1", "below 1"],
    );
    assert_mentions(
        &with(|c| c.test_fraction = f64::NAN),
        &["data.test_fraction = NaN"],
    );
    assert_mentions(
        &with(|c| c.train_limit = Some(0)),
        &["data.train_limit = 0"],
    );
    assert_mentions(
        &with(|c| c.synthetic.train = 0),
        &["data.synthetic.train = 0"],
    );
    assert_mentions(
        &with(|c| c.synthetic.test = usize::MAX),
        &["data.synthetic.test", "1 to 2796202 images of 32 x 32"],
    );
    assert_mentions(
        &with(|c| c.dir = Some("x".into())),
        &["data.dir = x", "synthetic"],
    );
    assert_mentions(
        &with(|c| c.source = Source::Folder),
        &["data.dir = none", "one directory"],
    );
    assert_mentions(
        &with(|c| {
            c.source = Source::Cifar10;
            c.dir = Some("/nowhere/at/all".into());
        }),
        &["/nowhere/at/all: not found", "cifar10"],
    );
}

#[test]
fn every_field_is_described() {
    let schema = schemars::schema_for!(DataConfig).to_value();
    let fields = schema["properties"].as_object().unwrap();
    assert_eq!(fields.len(), 11);
    for (name, field) in fields {
        let described = field["description"]
            .as_str()
            .is_some_and(|text| text.len() > 20);
        assert!(described, "data.{name} has no description");
    }
}
