//! Training the found network from scratch (Perez-Rua et al., 2018, sections 4.1 and 4.2, final training).

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use epnas_arch::seed::split;
use epnas_arch::{Design, Progress};
use epnas_supernet::{
    EvalReport, Model, PrecisionKind, SupernetError, Trainer, TrainerConfig, TrainerReport,
    TrainingPart,
};
use serde::{Deserialize, Serialize};

use super::{Fingerprint, ModelImages, Session};
use crate::best::Best;
use crate::config::TrainOn;
use crate::disk;
use crate::error::SearchError;
use crate::observer::{Event, Observer, Phase, Total};
use crate::run::{Run, RunError, Start};

/// Whose architecture is trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    /// The one that the search found; into `model/`.
    #[default]
    Found,
    /// The one that random search found; into `model-random/`.
    Random,
}

/// What a final training gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// The architecture, or the network made by hand, in text form.
    #[serde(with = "crate::text")]
    pub architecture: Design,
    /// Epochs trained.
    pub epochs: usize,
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates per image.
    pub macs: u64,
    /// Accuracy of the last epoch on the validation images; `None` when they were trained on.
    pub validation_accuracy: Option<f64>,
    /// The trained network on the test images; `None` when the data set has none.
    pub test: Option<EvalReport>,
    /// What convolutions were computed in during training.
    pub precision: PrecisionKind,
    /// What it was trained on: `cpu`, or the name of a GPU.
    pub device: String,
    /// Wall time of the training in seconds, resumed parts included.
    pub seconds: f64,
}

impl Session {
    /// Trains the architecture in `best.json` from scratch, with a checkpoint after every epoch in `train/` and the
    /// learning curve in `train/curve.jsonl`; the result goes to `model/`. For [`Which::Random`] the folders are
    /// `train-random/` and `model-random/`.
    ///
    /// # Errors
    /// [`SearchError`], [`SearchError::Stopped`] among them; with [`Start::Resume`] training goes on after the last
    /// finished epoch.
    pub fn train(
        &self,
        dir: &Path,
        which: Which,
        start: Start,
        observer: &mut dyn Observer,
    ) -> Result<TrainReport, SearchError> {
        let run = Run::open(dir)?;
        let folder = run.folder();
        self.same_images(folder, Fingerprint::Compare)?;
        let best = Best::read(&folder.best())?;
        let (arch, work, model) = match which {
            Which::Found => (best.architecture, folder.train(), folder.model()),
            Which::Random => {
                let random = best.random.ok_or_else(|| SearchError::Nothing {
                    dir: dir.to_owned(),
                    reason: "the run has no baseline; set baseline.kind = \"random\"".into(),
                })?;
                (
                    random.architecture,
                    folder.train_random(),
                    folder.model_random(),
                )
            }
        };
        self.train_design(&arch.into(), &work, &model, start, observer)
    }

