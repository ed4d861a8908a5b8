//! Training the found network from scratch (Perez-Rua et al., 2018, sections 4.1 and 4.2, final training).

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use epnas_arch::seed::split;
use epnas_arch::{Design, Progress};
use epnas_supernet::{
    Advance, EvalReport, Model, PrecisionKind, SupernetError, Trainer, TrainerConfig,
    TrainerReport, TrainingPart,
};
use serde::{Deserialize, Serialize};

use super::{Fingerprint, ModelImages, Session};
use crate::best::Best;
use crate::config::TrainOn;
use crate::error::SearchError;
use crate::observer::{Event, Observer, Phase, Total};
use crate::run::{Run, RunError, Start};
use epnas_disk::{self as disk, FileError, read_json, read_lines, seal, write_json};

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
    /// The folder of the trained network.
    pub model: PathBuf,
    /// The seed of the training, which derives from the root seed.
    pub seed: u64,
    /// Epochs trained.
    pub epochs: usize,
    /// The epoch whose weights are kept: the last, or with `train.score = "best_epoch"` the best.
    pub kept_epoch: usize,
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates per image.
    pub macs: u64,
    /// Accuracy of the kept weights on the validation images; `None` when they were trained on.
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

/// Where a training works and where its model goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingFolders {
    /// `checkpoint.bin`, `curve.jsonl`, and models of the best and the last epoch so far in `best/` and `last/`.
    pub work: PathBuf,
    /// The trained network.
    pub model: PathBuf,
}

impl TrainingFolders {
    /// Those of a repetition from other seeds, counted from 1; the first has the folders themselves, others `-seed-2` and
    /// so on at the end of both names.
    #[must_use]
    pub fn of_seed(&self, number: usize) -> Self {
        if number <= 1 {
            return self.clone();
        }
        let named = |path: &Path| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!("-seed-{number}"));
            path.with_file_name(name)
        };
        Self {
            work: named(&self.work),
            model: named(&self.model),
        }
    }

    /// The state of the training.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.work.join(TRAINING_FILE)
    }

    /// Whether a training has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_checkpoint() || self.work.join(CURVE_FILE).is_file()
    }

    /// Whether there is a state to go on from.
    #[must_use]
    pub fn has_checkpoint(&self) -> bool {
        self.checkpoint().is_file() || self.previous_checkpoint().is_file()
    }

    /// Its state one checkpoint before.
    #[must_use]
    pub fn previous_checkpoint(&self) -> PathBuf {
        self.work.join(PREVIOUS_TRAINING_FILE)
    }

    /// Weights and description of the best epoch so far.
    #[must_use]
    pub fn best(&self) -> PathBuf {
        self.work.join("best")
    }

    /// Those of the last epoch so far.
    #[must_use]
    pub fn last(&self) -> PathBuf {
        self.work.join("last")
    }
}

/// The state of a training, in its folder.
pub const TRAINING_FILE: &str = "checkpoint.bin";
/// Its state one checkpoint before, to step back to.
pub const PREVIOUS_TRAINING_FILE: &str = "previous.bin";
/// The learning curve, a JSON line for every epoch.
pub const CURVE_FILE: &str = "curve.jsonl";
/// The name of the file with the [`TrainReport`], in a training's folder.
pub const RESULT_FILE: &str = "result.json";

/// A checkpoint is written after every epoch, and within one when this much time has passed.
const CHECKPOINT_EVERY: Duration = Duration::from_mins(5);

impl Session {
    /// The architecture in `best.json` that is to be trained, and the folders for it.
    ///
    /// # Errors
    /// [`SearchError`] when there is no such result.
    pub fn found(
        &self,
        dir: &Path,
        which: Which,
    ) -> Result<(Design, TrainingFolders), SearchError> {
        let run = Run::open(dir)?;
        let folder = run.folder();
        self.same_images(folder, Fingerprint::Compare)?;
        let best = Best::read(&folder.best())?;
        let arch = match which {
            Which::Found => best.architecture,
            Which::Random => {
                let random = best.random.ok_or_else(|| SearchError::Nothing {
                    dir: dir.to_owned(),
                    reason: "the run has no baseline; set baseline.kind = \"random\"".into(),
                })?;
                random.architecture
            }
        };
        Ok((arch.into(), folder.training(which)))
    }

    /// Trains the architecture in `best.json` from scratch, with a checkpoint after every epoch in `train/` and the
    /// learning curve in `train/curve.jsonl`; the result goes to `model/`. For [`Which::Random`] the folders are
    /// `train-random/` and `model-random/`. With `train.seeds` above 1 it is trained so many times, each with folders of
    /// [`TrainingFolders::of_seed`]; there is a report of each.
    ///
    /// # Errors
    /// [`SearchError`], [`SearchError::Stopped`] among them; with [`Start::Resume`] training goes on where it stopped.
    pub fn train(
        &self,
        dir: &Path,
        which: Which,
        start: Start,
        observer: &mut dyn Observer,
    ) -> Result<Vec<TrainReport>, SearchError> {
        let (design, folders) = self.found(dir, which)?;
        // Held until the end.
        let _run = Run::open(dir)?;
        self.train_design(&design, &folders, start, observer)
    }

