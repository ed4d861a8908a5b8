//! Tables of known accuracies as evaluators: a search of them takes milliseconds, and what it missed is known.
//!
//! NAS-Bench-Macro's file is read as it is published, a table of your own as JSON or CSV: see [`Table::read`].

mod nas_bench_macro;
mod own;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use epnas_arch::{
    Arch, ChoiceArch, Cost, EvaluateError, Evaluator, Job, Measurement, Space, SpaceError,
};

use crate::admission::Meter;
use epnas_disk::{self as disk, DiskError};

/// What is known of one architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Accuracy of each recorded training, 0 to 1; at least one.
    pub accuracies: Vec<f64>,
    /// Trainable parameters and multiply-accumulates; `None` when not recorded.
    pub cost: Option<Cost>,
}

impl Row {
    /// Mean over the recorded trainings.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.accuracies.iter().sum::<f64>() / self.accuracies.len() as f64
    }

    /// What a search sees that draws training number `draw`.
    fn seen(&self, draw: u64) -> f64 {
        let among = self.accuracies.len() as u64;
        self.accuracies[usize::try_from(draw % among).unwrap_or(0)]
    }
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Neither JSON nor CSV, by its name.
    #[error("{}: expected a name that ends in .json or .csv", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what its format asks for.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected.
        message: String,
    },
}

/// Known accuracies of the architectures of a space.
#[derive(Debug, Clone)]
pub struct Table {
    name: String,
    space: Space,
    /// What stands for the levels that a shorter architecture lacks.
    padding: Option<u16>,
    rows: BTreeMap<Arch, Row>,
}

impl Table {
    /// A table of rows. Architectures are made canonical; `padding` is the choice that fills the levels which a shorter
    /// architecture of plain choices lacks.
    ///
    /// # Errors
    /// In words: no rows, an architecture that is not of the space or comes twice, an accuracy outside 0 to 1.
    pub fn new(
        name: impl Into<String>,
        space: Space,
        padding: Option<u16>,
        rows: impl IntoIterator<Item = (Arch, Row)>,
    ) -> Result<Self, String> {
        let name = name.into();
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(format!("the name {name:?}, expected a line of text"));
        }
        space.validate().map_err(|error| error.to_string())?;
        let mut known = BTreeMap::new();
        for (arch, row) in rows {
            space.check(&arch).map_err(|error| error.to_string())?;
            let wrong = |accuracy: &&f64| !(0.0..=1.0).contains(*accuracy);
            match row.accuracies.iter().find(wrong) {
                Some(found) => {
                    return Err(format!(
                        "{arch} has the accuracy {found}, expected 0 to 1 (not percent)"
                    ));
                }
                None if row.accuracies.is_empty() => return Err(format!("{arch} has no accuracy")),
                None => {}
            }
            if known.insert(space.canonical(&arch), row).is_some() {
                return Err(format!("{arch} comes twice"));
            }
        }
        if known.is_empty() {
            return Err("the table has no rows".to_owned());
        }
        let levels = space.levels();
        let short = known.keys().find(|arch| arch.len() < levels);
        if let (Some(_), Some(short)) = (padding, short) {
            return Err(format!(
                "{short} has {} of {levels} levels, expected all of them: padding says what stands for shorter ones",
                short.len()
            ));
        }
        if known.keys().all(|arch| arch.len() < levels) {
            return Err(format!("no row has all {levels} levels"));
        }
        let table = Self {
            name,
            space,
            padding,
            rows: known,
        };
        if let (Some(choice), Space::Choices(space)) = (padding, &table.space)
            && let Some(size) = space
                .sizes
                .iter()
                .find(|&&size| size <= usize::from(choice))
        {
            return Err(format!(
                "padding is choice {choice}, but a level has only {size} choices"
            ));
        }
        Ok(table)
    }

    /// Reads a table: NAS-Bench-Macro's JSON, or a table of one's own in the JSON or CSV of `docs/tables.md`.
    ///
    /// # Errors
    /// [`TableError`] naming the file, and the row or column.
    pub fn read(path: &Path) -> Result<Self, TableError> {
        let bytes = disk::read_if_present(path)?.ok_or_else(|| {
            DiskError::new(
                "read",
                path,
                std::io::Error::from(std::io::ErrorKind::NotFound),
            )
        })?;
        Self::parse(path, &bytes)
    }

    /// As [`Table::read`], of a file's contents; `path` gives the format, the table's name and what errors name.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, TableError> {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let table = match extension.to_str() {
            Some("json") if nas_bench_macro::is_one(bytes) => nas_bench_macro::parse(name, bytes),
            Some("json") => own::parse_json(name, bytes),
            Some("csv") => own::parse_csv(name, bytes),
            _ => {
                let path = path.to_owned();
                return Err(TableError::Format { path });
            }
        };
        table.map_err(|message| TableError::Content {
            path: path.to_owned(),
            message,
        })
    }

    /// The file's name without its ending, or the name it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The space of its architectures.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Architectures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none. There always are some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The architectures in order, with what is known of them.
    pub fn rows(&self) -> impl Iterator<Item = (&Arch, &Row)> {
        self.rows.iter()
    }

    /// What is known of an architecture, which is padded to full length where the table says with what.
    #[must_use]
    pub fn get(&self, arch: &Arch) -> Option<&Row> {
        match (arch, self.padding) {
            (Arch::Choices(arch), Some(choice)) if arch.choices.len() < self.space.levels() => {
                let mut choices = arch.choices.clone();
                choices.resize(self.space.levels(), choice);
                self.rows.get(&Arch::Choices(ChoiceArch { choices }))
            }
            _ => self.rows.get(&self.space.canonical(arch)),
        }
    }

    /// Whether architectures of every length can be looked up, as a progressive search needs: by padding, or because
    /// there are rows of each length.
    #[must_use]
    pub fn knows_prefixes(&self) -> bool {
        let lengths: std::collections::BTreeSet<usize> = self.rows.keys().map(Arch::len).collect();
        self.padding.is_some() || lengths.len() == self.space.levels()
    }

    /// The highest mean accuracy of a full-length architecture.
    #[must_use]
    pub fn best(&self) -> f64 {
        let full = self.full_length().map(|(_, row)| row.mean());
        full.fold(f64::MIN, f64::max)
    }

    /// The rows of all levels.
    pub(crate) fn full_length(&self) -> impl Iterator<Item = (&Arch, &Row)> {
        self.rows().filter(|(arch, _)| self.is_full_length(arch))
    }

    /// Whether an architecture has all levels, or a padding stands for those that it lacks.
    pub(crate) fn is_full_length(&self, arch: &Arch) -> bool {
        self.padding.is_some() || arch.len() == self.space.levels()
    }
}