    /// Trains any architecture or hand-made network from scratch, with checkpoint and learning curve in `work` and the result in `model`.
    ///
    /// # Errors
    /// As [`Session::train`].
    pub fn train_design(
        &self,
        design: &Design,
        work: &Path,
        model: &Path,
        start: Start,
        observer: &mut dyn Observer,
    ) -> Result<TrainReport, SearchError> {
        let key = match design {
            Design::Arch(arch) => {
                self.config.space.check(arch)?;
                self.config.space.key(arch)
            }
            Design::HandMade(network) => network.to_string(),
        };
        let checkpoint = work.join("checkpoint.bin");
        if start == Start::New {
            for (path, dir) in [
                (model.join(epnas_supernet::MODEL_FILE), model),
                (checkpoint.clone(), work),
            ] {
                if path.exists() {
                    return Err(RunError::Exists {
                        dir: dir.to_owned(),
                    }
                    .into());
                }
            }
        }
        disk::make_dir(work)?;
        let config = self.trainer_config(design);
        let compute = self.compute.clone();
        let data = Arc::clone(&self.images()?.unlimited);
        let seed = split(self.config.seed, &format!("train/{key}"));
        let epochs = config.training.epochs;
        observer.event(Event::Phase {
            phase: Phase::Training,
            total: Total::Pieces(epochs as u64),
        });
        let mut trainer = match disk::read_if_present(&checkpoint)? {
            Some(bytes) => {
                let trainer = Trainer::resume_on(compute, config, data, seed, &bytes);
                let trainer = trainer.map_err(|source| SearchError::TrainingCheckpoint {
                    path: checkpoint.clone(),
                    source: Box::new(in_settings(source)),
                })?;
                observer.event(Event::Resumed {
                    done: trainer.epoch() as u64,
                    training_macs: 0,
                    seconds: seconds(trainer.reports()),
                });
                trainer
            }
            None => Trainer::on(compute, config, data, seed)?,
        };
        let progress = |observer: &mut dyn Observer, trainer: &mut Trainer| {
            trainer.train_epoch(&mut |p| {
                let progress = Progress {
                    images: p.images,
                    total_images: p.total_images,
                    loss: p.loss,
                };
                observer.event(Event::ChildProgress(progress));
            })
        };
        while let Some(report) = progress(observer, &mut trainer)? {
            let clock = Instant::now();
            disk::write_atomic(&checkpoint, &trainer.checkpoint()?)?;
            write_curve(work, trainer.reports())?;
            tracing::debug!(
                epoch = report.epoch,
                seconds = clock.elapsed().as_secs_f64(),
                "checkpoint written"
            );
            observer.event(Event::Epoch {
                epoch: report.epoch,
                epochs,
                loss: report.loss,
                accuracy: report.validation_accuracy,
                seconds: report.seconds,
            });
            if self.stop_requested() && !trainer.is_finished() {
                return Err(SearchError::Stopped {
                    dir: work.to_owned(),
                    done: trainer.epoch(),
                    total: epochs,
                });
            }
        }
        let trained = trainer.model()?;
        // First, so that there is no model that does not say what it was trained on.
        ModelImages::new(&self.config.data, self.dataset()?).write(model)?;
        trained.save(model)?;
        self.report(design, &trainer, &trained)
    }

    fn report(
        &self,
        design: &Design,
        trainer: &Trainer,
        model: &Model,
    ) -> Result<TrainReport, SearchError> {
        let test = self
            .dataset()?
            .test
            .as_ref()
            .map(|images| model.evaluate(images))
            .transpose()?;
        Ok(TrainReport {
            architecture: design.clone(),
            epochs: trainer.epoch(),
            params: model.network().params(),
            macs: model.network().macs(),
            validation_accuracy: trainer
                .reports()
                .last()
                .and_then(|report| report.validation_accuracy),
            test,
            precision: (self.config.train.recipe.precision).available_on(self.compute.kind()),
            device: self.compute.name().to_owned(),
            seconds: seconds(trainer.reports()),
        })
    }

    fn trainer_config(&self, design: &Design) -> TrainerConfig {
        let train = &self.config.train;
        TrainerConfig {
            arch: design.clone(),
            space_len: self.config.space.levels(),
            network: self.config.final_network(),
            training: train.recipe.clone(),
            part: match train.network.images {
                TrainOn::All => TrainingPart::TrainAndValidation,
                TrainOn::Training => TrainingPart::Train,
            },
        }
    }
}

/// A checkpoint's differences under the keys of the configuration.
fn in_settings(error: SupernetError) -> SupernetError {
    let SupernetError::OtherTraining(mut differences) = error else {
        return error;
    };
    for difference in &mut differences {
        let key = difference.key.as_str();
        difference.key = match (key, key.strip_prefix("training.")) {
            (_, Some(rest)) => format!("train.{rest}"),
            ("network.channels" | "network.cells_per_stage" | "network.stage_channels", _) => {
                key.replacen("network", "train", 1)
            }
            ("part", _) => "train.images".into(),
            ("space_len", _) => "levels of the space".into(),
            _ => continue,
        };
        if difference.key == "train.images" {
            for value in [&mut difference.stored, &mut difference.given] {
                *value = match value.as_str() {
                    "train" => "training".into(),
                    _ => "all".into(),
                };
            }
        }
    }
    SupernetError::OtherTraining(differences)
}

fn seconds(reports: &[TrainerReport]) -> f64 {
    reports.iter().map(|report| report.seconds).sum()
}

fn write_curve(work: &Path, reports: &[TrainerReport]) -> Result<(), SearchError> {
    let path = work.join("curve.jsonl");
    let mut text = String::new();
    for report in reports {
        let line = serde_json::to_string(report).map_err(|error| SearchError::Result {
            path: path.clone(),
            message: error.to_string(),
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(disk::write_atomic(&path, text.as_bytes())?)
}
