//! A packed folder whose programs are shell scripts, for tests without a GPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use super::limit::Runner;
use super::parts::Stage;
use crate::scratch::Scratch;

/// The folder, and the stage that runs what lies there.
pub(super) struct Fakes {
    pub(super) folder: Scratch,
    pub(super) stage: Stage,
}

impl Fakes {
    pub(super) fn new() -> Self {
        let folder = Scratch::new("fakes").unwrap();
        let stage = Stage::new(
            folder.folder().to_owned(),
            &folder.folder().join("python"),
            None,
            json!({ "name": "Fake 100" }),
            Runner::new(Arc::default()).unwrap(),
        );
        Self {
            stage: stage.unwrap(),
            folder,
        }
    }

    /// Adds a program: lines of a shell.
    pub(super) fn with(self, name: &str, script: &str) -> Self {
        let script = format!("#!/bin/sh\n{script}\n");
        let text = self.file(&format!("{name}.sh"));
        fs::write(&text, script).unwrap();
        // Written by another process: a test that starts a program meanwhile would inherit our file open for writing, and
        // such a file cannot be started.
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(&text).arg(self.file(name));
        assert!(install.status().unwrap().success());
        self
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.folder().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }
}

/// A script that writes down its arguments in a file beside it.
pub(super) fn noting(file: &Path) -> String {
    format!("echo \"$@\" >> {}", file.display())
}
