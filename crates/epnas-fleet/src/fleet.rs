//! A fleet: its configuration, its replicas, and what of its work is done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use epnas_arch::seed::split;
use epnas_disk::{FileError, read_if_present, read_json, write_json};
use epnas_search::select::{Candidate, SelectionRecord};
use epnas_search::{
    BaselineKind, Best, Config, FleetConfig, Run, RunFolder, SelectConfig, Session, Start,
    StrategyKind, Which, read_training,
};
use epnas_supernet::{DeviceKind, MODEL_FILE, WEIGHTS_FILE};
use serde::{Deserialize, Serialize};

use crate::derived::read_derived;
use crate::ended::EndedSearch;
use crate::error::FleetError;
use crate::folder::FleetFolder;
use crate::merge::Merged;
use crate::outcome::Outcomes;
use crate::snapshot::Snapshot;
use crate::stage::Stage;

/// Version of `fleet.json`.
const VERSION: u32 = 1;

/// A search of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Counted from 0.
    pub number: usize,
    /// Its root seed.
    pub seed: u64,
}

/// `fleet.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Description {
    version: u32,
    /// What networks are trained on.
    device: DeviceKind,
    replicas: Vec<Replica>,
}

/// What says that everything is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    /// Of which merged searches.
    merged: String,
    /// Of which retraining.
    selection: String,
    /// Of which final training; absent without one.
    training: Option<String>,
    architecture: String,
}

/// The seed of a replica: a search by itself with this `--seed` finds the same. It has 63 bits, as seeds in configurations.
#[must_use]
pub fn replica_seed(root: u64, number: usize) -> u64 {
    split(root, &format!("replica/{number}")) >> 1
}

/// A folder with searches that belong together.
#[derive(Debug, Clone)]
pub struct Fleet {
    folder: FleetFolder,
    config: Config,
    description: Description,
}

impl Fleet {
    /// Makes `dir` the folder of a fleet, or opens that of the same fleet, which may get more replicas. Images are read first,
    /// so that where there are none nothing is left behind.
    ///
    /// # Errors
    /// [`FleetError`] when the folder holds something else, or a fleet of other settings, images or of another device.
    pub fn create(dir: &Path, config: Config, device: DeviceKind) -> Result<Self, FleetError> {
        let folder = FleetFolder::new(dir);
        let run = folder.run();
        let is_single = run.history().exists() || run.best().exists();
        if !run.is_fleet() && is_single {
            return Err(FleetError::Single {
                dir: dir.to_owned(),
            });
        }
        let stored = match run.fleet().exists() {
            true => Some(Description::read(&folder)?),
            false => None,
        };
        let asked = config.fleet.replicas;
        let found = match &stored {
            Some(stored) => stored.replicas.len(),
            None => folder.begun(),
        };
        if found > asked {
            let dir = dir.to_owned();
            return Err(FleetError::Fewer { dir, found, asked });
        }
        if let Some(stored) = &stored
            && stored.device != device
        {
            return Err(FleetError::Device {
                dir: dir.to_owned(),
                stored: stored.device.to_string(),
                given: device.to_string(),
            });
        }
        let session = Session::new(config.clone())?;
        session.dataset()?;
        let _run = session.claim_fleet(dir, Start::Resume)?;
        let replica = |number| Replica {
            number,
            seed: replica_seed(config.seed, number),
        };
        let description = Description {
            version: VERSION,
            device,
            replicas: (0..asked).map(replica).collect(),
        };
        if stored.as_ref() != Some(&description) {
            write_json(&run.fleet(), &description)?;
        }
        Ok(Self {
            folder,
            config,
            description,
        })
    }

    /// Opens the folder of a fleet.
    ///
    /// # Errors
    /// [`FleetError`] when it holds none, or a file of it was changed.
    pub fn open(dir: &Path) -> Result<Self, FleetError> {
        let folder = FleetFolder::new(dir);
        let description = Description::read(&folder)?;
        let text = folder.run().config_text()?;
        let config = Config::from_toml(&text)
            .map_err(|source| FileError::damaged(&folder.run().config(), source.to_string()))?;
        Ok(Self {
            folder,
            config,
            description,
        })
    }

