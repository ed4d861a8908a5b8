//! The scripts of jobs.

use std::path::{Path, PathBuf};

use epnas_supernet::DeviceKind;

use super::SlurmError;
use crate::fleet::Fleet;
use crate::stage::Stage;

/// The script of a stage that `tasks` jobs share; with `restart` it throws a training with other settings away. `epnas` replaces
/// the shell, so that Slurm's signals reach it.
///
/// # Errors
/// [`SlurmError::Path`] when a path cannot be written in a script.
pub fn script(
    fleet: &Fleet,
    stage: Stage,
    tasks: usize,
    epnas: &Path,
    restart: bool,
) -> Result<String, SlurmError> {
    let config = &fleet.config().fleet.slurm;
    let dir = std::path::absolute(fleet.folder().dir())
        .unwrap_or_else(|_| fleet.folder().dir().to_owned());
    let (log, task) = match stage {
        Stage::Search | Stage::Select => (
            format!("slurm/{stage}-%A_%a.log"),
            "\"$SLURM_ARRAY_TASK_ID\"",
        ),
        Stage::Merge | Stage::Train => (format!("slurm/{stage}-%j.log"), "0"),
    };
    let notice = config
        .notice()
        .map_err(epnas_search::SearchError::from)
        .map_err(crate::FleetError::from)?
        .as_secs();
    let mut options = vec![
        format!("--job-name=epnas-{stage}"),
        format!("--output={}", pattern(&dir, &log)?),
        "--open-mode=append".to_owned(),
        "--ntasks=1".to_owned(),
        "--requeue".to_owned(),
        format!("--signal=B:USR1@{notice}"),
    ];
    let given = |name: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!("--{name}={value}"))
    };
    options.extend(given("partition", &config.partition));
    options.extend(given("mem", &config.memory));
    options.extend(given("time", &config.time));
    options.extend(config.cpus.map(|cpus| format!("--cpus-per-task={cpus}")));
    if config.gpus > 0 {
        options.push(format!("--gres=gpu:{}", config.gpus));
    }
    options.extend(config.options.iter().cloned());
    let mut text =
        String::from("#!/bin/bash\n# Written by `epnas fleet submit`, which writes it again.\n");
    for option in options {
        text.push_str(&format!("#SBATCH {option}\n"));
    }
    for line in &config.setup {
        text.push_str(&format!("{line}\n"));
    }
    let device = match fleet.device() {
        DeviceKind::Cpu => "cpu",
        DeviceKind::Cuda => "cuda",
    };
    text.push_str(&format!(
        "exec {} fleet work {} --stage {stage} --task {task} --tasks {tasks} --device {device} --notice {notice}",
        quoted(epnas)?,
        quoted(&dir)?,
    ));
    if let Some(cpus) = config.cpus {
        text.push_str(&format!(" --threads {cpus}"));
    }
    if restart {
        text.push_str(" --restart");
    }
    text.push('\n');
    Ok(text)
}

/// A path as a word of the shell.
fn quoted(path: &Path) -> Result<String, SlurmError> {
    Ok(format!("'{}'", text(path)?.replace('\'', r"'\''")))
}

/// A path in an option of sbatch, in which percent signs stand for numbers and a space ends the option.
fn pattern(dir: &Path, name: &str) -> Result<String, SlurmError> {
    let dir = text(dir)?.replace('%', "%%");
    Ok(format!("\"{dir}/{name}\""))
}

fn text(path: &Path) -> Result<&str, SlurmError> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(['\n', '\r', '"', '\\']));
    text.ok_or_else(|| SlurmError::Path {
        path: PathBuf::from(path),
    })
}
