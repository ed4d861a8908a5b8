//! TensorBoard's event files of a run, whole or as it grows.
//!
//! A folder for each part of the run, as TensorBoard's runs: `search`, `random` and the final trainings. Files are named after
//! the time at which they are begun, since TensorBoard reads a folder's files in the order of their names; a new one says that
//! all before it is void, and takes its place.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use epnas_report::page::{self, RunPage, Training};
use epnas_report::raster::{self, Theme};
use epnas_report::tensorboard::{Events, SearchEvents, file_name};
use epnas_search::{Record, RunFolder};

use crate::output;

/// The event files of one run.
#[derive(Debug)]
pub(crate) struct EventFiles {
    root: PathBuf,
    /// When the run began, in seconds since the beginning of 1970.
    began: f64,
    searches: BTreeMap<&'static str, Search>,
    trainings: BTreeMap<String, Curve>,
}

/// A search as it is written.
#[derive(Debug)]
struct Search {
    file: PathBuf,
    events: SearchEvents,
    /// Children written.
    written: usize,
    /// The wall time of the last.
    time: f64,
    /// The architecture that was drawn last.
    drawn: String,
}

/// A training as it is written.
#[derive(Debug)]
struct Curve {
    file: PathBuf,
    events: Events,
    epochs: usize,
    time: f64,
}

impl EventFiles {
    /// Files under `root`, in a folder that is called as the run is, of the run in `dir`.
    pub(crate) fn new(root: &Path, name: &str, dir: &Path) -> Self {
        let folder = RunFolder::new(dir);
        // Written when the run begins, and not again.
        let begun = [folder.data(), folder.config()];
        let begun = begun
            .iter()
            .find_map(|path| path.metadata().ok()?.modified().ok());
        Self {
            root: root.join(Self::folder(name)),
            began: seconds(begun.unwrap_or(UNIX_EPOCH)),
            searches: BTreeMap::new(),
            trainings: BTreeMap::new(),
        }
    }

    /// What the folder of a run of this name is called.
    pub(crate) fn folder(name: &str) -> String {
        name.replace(['/', '\\'], "_")
    }

    /// Writes what is new in the run since the last call.
    pub(crate) fn update(&mut self, run: &RunPage) -> anyhow::Result<()> {
        for (part, records) in [("search", &run.children), ("random", &run.random)] {
            if !records.is_empty() {
                self.search(part, records, run)?;
            }
        }
        // Nothing more comes of the last step once there is a result.
        if run.best.is_some() {
            self.end_steps()?;
        }
        for training in &run.trainings {
            self.training(training)?;
        }
        Ok(())
    }

    /// The run began anew: what was written of it is void.
    pub(crate) fn begin_anew(&mut self) {
        self.searches.clear();
        self.trainings.clear();
    }

    /// Writes what waits for more: the histograms of the last step.
    pub(crate) fn finish(&mut self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = self
            .trainings
            .values()
            .map(|one| one.file.clone())
            .collect();
        self.end_steps()?;
        files.extend(
            std::mem::take(&mut self.searches)
                .into_values()
                .map(|search| search.file),
        );
        self.trainings.clear();
        files.sort();
        Ok(files)
    }

    fn end_steps(&mut self) -> anyhow::Result<()> {
        for search in self.searches.values_mut() {
            append(&search.file, &search.events.finish())?;
        }
        Ok(())
    }

    fn search(
        &mut self,
        part: &'static str,
        records: &[Record],
        run: &RunPage,
    ) -> anyhow::Result<()> {
        if !self.searches.contains_key(part) {
            let search = Search {
                file: begin(&self.root.join(part))?,
                events: SearchEvents::new(self.began).of_levels(run.space.levels()),
                written: 0,
                time: self.began,
                drawn: String::new(),
            };
            self.searches.insert(part, search);
        }
        let Some(search) = self.searches.get_mut(part) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        let mut new = records.iter().skip(search.written).peekable();
        while let Some(record) = new.next() {
            search.written += 1;
            search.time += record.seconds;
            bytes.extend(search.events.child(record, search.time));
            let is_last = new
                .peek()
                .is_none_or(|next| (next.iteration, next.step) != (record.iteration, record.step));
            // The best network so far, where a step of the search ends.
            if is_last {
                bytes.extend(search.draw(record.index, run)?);
            }
        }
        append(&search.file, &bytes)
    }

    fn training(&mut self, training: &Training) -> anyhow::Result<()> {
        if training.epochs.is_empty() {
            return Ok(());
        }
        let known = self
            .trainings
            .get(&training.name)
            .map_or(0, |one| one.epochs);
        if known > training.epochs.len() {
            self.trainings.remove(&training.name);
        }
        if !self.trainings.contains_key(&training.name) {
            let part = format!(
                "train-{}",
                training.name.replace([' ', ','], "-").replace("--", "-")
            );
            let curve = Curve {
                file: begin(&self.root.join(part))?,
                events: Events::new(self.began),
                epochs: 0,
                time: self.began,
            };
            self.trainings.insert(training.name.clone(), curve);
        }
        let Some(curve) = self.trainings.get_mut(&training.name) else {
            return Ok(());
        };
        for epoch in training.epochs.iter().skip(curve.epochs) {
            curve.time += epoch.seconds;
            curve.epochs += 1;
            let scalars = [
                ("train/loss", Some(epoch.loss)),
                ("train/accuracy", Some(epoch.training_accuracy)),
                ("train/learning_rate", Some(epoch.learning_rate)),
                ("validation/loss", epoch.validation_loss),
                ("validation/accuracy", epoch.validation_accuracy),
            ];
            for (tag, value) in scalars {
                if let Some(value) = value {
                    curve
                        .events
                        .scalar(tag, epoch.epoch as u64, curve.time, value);
                }
            }
        }
        append(&curve.file, &curve.events.take())
    }
}

impl Search {
    /// The best network so far as a picture, unless it is the one that was drawn last.
    fn draw(&mut self, step: u64, run: &RunPage) -> anyhow::Result<Vec<u8>> {
        let best = self.events.best().map(|record| record.arch.clone());
        let Some(arch) = best.filter(|arch| arch.to_string() != self.drawn) else {
            return Ok(Vec::new());
        };
        self.drawn = arch.to_string();
        let Some(svg) = page::picture(run, &arch) else {
            return Ok(Vec::new());
        };
        let png = raster::png(&svg, Theme::Light, 1.0)?;
        let events = self.events.events();
        events.image("search/best_network", step, self.time, &png)?;
        Ok(events.take())
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}

/// Begins a file in `dir` in place of those that are there.
fn begin(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut now = seconds(SystemTime::now());
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("events.out.tfevents.") && name.ends_with(".epnas")
    };
    let old: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
    // Two in one second would have one name.
    while old.contains(&dir.join(file_name(now))) {
        now += 1.0;
    }
    let file = dir.join(file_name(now));
    output::write_file(&file, &[])?;
    for path in old {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(file)
}

fn append(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}