    /// The same, which no other process may conclude meanwhile.
    ///
    /// # Errors
    /// When another process has it.
    pub fn lock(&self) -> Result<Run, FleetError> {
        Ok(Run::open(self.folder.dir())?)
    }

    /// Its places.
    #[must_use]
    pub fn folder(&self) -> &FleetFolder {
        &self.folder
    }

    /// The configuration of all.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its searches.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.description.replicas
    }

    /// What its networks are trained on.
    #[must_use]
    pub fn device(&self) -> DeviceKind {
        self.description.device
    }

    /// The configuration of a replica's run: that of the fleet with a seed of its own, and without a selection, which is that
    /// of the fleet.
    #[must_use]
    pub fn replica_config(&self, replica: Replica) -> Config {
        Config {
            seed: replica.seed,
            select: SelectConfig {
                top: 0,
                ..self.config.select.clone()
            },
            fleet: FleetConfig {
                pooled: self.config.fleet.pooled,
                ..FleetConfig::default()
            },
            ..self.config.clone()
        }
    }

    /// How many pieces a stage has. Those of the selection are known after the merge; before it, how many there are at most.
    ///
    /// # Errors
    /// When a file of the fleet cannot be read.
    pub fn pieces(&self, stage: Stage) -> Result<usize, FleetError> {
        Ok(self.snapshot()?.pieces(stage))
    }

    /// How many candidates there are at most.
    #[must_use]
    pub fn most_candidates(&self) -> usize {
        most_candidates(&self.config, self.replicas().len())
    }

    /// How many candidates of the searches there are at most, and of their baselines as many.
    pub(crate) fn most_of_a_list(&self) -> usize {
        self.config.fleet.candidates.unwrap_or(usize::MAX)
    }

    /// The pieces of a stage that are not done.
    ///
    /// # Errors
    /// When a file of the fleet cannot be read.
    pub fn missing(&self, stage: Stage) -> Result<Vec<usize>, FleetError> {
        self.snapshot()?.missing(stage)
    }

    /// Those of some pieces of a stage that are not done, without a look at the others: thousands of jobs ask this, each for its
    /// own.
    ///
    /// # Errors
    /// As [`Fleet::missing`].
    pub fn missing_of(&self, stage: Stage, pieces: &[usize]) -> Result<Vec<usize>, FleetError> {
        let mut missing = Vec::new();
        match stage {
            Stage::Search => {
                for &piece in pieces {
                    if self.ended(piece)?.is_none() {
                        missing.push(piece);
                    }
                }
            }
            Stage::Select => {
                let Some(merged) = self.whole_merge()? else {
                    return Ok(pieces.to_vec());
                };
                let candidates = merged.candidates(&self.config.space);
                let settings = self.selection_settings()?;
                // How many there would be was not known when the pieces were dealt.
                for (piece, candidate) in
                    pieces.iter().filter_map(|&p| Some((p, candidates.get(p)?)))
                {
                    if self.retrained_one(candidate, &settings)?.is_none() {
                        missing.push(piece);
                    }
                }
            }
            Stage::Merge | Stage::Train => missing = self.missing(stage)?,
        }
        Ok(missing)
    }

    /// The files that processes have locked while they do these pieces.
    ///
    /// # Errors
    /// When a file of the fleet cannot be read.
    pub fn locks(
        &self,
        stage: Stage,
        pieces: &[usize],
    ) -> Result<BTreeMap<usize, PathBuf>, FleetError> {
        Ok(match stage {
            Stage::Search => pieces
                .iter()
                .map(|&piece| (piece, self.folder.replica(piece).lock()))
                .collect(),
            Stage::Select => {
                let Some(merged) = self.whole_merge()? else {
                    return Ok(BTreeMap::new());
                };
                let space = &self.config.space;
                let candidates = merged.candidates(space);
                let lock = |piece: usize| {
                    let key = space.key(&candidates.get(piece)?.arch);
                    Some((piece, self.folder.candidate_lock(&key)))
                };
                pieces.iter().filter_map(|&piece| lock(piece)).collect()
            }
            Stage::Merge | Stage::Train => BTreeMap::from([(0, self.folder.run().lock())]),
        })
    }

    /// What of the work is done.
    pub(crate) fn snapshot(&self) -> Result<Snapshot<'_>, FleetError> {
        Snapshot::of(self)
    }

    /// Fails when a stage is not done.
    ///
    /// # Errors
    /// [`FleetError::Unfinished`].
    pub fn require(&self, stage: Stage) -> Result<(), FleetError> {
        let missing = self.missing(stage)?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(FleetError::Unfinished {
            dir: self.folder.dir().to_owned(),
            stage,
            missing,
            of: self.pieces(stage)?,
        })
    }

    /// What a replica's search says of itself once it has ended; `None` until then, or when it may take longer now.
    pub(crate) fn ended(&self, number: usize) -> Result<Option<EndedSearch>, FleetError> {
        let ended = EndedSearch::read(&self.folder.ended(number))?;
        Ok(ended.filter(|ended| {
            ended.budget == self.config.search.budget && ended.baseline == self.config.baseline.kind
        }))
    }

    /// Says that a search has ended, with what it found.
    pub(crate) fn note_end(&self, number: usize, best: &Best) -> Result<(), FleetError> {
        let replica = self.folder.replica(number);
        let random = best.random.as_ref();
        let ended = EndedSearch {
            notes: [
                best.notes.first().cloned(),
                random.and_then(|random| random.note.clone()),
            ],
            budget: self.config.search.budget.clone(),
            baseline: self.config.baseline.kind,
            ..EndedSearch::of(&replica, random.is_some())?
        };
        Ok(ended.write(&self.folder.ended(number))?)
    }

    /// What all searches found together; `None` while there is more to merge than was merged.
    ///
    /// # Errors
    /// When a file of the fleet cannot be read.
    pub fn merged(&self) -> Result<Option<Merged>, FleetError> {
        Ok(self.snapshot()?.merged)
    }

    /// The same, whether there is more to merge or not.
    pub(crate) fn whole_merge(&self) -> Result<Option<Merged>, FleetError> {
        Ok(self
            .latest_merge()?
            .filter(|merged| merged.absent.is_empty()))
    }

    /// The latest, which may be of some searches only.
    pub(crate) fn latest_merge(&self) -> Result<Option<Merged>, FleetError> {
        Ok(read_derived(&self.folder.merged())?)
    }

    /// The run folder of the first search that was merged: all were trained in the same precision on the same kind of device.
    pub(crate) fn first_search(&self, merged: &Merged) -> Option<RunFolder> {
        let first = merged.replicas.first()?;
        Some(self.folder.replica(first.replica.number))
    }

    /// What a merge of these searches depends on: their children and notes, and how many of each may win.
    pub(crate) fn merge_key(&self, ended: &[Option<EndedSearch>]) -> String {
        let text = format!(
            "{ended:?} {} {:?}",
            self.config.select.top, self.config.fleet.candidates
        );
        checksum(&text)
    }

    /// The candidates as far as they are retrained with the present settings, in order.
    pub(crate) fn retrained(
        &self,
        merged: &Merged,
    ) -> Result<Vec<Option<SelectionRecord>>, FleetError> {
        let candidates = merged.candidates(&self.config.space);
        let settings = self.selection_settings()?;
        let candidates = candidates.iter();
        candidates
            .map(|candidate| self.retrained_one(candidate, &settings))
            .collect()
    }

    /// A candidate, if it is retrained with these settings.
    pub(crate) fn retrained_one(
        &self,
        candidate: &Candidate,
        settings: &str,
    ) -> Result<Option<SelectionRecord>, FleetError> {
        let space = &self.config.space;
        let key = space.key(&candidate.arch);
        let record: Option<SelectionRecord> = read_derived(&self.folder.candidate(&key))?;
        Ok(record.filter(|record| record.settings == settings && space.key(&record.arch) == key))
    }

    /// What a candidate's record says of its settings.
    pub(crate) fn selection_settings(&self) -> Result<String, FleetError> {
        Ok(self.config.selection_key(self.device())?)
    }

    /// Whether the winner among what was merged is chosen, and trained if it is to be.
    pub(crate) fn is_concluded(&self, merged: &Merged) -> Result<bool, FleetError> {
        let run = self.folder.run();
        let done: Option<Done> = read_derived(&self.folder.done())?;
        let best: Option<Best> = read_derived(&run.best())?;
        let outcomes: Option<Outcomes> = read_derived(&self.folder.outcomes())?;
        let (Some(done), Some(best), Some(_)) = (done, best, outcomes) else {
            return Ok(false);
        };
        let mut results = vec![run.report()];
        let first = self.first_search(merged);
        if first.is_some_and(|first| first.precision().exists()) {
            results.push(run.precision());
        }
        if self.config.select.top > 0 {
            results.push(run.selection());
        }
        if self.config.fleet.train {
            let model = run.training(Which::Found).model;
            results.push(run.onnx());
            results.extend([model.join(MODEL_FILE), model.join(WEIGHTS_FILE)]);
        }
        let has_content = |path: &PathBuf| path.metadata().is_ok_and(|meta| meta.len() > 0);
        let is_trained = || {
            let training = read_training(&run.training(Which::Found).work);
            Ok::<_, FleetError>(matches!(training, Ok(Some(_))) && is_json(&run.summary())?)
        };
        let is_there =
            results.iter().all(has_content) && (!self.config.fleet.train || is_trained()?);
        Ok(is_there && self.done(merged, best.architecture.to_string())? == done)
    }

    fn done(&self, merged: &Merged, architecture: String) -> Result<Done, FleetError> {
        let training = || serde_json::to_string(&self.config.train).unwrap_or_default();
        Ok(Done {
            merged: merged.key.clone(),
            selection: checksum(&self.selection_settings()?),
            training: self.config.fleet.train.then(|| checksum(&training())),
            architecture,
        })
    }

    /// Says that all is done.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_done(&self, architecture: String) -> Result<(), FleetError> {
        match self.merged()? {
            Some(merged) => {
                let done = self.done(&merged, architecture)?;
                Ok(write_json(&self.folder.done(), &done)?)
            }
            None => Ok(()),
        }
    }
}

