//! The `[fleet]` section: many searches as one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::range;
use crate::settings::SettingsError;

/// Searches beside one another, from seeds of their own, and what is made of them (Perez-Rua et al., 2018, section 5,
/// figure 6: several searches, of which the best counts).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FleetConfig {
    /// How many searches there are, each with a seed that derives from the root seed. Default 4, range 1 to 100,000.
    pub replicas: usize,
    /// Whether the surrogate of every replica learns from the children of all. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pooled: bool,
    /// How many of the best are retrained, over all replicas; as many again of their baselines. Default: the `select.top` of
    /// each; range 1 to 1,000,000.
    pub candidates: Option<usize>,
    /// Whether the network that is found is trained from scratch in the end. Default true.
    pub train: bool,
    /// Jobs of Slurm.
    pub slurm: SlurmConfig,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            replicas: 4,
            pooled: false,
            candidates: None,
            train: true,
            slurm: SlurmConfig::default(),
        }
    }
}

/// What each job asks Slurm for, and how jobs are cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmConfig {
    /// Partition. Default: the cluster's.
    pub partition: Option<String>,
    /// GPUs of each job: 1, or 0 (default) to train on the CPU.
    pub gpus: usize,
    /// Cores of each job; it computes with as many threads. Default: what the cluster gives, and all of that; range 1 to 1024.
    pub cpus: Option<usize>,
    /// Memory of each job, such as "16G". Default: the cluster's.
    pub memory: Option<String>,
    /// Time limit of each job, as sbatch takes it: minutes, "4:00:00" or "1-12". Default: the cluster's.
    pub time: Option<String>,
    /// How long before its time limit a job saves what it has and goes back to the queue. Where a child takes longer, the one in
    /// progress is trained again. Default "2m", at least 30s.
    pub notice: String,
    /// Jobs of an array at most: each does its share of the replicas or candidates, one after another. Default: a job for each;
    /// range 1 to 1,000,000.
    pub jobs: Option<usize>,
    /// How many of an array's jobs may run at a time. Default: as many as the cluster lets; range 1 to 1,000,000.
    pub at_once: Option<usize>,
    /// More options for sbatch, such as ["--account=vision", "--constraint=a100"].
    pub options: Vec<String>,
    /// Lines of shell that each job begins with, such as ["module load cuda"].
    pub setup: Vec<String>,
}

impl Default for SlurmConfig {
    fn default() -> Self {
        Self {
            partition: None,
            gpus: 0,
            cpus: None,
            memory: None,
            time: None,
            notice: "2m".to_owned(),
            jobs: None,
            at_once: None,
            options: Vec::new(),
            setup: Vec::new(),
        }
    }
}

impl FleetConfig {
    /// Whether nothing was said of fleets, so that a run by itself need not mention them.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`SettingsError::Value`] for the first key out of range.
    pub fn validate(&self) -> Result<(), SettingsError> {
        const MANY: usize = 1_000_000;
        range("fleet.replicas", self.replicas, 1, 100_000)?;
        let slurm = &self.slurm;
        range("fleet.slurm.gpus", slurm.gpus, 0, 1)?;
        for (key, value, high) in [
            ("fleet.candidates", self.candidates, MANY),
            ("fleet.slurm.cpus", slurm.cpus, 1024),
            ("fleet.slurm.jobs", slurm.jobs, MANY),
            ("fleet.slurm.at_once", slurm.at_once, MANY),
        ] {
            if let Some(value) = value {
                range(key, value, 1, high)?;
            }
        }
        for (key, text) in [
            ("fleet.slurm.partition", &slurm.partition),
            ("fleet.slurm.memory", &slurm.memory),
            ("fleet.slurm.time", &slurm.time),
        ] {
            if let Some(text) = text {
                one_word(key, text)?;
            }
        }
        for option in &slurm.options {
            let is_one = option.starts_with('-') && !option.contains(['\n', '\r', '\0']);
            if !is_one {
                let expected = "options of sbatch, one each, that begin with a dash";
                return Err(SettingsError::value(
                    "fleet.slurm.options",
                    option,
                    expected,
                ));
            }
        }
        if let Some(line) = slurm.setup.iter().find(|line| line.contains('\0')) {
            return Err(SettingsError::value(
                "fleet.slurm.setup",
                line,
                "lines of shell",
            ));
        }
        slurm.notice().map(|_| ())
    }
}

impl SlurmConfig {
    /// How long before its time limit a job is told.
    ///
    /// # Errors
    /// [`SettingsError::Value`] when it is not a duration, or too short to save anything in.
    pub fn notice(&self) -> Result<Duration, SettingsError> {
        let day = Duration::from_secs(24 * 3600);
        match humantime::parse_duration(&self.notice) {
            Ok(notice) if (Duration::from_secs(30)..=day).contains(&notice) => Ok(notice),
            _ => Err(SettingsError::value(
                "fleet.slurm.notice",
                format!("\"{}\"", self.notice),
                "a duration from 30s to 1 day, such as \"90s\" or \"5m\"",
            )),
        }
    }
}

/// A value that stands behind an option of sbatch.
fn one_word(key: &str, text: &str) -> Result<(), SettingsError> {
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    match is_word {
        true => Ok(()),
        false => Err(SettingsError::value(
            key,
            format!("{text:?}"),
            "a word without spaces",
        )),
    }
}
