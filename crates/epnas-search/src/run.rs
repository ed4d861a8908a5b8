//! The run folder: where everything of a run lies, who may write to it, and that nothing is overwritten silently.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use toml::Table;

use crate::settings::{self, SettingsError};
use epnas_disk::{self as disk, DiskError, FileError, seal};

/// Whether a run begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It begins; a folder that already holds a run is refused.
    New,
    /// It goes on from its checkpoint, or begins when the folder holds none.
    Resume,
}

/// Why a run folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file holds something else than was written.
    #[error(transparent)]
    File(FileError),
    /// The stored configuration cannot be read.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<SettingsError>,
    },
    /// The folder holds a run.
    #[error("{} already holds a run; use --resume to continue it, or another folder", dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds something else.
    #[error("{} is not empty and holds no run ({name} is in it); name a new folder", dir.display())]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// One of the files or folders in it.
        name: String,
    },
    /// The folder holds no run.
    #[error("{} holds no run (there is no config.toml in it)", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// Another process writes to the folder.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds a fleet, of which each replica is a run of its own.
    #[error("{} holds a fleet, not a run: `epnas fleet run` goes on with it, and `epnas fleet status` shows it", dir.display())]
    Fleet {
        /// The folder.
        dir: PathBuf,
    },
    /// The run was begun with other settings.
    #[error("{} was begun with other settings: {}", dir.display(), differences.join(", "))]
    Differs {
        /// The folder.
        dir: PathBuf,
        /// Each as `key (stored, given)`.
        differences: Vec<String>,
    },
}

/// The places in a run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    dir: PathBuf,
}

