//! Slurm's commands.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use epnas_disk::{DiskError, FileError};
use serde::Serialize;

use super::Job;
use super::advice::advice;
use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::stage::Stage;

/// Why jobs cannot be submitted or asked about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlurmError {
    /// The fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A command of Slurm is not there.
    #[error(
        "there is no `{program}` here: expected a machine from which jobs are submitted; on a single machine, `epnas fleet run` needs no Slurm"
    )]
    Absent {
        /// The command.
        program: &'static str,
    },
    /// A command of Slurm cannot be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The command.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Slurm does not take a job.
    #[error(
        "nothing was submitted: Slurm refuses the job `{stage}`: {message}{}", advice.as_ref().map_or_else(String::new, |advice| format!("; {advice}")))]
    Refused {
        /// The job.
        stage: Stage,
        /// What Slurm says.
        message: String,
        /// What to change.
        advice: Option<String>,
    },
    /// Another command of Slurm failed.
    #[error("`{command}`: {message}")]
    Failed {
        /// The command.
        command: String,
        /// What it says.
        message: String,
    },
    /// Jobs of the fleet are in the queue.
    #[error("{} has {jobs} jobs in the queue; `epnas fleet status` shows them, `epnas fleet cancel` takes them out", dir.display())]
    Submitted {
        /// The fleet's folder.
        dir: PathBuf,
        /// How many.
        jobs: usize,
    },
    /// A path that scripts cannot name.
    #[error("{} cannot stand in a script of Slurm, expected a path of UTF-8 without quotes, backslashes and line feeds", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
}

impl From<FileError> for SlurmError {
    fn from(error: FileError) -> Self {
        Self::Fleet(error.into())
    }
}

impl From<DiskError> for SlurmError {
    fn from(error: DiskError) -> Self {
        Self::Fleet(error.into())
    }
}

impl SlurmError {
    /// Whether it is for the user to change something.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Absent { .. } | Self::Refused { .. } | Self::Submitted { .. } | Self::Path { .. }
        )
    }
}

/// A job in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What it does.
    pub stage: Stage,
    /// Which job of the array; `None` for one by itself.
    pub task: Option<usize>,
    /// As Slurm says it: PENDING, RUNNING, ...
    pub state: String,
    /// Why it waits, as Slurm says it.
    pub reason: String,
    /// How long it has been running, as Slurm says it.
    pub time: String,
    /// Where it runs.
    pub node: String,
}

/// Of the environment of a submission, what would undo what jobs of a fleet need, or make them take themselves for another.
const NOT_INHERITED: [&str; 8] = [
    "SBATCH_ARRAY_INX",
    "SBATCH_HOLD",
    "SBATCH_NO_REQUEUE",
    "SBATCH_SIGNAL",
    "SBATCH_WAIT",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_JOB_ID",
];

fn output(program: &'static str, arguments: &[String]) -> Result<Output, SlurmError> {
    let mut command = Command::new(program);
    if program == "sbatch" {
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
    }
    let output = command.args(arguments).output();
    output.map_err(|source| match source.kind() {
        ErrorKind::NotFound => SlurmError::Absent { program },
        _ => SlurmError::Start { program, source },
    })
}

/// What a command printed, or in one line what it complained of.
pub(super) fn call(program: &'static str, arguments: &[String]) -> Result<String, SlurmError> {
    let output = output(program, arguments)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(SlurmError::Failed {
        command: format!("{program} {}", arguments.join(" ")),
        message: complaint(program, &output),
    })
}

fn complaint(program: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let prefix = format!("{program}: ");
    let lines = said.lines().map(|line| {
        let line = line.strip_prefix(&prefix).unwrap_or(line);
        line.strip_prefix("error: ").unwrap_or(line).trim()
    });
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    match lines.is_empty() {
        true => format!("it ended with {}", output.status),
        false => lines.join("; "),
    }
}

/// Which Slurm this is.
pub(super) fn version() -> Result<String, SlurmError> {
    call("sbatch", &["--version".to_owned()])
}

/// Submits a script; returns the job's number.
pub(super) fn submit(
    stage: Stage,
    script: &Path,
    options: &[String],
    fleet: &Fleet,
) -> Result<String, SlurmError> {
    const PROGRAM: &str = "sbatch";
    let mut arguments = vec!["--parsable".to_owned()];
    arguments.extend_from_slice(options);
    arguments.push(script.to_string_lossy().into_owned());
    let output = output(PROGRAM, &arguments)?;
    if !output.status.success() {
        let message = complaint(PROGRAM, &output);
        let advice = advice(&message, &fleet.config().fleet.slurm);
        return Err(SlurmError::Refused {
            stage,
            message,
            advice,
        });
    }
    // With several clusters their name follows the number.
    let said = String::from_utf8_lossy(&output.stdout);
    let id = said.trim().split(';').next().unwrap_or_default();
    match !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(id.to_owned()),
        false => Err(SlurmError::Failed {
            command: format!("{PROGRAM} {}", arguments.join(" ")),
            message: format!("it printed {said:?}, expected the number of a job"),
        }),
    }
}

/// Lets a held job run. Only now Slurm looks whether there are nodes for it.
pub(super) fn release(job: &Job, fleet: &Fleet) -> Result<(), SlurmError> {
    match call("scontrol", &["release".to_owned(), job.id.clone()]) {
        Err(SlurmError::Failed { message, .. }) => Err(SlurmError::Refused {
            stage: job.stage,
            advice: advice(&message, &fleet.config().fleet.slurm),
            message,
        }),
        released => released.map(|_| ()),
    }
}

/// Takes jobs out of the queue.
pub(super) fn cancel(jobs: &[Job]) -> Result<(), SlurmError> {
    let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
    call("scancel", &ids).map(|_| ())
}

/// Which of these jobs are in the queue.
pub(super) fn queue(jobs: &[Job]) -> Result<Vec<Entry>, SlurmError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
    let arguments = [
        "--noheader".to_owned(),
        "--array".to_owned(),
        "--format=%i|%T|%r|%M|%N".to_owned(),
        format!("--jobs={}", ids.join(",")),
    ];
    let printed = match call("squeue", &arguments) {
        // Slurm forgets jobs that have ended.
        Err(SlurmError::Failed { message, .. }) if message.contains("Invalid job id") => {
            return Ok(Vec::new());
        }
        printed => printed?,
    };
    Ok(printed
        .lines()
        .filter_map(|line| entry(line, jobs))
        .collect())
}

fn entry(line: &str, jobs: &[Job]) -> Option<Entry> {
    let mut fields = line.trim().split('|');
    let (id, state, reason) = (fields.next()?, fields.next()?, fields.next()?);
    let (time, node) = (fields.next()?, fields.next()?);
    let (id, task) = match id.split_once('_') {
        Some((id, task)) => (id, task.parse().ok()),
        None => (id, None),
    };
    let job = jobs.iter().find(|job| job.id == id)?;
    // Entries linger for some seconds after their end.
    let ended = [
        "COMPLETED",
        "CANCELLED",
        "FAILED",
        "TIMEOUT",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "BOOT_FAIL",
        "DEADLINE",
    ];
    if ended.contains(&state) {
        return None;
    }
    Some(Entry {
        stage: job.stage,
        task,
        state: state.to_owned(),
        reason: reason.to_owned(),
        time: time.to_owned(),
        node: node.to_owned(),
    })
}

/// Puts the job that this process is in back into the queue.
pub(super) fn requeue(job: &str) -> Result<(), SlurmError> {
    call("scontrol", &["requeue".to_owned(), job.to_owned()]).map(|_| ())
}
