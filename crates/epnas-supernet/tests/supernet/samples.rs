//! Networks and images that several tests use.

use std::sync::Arc;

use epnas_arch::{
    Arch, DepthwiseKind, Downsample, HandMade, HeadSharing, MacroSpace, MicroSpace, Network,
    NetworkConfig, Shape, Sharing, Space, StageChannels, seed::split,
};
use epnas_data::{DataConfig, Dataset, Split, fill_batch};
use epnas_supernet::{Plan, Supernet, SupernetConfig, TrainConfig, TrainingData};

pub(crate) fn arch(text: &str) -> Arch {
    text.parse().unwrap()
}

/// Four channels and one cell a stage.
pub(crate) fn tiny() -> NetworkConfig {
    NetworkConfig {
        channels: 4,
        cells_per_stage: 1,
        ..NetworkConfig::default()
    }
}

pub(crate) fn build(text: &str, space_len: usize, config: &NetworkConfig, side: usize) -> Network {
    Network::build(&arch(text), space_len, config, Shape::new(side, side, 3), 3).unwrap()
}

pub(crate) fn hand_made(text: &str, side: usize) -> Network {
    let network: HandMade = text.parse().unwrap();
    Network::hand_made(&network, Shape::new(side, side, 3), 3).unwrap()
}

/// One network for every option and operator, named.
pub(crate) fn networks() -> Vec<(&'static str, Network)> {
    let deep = "macro:c3.0/d3.0+1/mp.1+2/c5.0+3/ap.2+4/d5.1+3+5";
    let cell = "micro:c3.-2+mp.-1/d5.-1+id.0/ap.-2+d3.1/c5.0+id.-2";
    let config = tiny();
    let with = |change: &dyn Fn(&mut NetworkConfig)| {
        let mut config = tiny();
        change(&mut config);
        config
    };
    vec![
        ("macro", build(deep, 6, &config, 8)),
        ("macro, odd size", build(deep, 6, &config, 7)),
        ("macro, one layer", build("macro:ap.0", 3, &config, 6)),
        (
            "macro, not pooled",
            build("macro:c3.0/d5.0+1", 2, &config, 5),
        ),
        (
            "macro, factorized, five channels",
            build(
                deep,
                6,
                &with(&|config| {
                    config.downsample = Downsample::FactorizedReduction;
                    config.channels = 5;
                }),
                9,
            ),
        ),
        (
            "macro, pure depthwise",
            build(
                deep,
                6,
                &with(&|config| config.depthwise = DepthwiseKind::Pure),
                8,
            ),
        ),
        (
            "macro, head per depth, by source",
            build(
                deep,
                6,
                &with(&|config| {
                    config.head = HeadSharing::PerDepth;
                    config.sharing = Sharing::OpAndSource;
                }),
                8,
            ),
        ),
        (
            "macro, doubled, factorized",
            build(
                deep,
                6,
                &with(&|config| {
                    config.stage_channels = StageChannels::Double;
                    config.downsample = Downsample::FactorizedReduction;
                }),
                8,
            ),
        ),
        ("micro", build(cell, 4, &config, 8)),
        ("micro, odd size", build(cell, 4, &config, 7)),
        (
            "micro, doubled, pure depthwise",
            build(
                cell,
                4,
                &with(&|config| {
                    config.stage_channels = StageChannels::Double;
                    config.depthwise = DepthwiseKind::Pure;
                }),
                8,
            ),
        ),
        (
            "micro, by source, three channels",
            build(
                cell,
                4,
                &with(&|config| {
                    config.sharing = Sharing::OpAndSource;
                    config.channels = 3;
                }),
                8,
            ),
        ),
        (
            "micro, only the cell before the previous one",
            build("micro:c3.-2+id.-2", 1, &config, 8),
        ),
        (
            "micro, the same value twice",
            build("micro:id.-1+id.-1/id.0+id.0", 2, &config, 8),
        ),
        (
            "micro, wide depthwise",
            build("micro:d7.-1+d7.-2", 1, &config, 8),
        ),
        ("residual", hand_made("resnet:8", 6)),
        ("residual, deeper, odd size", hand_made("resnet:14", 5)),
        ("dense", hand_made("densenet:13k3", 8)),
        (
            "dense, bottlenecks, odd size",
            hand_made("densenet-bc:16k2", 7),
        ),
    ]
}