impl RunFolder {
    /// The places in `dir`, which need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The effective configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// The search's children, one JSON line each.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.dir.join("history.jsonl")
    }

    /// Measured latencies, one JSON line each.
    #[must_use]
    pub fn latency(&self) -> PathBuf {
        self.dir.join("latency.jsonl")
    }

    /// The baseline's folder, laid out like the run's own: `history.jsonl` and `checkpoint/`.
    #[must_use]
    pub fn random(&self) -> PathBuf {
        self.dir.join("random")
    }

    /// The fingerprint of the images that the run was begun with.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data.json")
    }

    /// What the convolutions of the children are computed in.
    #[must_use]
    pub fn precision(&self) -> PathBuf {
        self.dir.join("precision.json")
    }

    /// The result.
    #[must_use]
    pub fn best(&self) -> PathBuf {
        self.dir.join("best.json")
    }

    /// A drawing of estimates against a cost, by the cost's name: `params` or `macs`.
    #[must_use]
    pub fn pareto_drawing(&self, cost: &str) -> PathBuf {
        self.dir.join(format!("pareto-{cost}.svg"))
    }

    /// Retrained candidates, one JSON line each.
    #[must_use]
    pub fn selection(&self) -> PathBuf {
        self.dir.join("selection.jsonl")
    }

    /// Architectures of a ranking, estimated and retrained, one JSON line each.
    #[must_use]
    pub fn rank_lines(&self) -> PathBuf {
        self.dir.join("rank.jsonl")
    }

    /// How well the estimates of a ranking tell its retrained accuracies.
    #[must_use]
    pub fn rank(&self) -> PathBuf {
        self.dir.join("rank.json")
    }

    /// A drawing of it.
    #[must_use]
    pub fn rank_drawing(&self) -> PathBuf {
        self.dir.join("rank.svg")
    }

    /// Where the final training works, and the trained network: `train/` and `model/`, or for the baseline's network
    /// `train-random/` and `model-random/`.
    #[cfg(feature = "supernet")]
    #[must_use]
    pub fn training(&self, which: crate::Which) -> crate::TrainingFolders {
        let suffix = match which {
            crate::Which::Found => "",
            crate::Which::Random => "-random",
        };
        crate::TrainingFolders {
            work: self.dir.join(format!("train{suffix}")),
            model: self.dir.join(format!("model{suffix}")),
        }
    }

    /// The trained network for other programs, after `epnas run`.
    #[must_use]
    pub fn onnx(&self) -> PathBuf {
        self.dir.join("model.onnx")
    }

    /// How far the histories of other searches were read, a JSON line for each step, where they are learned from.
    #[must_use]
    pub fn pool(&self) -> PathBuf {
        self.dir.join("pool.jsonl")
    }

    /// What makes the folder that of a fleet: its replicas.
    #[must_use]
    pub fn fleet(&self) -> PathBuf {
        self.dir.join("fleet.json")
    }

    /// The run folder of a fleet's replica, counted from 0.
    #[must_use]
    pub fn replica(&self, number: usize) -> Self {
        Self::new(self.dir.join(format!("replica-{number:04}")))
    }

    /// Whether a fleet is in it, be it damaged.
    #[must_use]
    pub fn is_fleet(&self) -> bool {
        self.fleet().exists() || self.replica(0).dir().exists()
    }

    /// Fails where a fleet is and a run by itself is expected.
    ///
    /// # Errors
    /// [`RunError::Fleet`].
    pub fn require_single(&self) -> Result<(), RunError> {
        match self.is_fleet() {
            false => Ok(()),
            true => Err(RunError::Fleet {
                dir: self.dir.clone(),
            }),
        }
    }

    /// The page that `epnas report` makes of the run.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.dir.join("report.html")
    }

    /// What `epnas run` printed.
    #[must_use]
    pub fn summary(&self) -> PathBuf {
        self.dir.join("summary.json")
    }

    /// The file that is locked while a process writes to the folder.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Whether the folder holds a run.
    #[must_use]
    pub fn holds_run(&self) -> bool {
        [
            self.config(),
            self.history(),
            self.best(),
            self.dir.join("checkpoint"),
        ]
        .iter()
        .any(|path| path.exists())
    }

    /// Fails when there are children and so something that they depend on should be at `path`, where nothing is.
    #[cfg(feature = "supernet")]
    pub(crate) fn require_no_children(&self, path: &Path) -> Result<(), RunError> {
        let children = [self.history(), self.random().join("history.jsonl")];
        let some = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0);
        match children.iter().any(some) {
            false => Ok(()),
            true => Err(RunError::File(FileError::damaged(
                path,
                "is missing, and the children that the run has depend on it: put it back from a copy",
            ))),
        }
    }

    /// Fails when the folder holds files that are not a run's, so that a search does not put its own among them.
    ///
    /// # Errors
    /// [`RunError::Foreign`].
    pub fn require_free(&self) -> Result<(), RunError> {
        if self.holds_run() || self.is_fleet() {
            return Ok(());
        }
        // What a run that never began leaves, and latencies and what others had found to repeat one with.
        let own = [
            self.lock(),
            self.data(),
            self.precision(),
            self.latency(),
            self.pool(),
        ];
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let foreign = entries
            .filter(|entry| !own.contains(&entry.path()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".tmp"));
        match foreign.min() {
            None => Ok(()),
            Some(name) => Err(RunError::Foreign {
                dir: self.dir.clone(),
                name,
            }),
        }
    }

    /// The stored configuration's text.
    ///
    /// # Errors
    /// [`RunError::Missing`] when the folder holds no run.
    pub fn config_text(&self) -> Result<String, RunError> {
        let path = self.config();
        let Some(bytes) = disk::read_if_present(&path)? else {
            return Err(RunError::Missing {
                dir: self.dir.clone(),
            });
        };
        let damaged = |message: String| RunError::File(FileError::damaged(&path, message));
        let text = seal::open_text(&bytes).map_err(|message| {
            damaged(format!(
                "{message}; settings are changed with --set, or with --config and a file elsewhere"
            ))
        })?;
        String::from_utf8(text.to_owned()).map_err(|_| damaged("not UTF-8".into()))
    }
}

/// A run folder that this process alone may write to, until it is dropped.
#[derive(Debug)]
pub struct Run {
    folder: RunFolder,
    // The operating system releases the lock when the process ends, however it ends.
    _lock: File,
}

impl Run {
    /// Begins a run in `dir`, or goes on with the one in it. `config` is the effective configuration as TOML; keys in
    /// `may_differ` (or sections, with a trailing dot) may have changed since.
    ///
    /// # Errors
    /// [`RunError`] when the folder holds a run that may not be touched, or another process uses it.
    pub fn begin(
        dir: &Path,
        config: &str,
        may_differ: &[&str],
        start: Start,
    ) -> Result<Self, RunError> {
        let run = Self::prepare(dir, config, may_differ, start)?;
        run.store_config(config)?;
        Ok(run)
    }

    /// As [`Run::begin`], but writes nothing yet: a run becomes one with [`Run::store_config`], so that what fails in
    /// between leaves no run behind.
    ///
    /// # Errors
    /// As [`Run::begin`].
    pub fn prepare(
        dir: &Path,
        config: &str,
        may_differ: &[&str],
        start: Start,
    ) -> Result<Self, RunError> {
        disk::make_dir(dir)?;
        let run = Self::lock(RunFolder::new(dir))?;
        if run.folder.holds_run() {
            if start == Start::New {
                return Err(RunError::Exists {
                    dir: dir.to_owned(),
                });
            }
            run.require_settings(config, may_differ)?;
        }
        Ok(run)
    }

