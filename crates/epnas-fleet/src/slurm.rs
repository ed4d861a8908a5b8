//! A fleet's pieces as jobs of Slurm.
//!
//! Four jobs: an array for the searches, the merge, an array for the candidates, and the training. Each waits for the one
//! before it to end: what the merge and the training find undone of the stages before, they do themselves. So a job that was
//! killed costs time and no more. Before its time limit a job saves what it has and goes back to the queue.

mod advice;
mod client;
mod job;
mod script;

use std::path::Path;

use epnas_disk::{make_dir, read_json, remove, write_atomic, write_json};
use serde::{Deserialize, Serialize};

pub use client::{Entry, SlurmError};
pub use job::{Requeue, Share, requeue};
pub use script::script;

use crate::fleet::Fleet;
use crate::stage::Stage;

/// A job that was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What it does.
    pub stage: Stage,
    /// Slurm's number; of all jobs of an array.
    pub id: String,
    /// Jobs of the array.
    pub tasks: usize,
}

/// `slurm/jobs.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Jobs {
    jobs: Vec<Job>,
}

/// The jobs of the latest submission; none before the first.
///
/// # Errors
/// [`SlurmError`] when the file cannot be read.
pub fn jobs(fleet: &Fleet) -> Result<Vec<Job>, SlurmError> {
    let jobs: Option<Jobs> = read_json(&file(fleet))?;
    Ok(jobs.unwrap_or_default().jobs)
}

fn file(fleet: &Fleet) -> std::path::PathBuf {
    fleet.folder().slurm().join("jobs.json")
}

/// Fails where jobs cannot be submitted from.
///
/// # Errors
/// [`SlurmError::Absent`].
pub fn require() -> Result<(), SlurmError> {
    client::version().map(|_| ())
}

/// What of the latest submission is still in the queue, waiting or running.
///
/// # Errors
/// [`SlurmError`] when Slurm cannot be asked.
pub fn queue(fleet: &Fleet) -> Result<Vec<Entry>, SlurmError> {
    client::queue(&jobs(fleet)?)
}

/// Fails while jobs of the fleet are in the queue: they read its settings when they begin.
///
/// # Errors
/// [`SlurmError::Submitted`], or when Slurm cannot be asked.
pub fn require_idle(fleet: &Fleet) -> Result<(), SlurmError> {
    match queue(fleet)?.len() {
        0 => Ok(()),
        jobs => Err(SlurmError::Submitted {
            dir: fleet.folder().dir().to_owned(),
            jobs,
        }),
    }
}

/// Submits all that is not done, and returns the jobs: none when nothing is left to do. `epnas` is the program that they run,
/// at a path that every node sees; with `restart` the last throws a training with other settings away. Where Slurm refuses one of
/// the jobs, none stays.
///
/// # Errors
/// [`SlurmError::Submitted`] when jobs of an earlier submission are in the queue; [`SlurmError::Refused`] with what Slurm says
/// and what to change.
pub fn submit(fleet: &Fleet, epnas: &Path, restart: bool) -> Result<Vec<Job>, SlurmError> {
    // Two submissions at once would both find the queue empty.
    let _held = fleet.lock()?;
    require_idle(fleet)?;
    let mut submission = Submission {
        fleet,
        restart,
        jobs: Vec::new(),
    };
    match submission.all(epnas) {
        Ok(()) => Ok(submission.jobs),
        Err(error) => {
            if let Err(left) = submission.undo() {
                tracing::warn!("jobs may be left in the queue: {left}");
            }
            Err(error)
        }
    }
}

/// Takes the jobs of the latest submission out of the queue, running ones too; returns how many there were.
///
/// # Errors
/// [`SlurmError`] when Slurm refuses.
pub fn cancel(fleet: &Fleet) -> Result<usize, SlurmError> {
    let queued = queue(fleet)?;
    if !queued.is_empty() {
        client::cancel(&jobs(fleet)?)?;
    }
    Ok(queued.len())
}

/// Jobs while they are being submitted.
struct Submission<'f> {
    fleet: &'f Fleet,
    restart: bool,
    jobs: Vec<Job>,
}

