//! The folders of a training: what in them is ours, and may be thrown away with `--restart`.
//!
//! The folder that a user names may hold anything, an image folder with a `train` of its own among others. A file is
//! removed only when its name and what it begins with are what a training writes; a folder only when it is empty then.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use epnas_search::MODEL_IMAGES_FILE;
use epnas_supernet::{MODEL_FILE, WEIGHTS_FILE};
use serde_json::Value;

use crate::failure::usage;

/// State of a training after its last epoch.
const CHECKPOINT_FILE: &str = "checkpoint.bin";
/// Its learning curve.
const CURVE_FILE: &str = "curve.jsonl";
/// How long the beginning of a file of weights may be.
const LONGEST_HEADER: u64 = 64 << 20;

/// Where a training works and where its model goes.
#[derive(Debug)]
pub(super) struct Places {
    /// Checkpoint and learning curve.
    pub(super) work: PathBuf,
    /// The trained network.
    pub(super) model: PathBuf,
}

impl Places {
    /// Refuses to replace a model whose training is not there to go on.
    pub(super) fn require_room(&self) -> anyhow::Result<()> {
        if self.model.join(MODEL_FILE).exists() && !self.work.exists() {
            return Err(usage(format_args!(
                "{} already holds a model; replace it with --restart",
                self.model.display()
            )));
        }
        Ok(())
    }

    /// Refuses folders that hold something else than a training.
    pub(super) fn require_ours(&self) -> anyhow::Result<()> {
        for dir in [&self.work, &self.model] {
            let Some(name) = foreign(dir)? else { continue };
            return Err(usage(format_args!(
                "{} holds what is not of a training ({name}); name another folder",
                dir.display()
            )));
        }
        Ok(())
    }

    /// Removes an earlier training: our files, and the folders when nothing else is in them.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        let mut files = Vec::new();
        for (dir, name, is_ours) in [
            (
                &self.work,
                CHECKPOINT_FILE,
                is_weights as fn(&Path) -> io::Result<bool>,
            ),
            (&self.work, CURVE_FILE, is_curve),
            (&self.model, MODEL_FILE, is_model),
            (&self.model, WEIGHTS_FILE, is_weights),
            (&self.model, MODEL_IMAGES_FILE, is_images),
        ] {
            let path = dir.join(name);
            if !path.exists() {
                continue;
            }
            if !is_ours(&path).map_err(|e| failed("read", &path, &e))? {
                return Err(usage(format_args!(
                    "{} was not written by a training; move it away, or name another folder",
                    path.display()
                )));
            }
            files.push(path);
        }
        for path in &files {
            fs::remove_file(path).map_err(|e| failed("remove", path, &e))?;
        }
        for dir in [&self.work, &self.model] {
            match fs::remove_dir(dir) {
                Err(e)
                    if !matches!(
                        e.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    return Err(failed("remove", dir, &e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn failed(action: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot {action} {}: {error}", path.display())
}

/// The first thing in `dir`, by name, that no training puts there.
fn foreign(dir: &Path) -> anyhow::Result<Option<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(|e| failed("read", dir, &e))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry
            .map_err(|e| failed("read", dir, &e))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        // A writer that was killed leaves its temporary file.
        let known = [
            CHECKPOINT_FILE,
            CURVE_FILE,
            MODEL_FILE,
            WEIGHTS_FILE,
            MODEL_IMAGES_FILE,
        ]
        .iter()
        .any(|file| name == *file || name.strip_suffix(".tmp") == Some(file));
        if !known {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().next())
}

/// Safetensors whose header has our entry.
fn is_weights(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    if file.read_exact(&mut length).is_err() {
        return Ok(false);
    }
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Ok(false);
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    let header: Option<Value> = serde_json::from_slice(&header).ok();
    Ok(header.is_some_and(|header| header["__metadata__"]["epnas"].is_string()))
}

/// A line per epoch.
fn is_curve(path: &Path) -> io::Result<bool> {
    let mut line = Vec::new();
    BufReader::new(File::open(path)?.take(1 << 16)).read_until(b'\n', &mut line)?;
    let value: Option<Value> = serde_json::from_slice(&line).ok();
    Ok(line.is_empty() || value.is_some_and(|value| value["epoch"].is_u64()))
}

/// A description with architecture and classes.
fn is_model(path: &Path) -> io::Result<bool> {
    let value: Option<Value> = serde_json::from_slice(&fs::read(path)?).ok();
    Ok(value.is_some_and(|value| value["architecture"].is_string() && value["classes"].is_array()))
}

/// A record of the images of a model.
fn is_images(path: &Path) -> io::Result<bool> {
    let value: Option<Value> = serde_json::from_slice(&fs::read(path)?).ok();
    Ok(value.is_some_and(|value| value["source"].is_string() && value["images"].is_object()))
}