    /// Checks, before anything is written, that an architecture or hand-made network can be trained as configured.
    ///
    /// # Errors
    /// [`SearchError`] says what does not fit.
    pub fn check_design(&self, design: &Design) -> Result<(), SearchError> {
        let data = &self.images()?.unlimited;
        let (levels, config) = (self.config.space.levels(), self.config.final_network());
        let network = design.network(levels, &config, data.image_shape(), data.classes.len());
        let network = network.map_err(SupernetError::from)?;
        Ok(self.config.refinements().check_network(&network)?)
    }

    /// Trains any architecture or hand-made network from scratch, once for each of `train.seeds`.
    ///
    /// # Errors
    /// As [`Session::train`].
    pub fn train_design(
        &self,
        design: &Design,
        folders: &TrainingFolders,
        start: Start,
        observer: &mut dyn Observer,
    ) -> Result<Vec<TrainReport>, SearchError> {
        let numbers = 1..=self.config.train.network.seeds;
        numbers
            .map(|number| self.train_seed(design, number, folders, start, observer))
            .collect()
    }

    /// As [`Session::train_design`], for one of the seeds, counted from 1.
    ///
    /// # Errors
    /// As there.
    pub fn train_seed(
        &self,
        design: &Design,
        number: usize,
        folders: &TrainingFolders,
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
        let folders = folders.of_seed(number);
        let TrainingFolders { work, model } = &folders;
        let checkpoint = folders.checkpoint();
        if start == Start::New {
            for (is_there, dir) in [
                (model.join(epnas_supernet::MODEL_FILE).exists(), model),
                (folders.has_checkpoint(), work),
            ] {
                if is_there {
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
        let mut seed = split(self.config.seed, &format!("train/{key}"));
        if number > 1 {
            seed = split(seed, &format!("seed/{number}"));
        }
        let epochs = config.training.epochs;
        observer.event(Event::Phase {
            phase: Phase::Training,
            total: Total::Pieces(epochs as u64),
        });
        let begun = last_checkpoint(&folders, |bytes| {
            let (compute, config) = (compute.clone(), config.clone());
            Trainer::resume_on(compute, config, Arc::clone(&data), seed, bytes)
        })?;
        let mut trainer = match begun {
            Some(trainer) => {
                // It may be of a checkpoint later or damaged.
                write_curve(work, trainer.reports())?;
                let reports = trainer.reports();
                let accuracies: Vec<_> = reports.iter().map(|r| r.validation_accuracy).collect();
                observer.event(Event::Resumed {
                    done: trainer.epoch() as u64,
                    training_macs: 0,
                    seconds: seconds(reports),
                    records: &[],
                    accuracies: &accuracies,
                });
                trainer
            }
            None => Trainer::on(compute, config, data, seed)?,
        };
        let mut saved = Instant::now();
        loop {
            let advance = trainer.advance(&mut |p| {
                observer.event(Event::ChildProgress(Progress {
                    images: p.images,
                    total_images: p.total_images,
                    loss: p.loss,
                }));
                match self.stop_requested() || saved.elapsed() > CHECKPOINT_EVERY {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            let advance = advance.map_err(|error| match error {
                SupernetError::Diverged { .. } | SupernetError::DivergedInValidation { .. } => {
                    SearchError::TrainingDiverged {
                        source: Box::new(error),
                        done: trainer.epoch(),
                        dir: work.clone(),
                    }
                }
                error => error.into(),
            })?;
            let report = match advance {
                Advance::Finished => break,
                Advance::Paused => None,
                Advance::Epoch(report) => Some(report),
            };
            if report.is_some() {
                // Before the checkpoint, after which this epoch is not trained again.
                self.save_epoch(&mut trainer, &folders)?;
                write_curve(work, trainer.reports())?;
            }
            let bytes = seal::text(trainer.checkpoint()?);
            disk::write_keeping(&checkpoint, &folders.previous_checkpoint(), &bytes)?;
            saved = Instant::now();
            if let Some(report) = report {
                observer.event(Event::Epoch {
                    epoch: report.epoch,
                    epochs,
                    loss: report.loss,
                    accuracy: report.validation_accuracy,
                    seconds: report.seconds,
                });
            }
            if self.stop_requested() && !trainer.is_finished() {
                return Err(SearchError::Stopped {
                    dir: work.to_owned(),
                    done: trainer.epoch(),
                    total: epochs,
                });
            }
        }
        // Whatever happened to them since they were written.
        self.save_model(&trainer.last_model()?, &folders.last())?;
        if let Some(best) = trainer.best_model()? {
            self.save_model(&best, &folders.best())?;
        }
        let trained = trainer.model()?;
        self.save_model(&trained, model)?;
        let report = self.report(design, &trainer, &trained, model)?;
        write_json(&work.join(RESULT_FILE), &report)?;
        Ok(report)
    }

    /// The models of the last epoch and, when that was the best so far, of the best.
    fn save_epoch(
        &self,
        trainer: &mut Trainer,
        folders: &TrainingFolders,
    ) -> Result<(), SearchError> {
        // The best epoch's model is that of the last epoch then.
        let best = match trainer.best_epoch() == Some(trainer.epoch()) {
            true => trainer.best_model()?,
            false => None,
        };
        match best {
            Some(model) => {
                self.save_model(&model, &folders.last())?;
                self.save_model(&model, &folders.best())
            }
            None => self.save_model(&trainer.last_model()?, &folders.last()),
        }
    }

    fn save_model(&self, model: &Model, dir: &Path) -> Result<(), SearchError> {
        // First, so that there is no model that does not say what it was trained on.
        ModelImages::new(&self.config.data, self.dataset()?).write(dir)?;
        Ok(model.save(dir)?)
    }

    fn report(
        &self,
        design: &Design,
        trainer: &Trainer,
        model: &Model,
        dir: &Path,
    ) -> Result<TrainReport, SearchError> {
        let test = self
            .dataset()?
            .test
            .as_ref()
            .map(|images| model.evaluate(images))
            .transpose()?;
        let record = &model.info().training;
        Ok(TrainReport {
            architecture: design.clone(),
            model: dir.to_owned(),
            seed: record.seed,
            epochs: trainer.epoch(),
            params: model.network().params(),
            macs: model.network().macs(),
            kept_epoch: record.epochs,
            validation_accuracy: record.validation_accuracy,
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
            refinements: self.config.refinements(),
            part: match train.network.images {
                TrainOn::All => TrainingPart::TrainAndValidation,
                TrainOn::Training => TrainingPart::Train,
            },
        }
    }
}

/// What `resume` makes of the latest checkpoint that is whole; `None` when there is none.
fn last_checkpoint(
    folders: &TrainingFolders,
    resume: impl Fn(&[u8]) -> Result<Trainer, SupernetError>,
) -> Result<Option<Trainer>, SearchError> {
    let mut damage = None;
    for path in [folders.checkpoint(), folders.previous_checkpoint()] {
        let Some(bytes) = disk::read_if_present(&path)? else {
            continue;
        };
        match seal::open_text(&bytes) {
            Ok(content) => {
                let trainer =
                    resume(content).map_err(|source| SearchError::TrainingCheckpoint {
                        path,
                        source: Box::new(in_settings(source)),
                    })?;
                if let Some(damage) = damage {
                    let epochs = trainer.epoch();
                    tracing::warn!(
                        "{damage}; going back to the checkpoint before, of {epochs} epochs"
                    );
                }
                return Ok(Some(trainer));
            }
            Err(message) => {
                let message = format!("damaged: {message}");
                damage = damage.or(Some(FileError::damaged(&path, message)));
            }
        }
    }
    match damage {
        Some(FileError::Damaged { path, message, .. }) => {
            let hint = format!("{TRAINING_FILE} and {PREVIOUS_TRAINING_FILE}");
            let message = format!("{message}; to train anew, move {hint} away");
            Err(FileError::damaged(&path, message).into())
        }
        Some(error) => Err(error.into()),
        None => {
            // The first epoch is told before it is kept.
            let epochs = read_curve(&folders.work).map_or(0, |curve| curve.len());
            match epochs {
                0 | 1 => Ok(None),
                epochs => Err(FileError::damaged(
                    &folders.checkpoint(),
                    format!(
                        "is missing, and {epochs} epochs are in {CURVE_FILE}: put it back from a copy, or train anew \
                         with --restart"
                    ),
                )
                .into()),
            }
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
        let of_training = key
            .strip_prefix("training.")
            .or_else(|| key.strip_prefix("refinements."));
        difference.key = match (key, of_training) {
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

/// The learning curve of a training that works in `work`, epoch by epoch; empty when there is none yet.
///
/// # Errors
/// [`SearchError`] when the file cannot be read or is damaged.
pub fn read_curve(work: &Path) -> Result<Vec<TrainerReport>, SearchError> {
    Ok(read_lines(&work.join(CURVE_FILE))?)
}

/// What the training that works in `work` gave; `None` while it is not finished.
///
/// # Errors
/// [`SearchError`] when the file cannot be read or is damaged.
pub fn read_training(work: &Path) -> Result<Option<TrainReport>, SearchError> {
    Ok(read_json(&work.join(RESULT_FILE))?)
}

fn write_curve(work: &Path, reports: &[TrainerReport]) -> Result<(), SearchError> {
    let path = work.join(CURVE_FILE);
    let mut text = String::new();
    for report in reports {
        let line = seal::json_line(report)
            .map_err(|error| FileError::damaged(&path, format!("cannot be written: {error}")))?;
        text.push_str(&line.content);
        text.push('\n');
    }
    Ok(disk::write_atomic(&path, text.as_bytes())?)
}