impl Submission<'_> {
    fn all(&mut self, epnas: &Path) -> Result<(), SlurmError> {
        let fleet = self.fleet;
        let dir = fleet.folder().slurm();
        make_dir(&dir)?;
        forget_requeues(&dir)?;
        for stage in Stage::ALL {
            let missing = fleet.missing(stage)?;
            if missing.is_empty() {
                continue;
            }
            let mut tasks = tasks(fleet, stage)?;
            let path = dir.join(format!("{stage}.sh"));
            let restart = self.restart && stage == Stage::Train;
            write_atomic(
                &path,
                script(fleet, stage, tasks, epnas, restart)?.as_bytes(),
            )?;
            let mut options = Vec::new();
            if matches!(stage, Stage::Search | Stage::Select) {
                let busy = busy(&missing, tasks);
                options.push(array(&busy, fleet.config().fleet.slurm.at_once));
                tasks = busy.len();
            }
            match self.jobs.last() {
                // Nothing runs before everything is accepted.
                None => options.push("--hold".to_owned()),
                Some(before) => options.extend(after(before)),
            }
            let id = client::submit(stage, &path, &options, fleet)?;
            self.jobs.push(Job { stage, id, tasks });
            self.note()?;
        }
        match self.jobs.first() {
            Some(first) => client::release(first, fleet),
            None => Ok(()),
        }
    }

    fn note(&self) -> Result<(), SlurmError> {
        let jobs = self.jobs.clone();
        Ok(write_json(&file(self.fleet), &Jobs { jobs })?)
    }

    fn undo(&self) -> Result<(), SlurmError> {
        if !self.jobs.is_empty() {
            client::cancel(&self.jobs)?;
        }
        Ok(remove(&file(self.fleet))?)
    }
}

/// The merge runs whatever became of the searches, and the training whatever became of all: they make up for them. Without a
/// merge there are no candidates to retrain.
fn after(before: &Job) -> [String; 2] {
    let how = match before.stage {
        Stage::Merge => "afterok",
        _ => "afterany",
    };
    [
        format!("--dependency={how}:{}", before.id),
        "--kill-on-invalid-dep=yes".to_owned(),
    ]
}

/// Which job of the array does the search of a replica.
#[must_use]
pub fn task_of(fleet: &Fleet, replica: usize) -> usize {
    let jobs = fleet.config().fleet.slurm.jobs.unwrap_or(usize::MAX);
    replica % jobs.clamp(1, fleet.replicas().len().max(1))
}

/// How many jobs share the pieces of a stage.
fn tasks(fleet: &Fleet, stage: Stage) -> Result<usize, SlurmError> {
    let pieces = fleet.pieces(stage)?;
    let most = match stage {
        Stage::Search | Stage::Select => fleet.config().fleet.slurm.jobs,
        Stage::Merge | Stage::Train => None,
    };
    Ok(pieces.min(most.unwrap_or(usize::MAX)))
}

/// A submission begins to count anew how often its jobs go back to the queue.
fn forget_requeues(dir: &Path) -> Result<(), SlurmError> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for name in names.filter(|name| name.starts_with(job::REQUEUED)) {
        remove(&dir.join(name))?;
    }
    Ok(())
}

/// Those of so many jobs that have something to do.
fn busy(missing: &[usize], tasks: usize) -> Vec<usize> {
    let mut busy: Vec<usize> = missing.iter().map(|piece| piece % tasks).collect();
    busy.sort_unstable();
    busy.dedup();
    busy
}

/// The option that asks for these jobs of an array.
fn array(busy: &[usize], at_once: Option<usize>) -> String {
    let ranges = busy.chunk_by(|a, b| a + 1 == *b);
    let ranges = ranges.map(|range| match range {
        [one] => one.to_string(),
        more => format!("{}-{}", more[0], more[more.len() - 1]),
    });
    let ranges: Vec<String> = ranges.collect();
    let limit = at_once.map_or_else(String::new, |most| format!("%{most}"));
    format!("--array={}{limit}", ranges.join(","))
}

#[cfg(test)]
mod tests {
    use super::{array, busy};

    #[test]
    fn an_array_has_the_jobs_that_have_something_to_do() {
        assert_eq!(array(&busy(&[0, 1, 2, 3], 4), None), "--array=0-3");
        assert_eq!(
            array(&busy(&[1, 4, 5, 9], 10), Some(2)),
            "--array=1,4-5,9%2"
        );
        // Three jobs for ten pieces: piece 4 is done by job 1, pieces 5 and 8 by job 2.
        assert_eq!(array(&busy(&[4, 5, 8], 3), None), "--array=1-2");
    }
}
