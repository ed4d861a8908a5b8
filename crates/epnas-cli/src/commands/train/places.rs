//! The folders of a training: what in them is ours, and may be thrown away with `--restart`.
//!
//! The folder that a user names may hold anything, an image folder with a `train` of its own among others. A file is
//! removed only when its name and what it begins with are what a training writes; a folder only when it is empty then.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use epnas_search::{
    CURVE_FILE, MODEL_IMAGES_FILE, PREVIOUS_TRAINING_FILE, RESULT_FILE, TRAINING_FILE,
    TrainingFolders,
};
use epnas_supernet::{MODEL_FILE, WEIGHTS_FILE};
use serde_json::Value;

use crate::failure::usage;
use crate::handover::{CARD_FILE, CURVE_DRAWING, DIAGRAM_FILE};

/// A file's name, and how it is told that a training wrote it.
type Known = (&'static str, fn(&Path) -> io::Result<bool>);
/// What a training works with.
const WORK: &[Known] = &[
    (TRAINING_FILE, is_weights),
    (PREVIOUS_TRAINING_FILE, is_weights),
    (CURVE_FILE, is_curve),
    (CURVE_DRAWING, is_drawing),
    (RESULT_FILE, is_result),
];
/// What a model consists of.
const MODEL: &[Known] = &[
    (MODEL_FILE, is_model),
    (WEIGHTS_FILE, is_weights),
    (MODEL_IMAGES_FILE, is_images),
    (DIAGRAM_FILE, is_drawing),
    (CARD_FILE, is_card),
];
/// How long the beginning of a file of weights may be.
const LONGEST_HEADER: u64 = 64 << 20;

/// Where one training works and where its model goes.
#[derive(Debug)]
pub(super) struct Places(pub(super) TrainingFolders);

impl Places {
    /// Refuses to replace a model whose training is not there to go on.
    pub(super) fn require_room(&self) -> anyhow::Result<()> {
        if self.0.model.join(MODEL_FILE).exists() && !self.0.work.exists() {
            return Err(usage(format_args!(
                "{} already holds a model; replace it with --restart",
                self.0.model.display()
            )));
        }
        Ok(())
    }

    /// Refuses folders that hold something else than a training.
    pub(super) fn require_ours(&self) -> anyhow::Result<()> {
        for (dir, known) in self.folders() {
            let Some(name) = foreign(&dir, known)? else {
                continue;
            };
            return Err(usage(format_args!(
                "{} holds what is not of a training ({name}); name another folder",
                dir.display()
            )));
        }
        Ok(())
    }

    /// Whether there is anything of a training.
    pub(super) fn exist(&self) -> bool {
        self.0.work.exists() || self.0.model.exists()
    }

    /// Removes an earlier training but not its model: our files, and the folders when nothing else is in them.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        let [best, last, work, model] = self.folders();
        // It will be replaced.
        ours(&[model])?;
        clear(&[best, last, work])
    }

    /// Removes an earlier training and its model.
    pub(super) fn clear_all(&self) -> anyhow::Result<()> {
        clear(&self.folders())
    }

    /// The folders of a training, inner ones first, with the files that it puts there.
    fn folders(&self) -> [(PathBuf, &'static [Known]); 4] {
        [
            (self.0.best(), MODEL),
            (self.0.last(), MODEL),
            (self.0.work.clone(), WORK),
            (self.0.model.clone(), MODEL),
        ]
    }
}

/// What a training wrote in these folders; an error for a file that has the name of one but is not.
fn ours(folders: &[(PathBuf, &[Known])]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (dir, known) in folders {
        for (name, is_ours) in *known {
            let path = dir.join(name);
            if !path.is_file() {
                continue;
            }
            if !is_ours(&path).map_err(|e| failed("read", &path, &e))? {
                return Err(usage(format_args!(
                    "{} was not written by a training, or is damaged; move it away, or name another folder",
                    path.display()
                )));
            }
            files.push(path);
        }
    }
    Ok(files)
}

fn clear(folders: &[(PathBuf, &[Known])]) -> anyhow::Result<()> {
    for path in &ours(folders)? {
        fs::remove_file(path).map_err(|e| failed("remove", path, &e))?;
    }
    for (dir, _) in folders {
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

fn failed(action: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot {action} {}: {error}", path.display())
}

/// The first thing in `dir`, by name, that no training puts there.
fn foreign(dir: &Path, known: &[Known]) -> anyhow::Result<Option<String>> {
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
        let is_known = known
            .iter()
            .any(|(file, _)| name == *file || name.strip_suffix(".tmp") == Some(file));
        // These are looked into by themselves.
        let is_inner = dir.join(&name).is_dir() && (name == "best" || name == "last");
        if !is_known && !is_inner {
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

/// What a training gave.
fn is_result(path: &Path) -> io::Result<bool> {
    let value: Option<Value> = serde_json::from_slice(&fs::read(path)?).ok();
    Ok(
        value
            .is_some_and(|value| value["kept_epoch"].is_u64() && value["architecture"].is_string()),
    )
}

/// A record of the images of a model.
fn is_images(path: &Path) -> io::Result<bool> {
    let value: Option<Value> = serde_json::from_slice(&fs::read(path)?).ok();
    Ok(value.is_some_and(|value| value["source"].is_string() && value["images"].is_object()))
}

/// A drawing.
fn is_drawing(path: &Path) -> io::Result<bool> {
    let mut beginning = [0; 4];
    let read = File::open(path)?.read(&mut beginning)?;
    Ok(beginning[..read] == *b"<svg")
}

/// A model card.
fn is_card(path: &Path) -> io::Result<bool> {
    let mut beginning = String::new();
    File::open(path)?
        .take(1 << 10)
        .read_to_string(&mut beginning)?;
    Ok(beginning.starts_with("# An image classifier of "))
}