/// Random architectures of both spaces, by seed.
pub(crate) fn random_arch(space: &Space, len: usize, seed: u64) -> Arch {
    let mut arch: Option<Arch> = None;
    for level in 1..=len {
        let element = split(seed, &format!("level {level}")) % space.level_len(level);
        arch = Some(space.extend(arch.as_ref(), element));
    }
    arch.unwrap()
}

pub(crate) fn macro_space(layers: usize) -> Space {
    Space::Macro(MacroSpace {
        layers,
        ..MacroSpace::default()
    })
}

pub(crate) fn micro_space(blocks: usize) -> Space {
    Space::Micro(MicroSpace {
        blocks,
        ..MicroSpace::default()
    })
}

/// Numbers in -1..1 that depend on the seed and their place.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f64> {
    (0..count)
        .map(|i| split(seed, &i.to_string()) as f64 / u64::MAX as f64 * 2.0 - 1.0)
        .collect()
}

/// The built-in images at a small size.
pub(crate) fn dataset(train: usize, size: usize) -> Dataset {
    let mut config = DataConfig {
        image_size: size,
        ..DataConfig::default()
    };
    config.synthetic.train = train;
    config.synthetic.test = 100;
    epnas_data::load(&config).unwrap()
}

/// Of `train` images the last tenth validates.
pub(crate) fn data(train: usize, size: usize) -> Arc<TrainingData> {
    divided(&dataset(train, size))
}

/// Like [`data`], but every class is a plain grating (five periods, two directions) over a faint picture: easy enough
/// for a small child to learn in a few epochs.
pub(crate) fn gratings(train: usize, size: usize) -> Arc<TrainingData> {
    let mut dataset = dataset(train, size);
    let images = &mut dataset.train;
    let (width, channels) = (images.width, images.channels);
    let per_image = images.height * width * channels;
    for (index, value) in images.pixels.iter_mut().enumerate() {
        let label = images.labels[index / per_image] as usize;
        let pixel = index % per_image / channels;
        let along = if label < 5 {
            pixel % width
        } else {
            pixel / width
        };
        let bright = along % (label % 5 + 2) == 0;
        *value = *value / 3 + if bright { 150 } else { 0 };
    }
    divided(&dataset)
}

fn divided(dataset: &Dataset) -> Arc<TrainingData> {
    let train = dataset.train.len();
    let border = (train - train / 10) as u32;
    let split = Split {
        train: (0..border).collect(),
        validation: (border..train as u32).collect(),
    };
    Arc::new(TrainingData::from_dataset(dataset, &split).unwrap())
}

/// A recipe that takes a moment: one epoch, batches of 16.
pub(crate) fn quick() -> TrainConfig {
    TrainConfig {
        epochs: 1,
        batch: 16,
        eval_batch: 12,
        ..TrainConfig::fast()
    }
}

pub(crate) fn supernet(training: TrainConfig, data: &Arc<TrainingData>, seed: u64) -> Supernet {
    let config = SupernetConfig {
        space: macro_space(3),
        network: tiny(),
        training,
    };
    Supernet::new(config, data.clone(), seed).unwrap()
}

/// Gives a plan a batch of images as they are.
pub(crate) fn fill(plan: &mut Plan, data: &TrainingData, indices: &[u32]) {
    let filled = plan.fill(|pixels, labels| {
        let normalization = &data.normalization;
        fill_batch(
            &data.images,
            indices,
            normalization,
            None,
            0,
            0,
            pixels,
            labels,
        );
    });
    filled.unwrap();
}
