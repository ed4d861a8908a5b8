//! `epnas data`: look at a data set, or write the built-in one as an image folder.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use epnas_data::{DataConfig, Dataset, Images, Normalization, SyntheticConfig, UnreadableFile};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::arguments::{ConfigArgs, Global, SettingsArgs};
use crate::failure::{self, OrUsage, usage};
use crate::inputs;
use crate::output::{self, grouped, table};

/// Check a folder of images, describe a data set, or write the built-in one.
///
/// Folders: CIFAR-10 and CIFAR-100 in the binary version, MNIST and Fashion-MNIST as IDX files,
/// or one directory of PNG and JPEG files per class, with or without `train` and `test` above.
///
/// Examples:
///   epnas data check ~/photos
///   epnas data info --config cifar10-quick-macro --data ~/cifar-10-batches-bin
///   epnas data synthetic shapes --train 1000 --test 200
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Report classes, sizes, unreadable and duplicate images of a folder; exit code 1 when there are unreadable ones.
    Check {
        /// The folder.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Describe the data set of a configuration: classes, parts, normalization.
    Info {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Write the built-in set of textured shapes as an image folder, OUT/train/CLASS/*.png and OUT/test/CLASS/*.png.
    Synthetic {
        /// The folder to make; it must not hold anything yet.
        #[arg(value_name = "OUT")]
        out: PathBuf,
        /// Training images.
        #[arg(long, value_name = "N", default_value_t = SyntheticConfig::default().train)]
        train: usize,
        /// Test images.
        #[arg(long, value_name = "N", default_value_t = SyntheticConfig::default().test)]
        test: usize,
        /// Height and width.
        #[arg(long, value_name = "PIXELS", default_value_t = 32)]
        image_size: usize,
    },
}

pub(crate) fn run(args: &DataArgs, global: &Global) -> anyhow::Result<()> {
    match &args.action {
        Action::Check { dir, settings } => check(dir, settings, global),
        Action::Info { config } => info(config, global),
        Action::Synthetic {
            out,
            train,
            test,
            image_size,
        } => {
            let synthetic = SyntheticConfig {
                train: *train,
                test: *test,
                seed: global.seed.unwrap_or(0),
            };
            let config = DataConfig {
                image_size: *image_size,
                synthetic,
                ..DataConfig::default()
            };
            write_synthetic(out, &config, global)
        }
    }
}

fn check(dir: &Path, settings: &SettingsArgs, global: &Global) -> anyhow::Result<()> {
    let mut config = inputs::settings(settings, global)?.data;
    if config.source == epnas_data::Source::Synthetic {
        config.source = epnas_data::detect(dir).or_usage()?;
    }
    let report = epnas_data::check(dir, &config).map_err(failure::of_data)?;
    output::print_as(global.format(), &report, ToString::to_string)?;
    match report.failure() {
        None => Ok(()),
        Some(failure) => Err(anyhow::anyhow!("{}: {failure}", dir.display())),
    }
}

/// What `epnas data info --json` prints.
#[derive(Debug, Serialize)]
struct Info {
    name: String,
    /// Height, width and channels of an image.
    shape: [usize; 3],
    classes: Vec<String>,
    /// Images that children are trained on.
    training: Part,
    /// Images that estimate their accuracy.
    validation: Part,
    /// Images that a search never sees.
    test: Option<Part>,
    /// Per channel, of the training part.
    normalization: Normalization,
    /// Files left out because they cannot be decoded.
    skipped: Vec<UnreadableFile>,
}

#[derive(Debug, Serialize)]
struct Part {
    images: usize,
    per_class: Vec<usize>,
}

impl Part {
    fn of(images: &Images, classes: usize) -> Self {
        Part {
            images: images.len(),
            per_class: images.class_counts(classes),
        }
    }

    fn some(images: &Images, indices: &[u32], classes: usize) -> Self {
        let mut per_class = vec![0; classes];
        for &index in indices {
            per_class[images.labels[index as usize] as usize] += 1;
        }
        Part {
            images: indices.len(),
            per_class,
        }
    }
}

fn info(args: &ConfigArgs, global: &Global) -> anyhow::Result<()> {
    let config = inputs::config(args, global)?;
    let (dataset, skipped) = epnas_data::load_reporting(&config.data).map_err(failure::of_data)?;
    let split = epnas_search::data_split(&dataset, &config).or_usage()?;
    let classes = dataset.classes.len();
    let info = Info {
        shape: [
            dataset.train.height,
            dataset.train.width,
            dataset.train.channels,
        ],
        training: Part::some(&dataset.train, &split.train, classes),
        validation: Part::some(&dataset.train, &split.validation, classes),
        test: dataset.test.as_ref().map(|test| Part::of(test, classes)),
        normalization: Normalization::from_images(&dataset.train, &split.train),
        name: dataset.name,
        classes: dataset.classes,
        skipped,
    };
    output::print_as(global.format(), &info, Info::text)
}

impl Info {
    fn text(&self) -> String {
        let [height, width, channels] = self.shape;
        let mut text = format!(
            "{}: {} classes, {height}x{width}x{channels} images\n",
            self.name,
            self.classes.len()
        );
        let mut rows: Vec<Vec<String>> = Vec::new();
        let test = |class: usize| {
            self.test
                .as_ref()
                .map_or_else(|| "-".to_owned(), |part| grouped(part.per_class[class]))
        };
        for (class, name) in self.classes.iter().enumerate() {
            let counts =
                [&self.training, &self.validation].map(|part| grouped(part.per_class[class]));
            let [training, validation] = counts;
            rows.push(vec![name.clone(), training, validation, test(class)]);
        }
        let total = self
            .test
            .as_ref()
            .map_or_else(|| "-".to_owned(), |part| grouped(part.images));
        rows.push(vec![
            "total".into(),
            grouped(self.training.images),
            grouped(self.validation.images),
            total,
        ]);
        text.push_str(&table(&["class", "training", "validation", "test"], &rows));
        let list = |values: &[f32]| {
            values
                .iter()
                .map(|v| format!("{v:.4}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        text.push_str(&format!(
            "mean {}  std {}\n",
            list(&self.normalization.mean),
            list(&self.normalization.std)
        ));
        for file in &self.skipped {
            text.push_str(&format!(
                "left out: {}: {}\n",
                file.path.display(),
                file.reason
            ));
        }
        text
    }
}

fn write_synthetic(out: &Path, config: &DataConfig, global: &Global) -> anyhow::Result<()> {
    inputs::require_folder(out)?;
    if out
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(usage(format_args!(
            "{} is not empty; name a new folder",
            out.display()
        )));
    }
    let dataset = epnas_data::load(config).map_err(failure::of_data)?;
    write_part(&out.join("train"), &dataset, &dataset.train)?;
    if let Some(test) = &dataset.test {
        write_part(&out.join("test"), &dataset, test)?;
    }
    let report = json!({
        "out": out,
        "classes": dataset.classes,
        "train": dataset.train.len(),
        "test": dataset.test.as_ref().map_or(0, Images::len),
    });
    output::print_as(global.format(), &report, |report| {
        format!(
            "{}: {} training and {} test images",
            out.display(),
            report["train"],
            report["test"]
        )
    })
}

fn write_part(dir: &Path, dataset: &Dataset, images: &Images) -> anyhow::Result<()> {
    for class in &dataset.classes {
        let dir = dir.join(class);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let color = if images.channels == 1 {
        image::ColorType::L8
    } else {
        image::ColorType::Rgb8
    };
    let (width, height) = (images.width as u32, images.height as u32);
    (0..images.len()).into_par_iter().try_for_each(|index| {
        let class = &dataset.classes[images.labels[index] as usize];
        let path = dir.join(class).join(format!("{index:06}.png"));
        image::save_buffer(&path, images.image(index), width, height, color)
            .with_context(|| format!("cannot write {}", path.display()))
    })
}
