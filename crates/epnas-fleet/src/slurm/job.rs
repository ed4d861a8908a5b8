//! What a job knows of itself.

use std::env;

use epnas_disk::{make_dir, read_json, write_json};
use serde::{Deserialize, Serialize};

use super::{SlurmError, client};
use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::stage::Stage;

/// What the names of files begin with that say how far a job had come.
pub(super) const REQUEUED: &str = "requeued-";

/// A job goes back to the queue so many times without having done anything.
const IN_VAIN: u32 = 3;

/// The pieces of a stage that one of several jobs does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The stage.
    pub stage: Stage,
    /// Which of the jobs, from 0.
    pub task: usize,
    /// How many there are.
    pub tasks: usize,
}

impl Share {
    /// Whether a piece is among them.
    #[must_use]
    pub fn has(&self, piece: usize) -> bool {
        piece % self.tasks.max(1) == self.task
    }

    /// Those of its pieces that are not done.
    ///
    /// # Errors
    /// When a file of the fleet cannot be read.
    pub fn missing(&self, fleet: &Fleet) -> Result<Vec<usize>, FleetError> {
        let pieces = match self.stage {
            Stage::Search => fleet.replicas().len(),
            Stage::Select => fleet.most_candidates(),
            Stage::Merge | Stage::Train => 1,
        };
        let own: Vec<usize> = (0..pieces).filter(|piece| self.has(*piece)).collect();
        fleet.missing_of(self.stage, &own)
    }

    /// The stages whose pieces a job does first, in order, where they were left undone. The jobs of an array leave that to the
    /// one that follows them all.
    #[must_use]
    pub fn before(&self) -> &'static [Stage] {
        match self.stage {
            Stage::Search | Stage::Select => &[],
            Stage::Merge => &[Stage::Search],
            Stage::Train => &[Stage::Search, Stage::Merge, Stage::Select],
        }
    }

    /// Numbers that change while its pieces make progress, or those that it makes up for.
    fn mark(&self, fleet: &Fleet) -> Result<Vec<u64>, SlurmError> {
        let mut marks = Vec::new();
        let mut add = |stage: Stage, missing: Vec<usize>| {
            marks.push(missing.len() as u64);
            marks.push(missing.iter().map(|piece| fleet.mark(stage, *piece)).sum());
        };
        add(self.stage, self.missing(fleet)?);
        for &before in self.before() {
            add(before, fleet.missing(before)?);
        }
        Ok(marks)
    }
}

/// What became of the wish to go back to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeue {
    /// The job goes back.
    Queued,
    /// The job has come this far several times and no further: its time limit is too short.
    InVain,
}

/// How far a job had come when it went back to the queue.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    mark: Vec<u64>,
    times: u32,
}

/// Puts the job that this process is in back into the queue; Slurm ends it then. One that made no progress since the last few
/// times does not go back.
///
/// # Errors
/// [`SlurmError`] when this is no job, or Slurm refuses.
pub fn requeue(fleet: &Fleet, share: Share) -> Result<Requeue, SlurmError> {
    let dir = fleet.folder().slurm();
    make_dir(&dir)?;
    let path = dir.join(format!("{REQUEUED}{}-{}.json", share.stage, share.task));
    let before: Option<Mark> = read_json(&path)?;
    let mark = share.mark(fleet)?;
    let times = match before {
        Some(before) if before.mark == mark => before.times + 1,
        _ => 1,
    };
    if times > IN_VAIN {
        epnas_disk::remove(&path)?;
        return Ok(Requeue::InVain);
    }
    write_json(&path, &Mark { mark, times })?;
    client::requeue(&number()?)?;
    Ok(Requeue::Queued)
}

/// This job's number. The number of the first job of an array alone would stand for all of them.
fn number() -> Result<String, SlurmError> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let array = variable("SLURM_ARRAY_JOB_ID").zip(variable("SLURM_ARRAY_TASK_ID"));
    let number = array.map(|(job, task)| format!("{job}_{task}"));
    let number = number.or_else(|| variable("SLURM_JOB_ID"));
    number.ok_or_else(|| SlurmError::Failed {
        command: "scontrol requeue".into(),
        message: "this process is in no job: SLURM_JOB_ID is not set".into(),
    })
}