    /// Writes the effective configuration.
    ///
    /// # Errors
    /// [`RunError::Disk`].
    pub fn store_config(&self, config: &str) -> Result<(), RunError> {
        Ok(disk::write_atomic(
            &self.folder.config(),
            &seal::text(config),
        )?)
    }

    /// Opens a folder that holds a run, to add to it.
    ///
    /// # Errors
    /// [`RunError::Missing`] without a run, [`RunError::Locked`] when another process uses it.
    pub fn open(dir: &Path) -> Result<Self, RunError> {
        let folder = RunFolder::new(dir);
        if !folder.config().is_file() {
            return Err(RunError::Missing {
                dir: dir.to_owned(),
            });
        }
        Self::lock(folder)
    }

    /// The places in it.
    #[must_use]
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Takes back a run that never trained a child, so that the folder is free again. Measured latencies stay.
    ///
    /// # Errors
    /// [`RunError::Disk`].
    pub fn abandon(self) -> Result<(), RunError> {
        let folder = &self.folder;
        disk::remove_dir(&folder.dir.join("checkpoint"))?;
        disk::remove(&folder.history())?;
        Ok(disk::remove(&folder.config())?)
    }

    fn lock(folder: RunFolder) -> Result<Self, RunError> {
        let lock = lock_file(&folder.lock(), &folder.dir)?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// Checks that the stored configuration is `config`, less the keys in `may_differ` (or sections, with a trailing dot).
    ///
    /// # Errors
    /// [`RunError::Differs`] with every key that is not the same; when the stored one cannot be read.
    pub fn require_settings(&self, config: &str, may_differ: &[&str]) -> Result<(), RunError> {
        let text = match self.folder.config_text() {
            Ok(text) => text,
            Err(RunError::Missing { .. }) => {
                return Err(RunError::File(FileError::damaged(
                    &self.folder.config(),
                    "is missing, and the folder holds a run: put it back from a copy, or name another folder",
                )));
            }
            Err(error) => return Err(error),
        };
        let stored = settings::parse_table(&text).map_err(|source| RunError::Config {
            path: self.folder.config(),
            source: Box::new(source),
        })?;
        let given = settings::parse_table(config).map_err(|source| RunError::Config {
            path: PathBuf::from("the given configuration"),
            source: Box::new(source),
        })?;
        let differences = differences(&stored, &given, may_differ);
        if differences.is_empty() {
            return Ok(());
        }
        Err(RunError::Differs {
            dir: self.folder.dir.clone(),
            differences,
        })
    }
}

/// Locks a file, which is made if need be, until it is dropped. `dir` is what is said to be in use where another process has it.
///
/// # Errors
/// [`RunError::Locked`], or when the file cannot be made.
pub fn lock_file(path: &Path, dir: &Path) -> Result<File, RunError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|source| DiskError::new("write", path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::Locked {
            dir: dir.to_owned(),
        }),
        // Some file systems of clusters have no locks. Then it is for the user to start one process a folder.
        Err(TryLockError::Error(source)) if has_no_locks(&source) => {
            tracing::warn!("{} cannot be locked: {source}", path.display());
            Ok(file)
        }
        Err(TryLockError::Error(source)) => Err(DiskError::new("lock", path, source).into()),
    }
}

/// Whether another process has a file locked, which need not exist.
#[must_use]
pub fn is_locked(path: &Path) -> bool {
    let file = File::open(path);
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Whether this is the file system's answer where it has no locks: ENOSYS, EOPNOTSUPP or, of NFS without its lock manager,
/// ENOLCK.
fn has_no_locks(error: &std::io::Error) -> bool {
    const ENOLCK: i32 = 37;
    error.kind() == std::io::ErrorKind::Unsupported
        || cfg!(target_os = "linux") && error.raw_os_error() == Some(ENOLCK)
}

/// Keys whose values differ between two configurations, as `key (stored, given)`.
fn differences(stored: &Table, given: &Table, may_differ: &[&str]) -> Vec<String> {
    let (stored, given) = (settings::leaves(stored), settings::leaves(given));
    let keys: std::collections::BTreeSet<&String> = stored.keys().chain(given.keys()).collect();
    let unset = String::from("unset");
    keys.into_iter()
        .filter(|key| stored.get(*key) != given.get(*key) && !settings::is_among(key, may_differ))
        .map(|key| {
            let value = |side: &std::collections::BTreeMap<String, String>| {
                side.get(key).unwrap_or(&unset).clone()
            };
            format!("{key} (stored {}, given {})", value(&stored), value(&given))
        })
        .collect()
}