/// A table that a search asks. It shows one recorded training of every architecture, as a search with one seed would
/// see.
#[derive(Debug, Clone)]
pub struct TableEvaluator {
    table: Arc<Table>,
    draw: u64,
}

impl TableEvaluator {
    /// Shows recorded training `draw` modulo how many there are.
    #[must_use]
    pub fn new(table: Arc<Table>, draw: u64) -> Self {
        Self { table, draw }
    }
}

impl Evaluator for TableEvaluator {
    fn evaluate(&mut self, job: Job<'_>) -> Result<Measurement, EvaluateError> {
        let row = self.table.get(job.arch);
        let row = row.ok_or_else(|| EvaluateError::child("the table does not have it"))?;
        let cost = row.cost.unwrap_or(Cost { params: 0, macs: 0 });
        Ok(Measurement {
            estimate: row.seen(self.draw),
            params: cost.params,
            macs: cost.macs,
            seconds: 0.0,
            images: 0,
            epochs: Vec::new(),
        })
    }

    fn cost(&self, arch: &Arch) -> Option<Cost> {
        self.table.get(arch)?.cost
    }

    fn snapshot(&self) -> Result<Vec<u8>, EvaluateError> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), EvaluateError> {
        Ok(())
    }

    fn reset(&mut self, seed: u64) -> Result<(), EvaluateError> {
        self.draw = seed;
        Ok(())
    }
}

/// The costs that a table has recorded.
#[derive(Debug, Clone)]
pub struct TableMeter(pub Arc<Table>);

impl Meter for TableMeter {
    fn cost(&self, arch: &Arch) -> Option<Cost> {
        self.0.get(arch)?.cost
    }

    fn latency(&self, _: &Arch) -> Result<f64, EvaluateError> {
        Err(EvaluateError::child("a table has no network to time"))
    }
}

/// A space of plain choices that holds all of `archs`: as many choices per level as are seen.
fn choices_of<'a>(archs: impl Iterator<Item = &'a Arch>) -> Result<Space, SpaceError> {
    let mut sizes: Vec<usize> = Vec::new();
    for arch in archs {
        if let Arch::Choices(arch) = arch {
            sizes.resize(sizes.len().max(arch.choices.len()), 1);
            for (size, &choice) in sizes.iter_mut().zip(&arch.choices) {
                *size = (*size).max(usize::from(choice) + 1);
            }
        }
    }
    let space = Space::Choices(epnas_arch::ChoiceSpace { sizes });
    space.validate().map(|()| space)
}