/// The best of the searches, and with a baseline those of the baselines.
pub(crate) fn candidate_lists(config: &Config) -> usize {
    match (config.baseline.kind, config.search.strategy) {
        (BaselineKind::None, _) | (_, StrategyKind::Random) => 1,
        (BaselineKind::Random, _) => 2,
    }
}

/// How many candidates so many searches have at most.
pub(crate) fn most_candidates(config: &Config, replicas: usize) -> usize {
    let of_a_list = config.fleet.candidates.unwrap_or(usize::MAX);
    candidate_lists(config) * of_a_list.min(replicas * config.select.top)
}

/// Whether a file that is written without a checksum is whole.
fn is_json(path: &Path) -> Result<bool, FleetError> {
    let bytes = read_if_present(path)?.unwrap_or_default();
    Ok(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok())
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

impl Description {
    fn read(folder: &FleetFolder) -> Result<Self, FleetError> {
        let path = folder.run().fleet();
        let remedy = "delete it, and `epnas fleet run` or `submit` with this folder makes it again";
        let description: Option<Self> = match read_json(&path) {
            Err(FileError::Damaged { message, .. }) => {
                let message = format!("{message}; {remedy}");
                return Err(FileError::damaged(&path, message).into());
            }
            read => read?,
        };
        let dir = || folder.dir().to_owned();
        let description = description.ok_or_else(|| match folder.run().is_fleet() {
            true => FleetError::Lost { dir: dir() },
            false => FleetError::Missing { dir: dir() },
        })?;
        match description.version {
            VERSION => Ok(description),
            found => {
                let message = format!("has version {found}, expected {VERSION}");
                Err(FileError::damaged(&path, message).into())
            }
        }
    }
}
