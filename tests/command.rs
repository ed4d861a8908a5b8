//! Running `epnas` and looking at what it did.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What the smallest useful run needs: 16x16 images, 4 channels, 3 layers, 10 children.
pub(crate) const TINY: &str = r#"
seed = 3
[data]
source = "synthetic"
image_size = 16
validation = 40
synthetic.train = 160
synthetic.test = 40
[space]
kind = "macro"
layers = 3
[network]
channels = 4
[search]
iterations = 1
children_per_step = 2
[surrogate]
epochs = 5
[training]
epochs = 1
batch = 32
[baseline]
kind = "random"
[select]
top = 2
epochs = 1
[train]
preset = "fast"
channels = 4
epochs = 2
batch = 32
"#;

/// Children that a search with [`TINY`] trains: 6 + 2 + 2.
pub(crate) const TINY_CHILDREN: usize = 10;

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit code; `None` when killed by a signal.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Outcome {
    /// What `output` is.
    pub(crate) fn from(output: Output) -> Self {
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// Panics with both streams unless the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "not JSON ({error}):\n{}\nstderr:\n{}",
                self.stdout, self.stderr
            )
        })
    }

    /// The one line of an error: panics unless the command failed with `code` and said exactly one line with every one
    /// of `words` in it, and nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> String {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "expected one line:\n{}", self.stderr);
        assert!(lines[0].starts_with("error: "), "{}", self.stderr);
        for word in words {
            assert!(lines[0].contains(word), "`{word}` is not in: {}", lines[0]);
        }
        assert_eq!(self.stdout, "");
        lines[0].to_owned()
    }
}

/// The command, ready for arguments; nothing of the caller's environment changes what it prints.
pub(crate) fn epnas() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_epnas"));
    command
        .env_remove("EPNAS_LOG")
        .env_remove("RUST_BACKTRACE")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

/// Runs `epnas` with `arguments` and waits.
#[track_caller]
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Outcome {
    Outcome::from(epnas().args(arguments).output().expect("epnas starts"))
}

/// Runs `epnas` with the words of `text`, which holds no quotes, and waits.
#[track_caller]
pub(crate) fn line(text: &str) -> Outcome {
    run(&text.split_whitespace().collect::<Vec<_>>())
}

/// A folder of its own for one test, with [`TINY`] in it as `tiny.toml`.
pub(crate) struct Folder {
    root: tempfile::TempDir,
}

impl Folder {
    /// A new folder, deleted at the end of the test.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(root.path().join("tiny.toml"), TINY).expect("tiny.toml is written");
        Folder { root }
    }

    /// The path called `name` in this folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The same as a string, for arguments.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("temporary folders have UTF-8 names")
            .to_owned()
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), contents).expect("the file is written");
        self.arg(name)
    }

    /// The smallest CIFAR-10 folder, called `name`: one black airplane a file. Returns its path.
    pub(crate) fn cifar10(&self, name: &str) -> String {
        std::fs::create_dir(self.path(name)).expect("a folder");
        let batches = (1..=5).map(|batch| format!("data_batch_{batch}.bin"));
        for file in batches.chain(["test_batch.bin".to_owned()]) {
            self.write(&format!("{name}/{file}"), vec![0; 3073]);
        }
        self.arg(name)
    }

    /// `epnas search` with `tiny.toml` into the run folder `run`, with more `arguments`.
    #[track_caller]
    pub(crate) fn search(&self, run: &str, arguments: &[&str]) -> Outcome {
        let (config, out) = (self.arg("tiny.toml"), self.arg(run));
        let mut all = vec!["search", "--config", &config, "--out", &out];
        all.extend(arguments);
        self::run(&all)
    }
}

/// The JSON document in `path`, less its checksum.
#[track_caller]
pub(crate) fn read_json(path: &Path) -> Value {
    without_checksum(&read(path))
}

/// Writes a JSON document with its checksum.
#[track_caller]
pub(crate) fn write_json(path: &Path, value: &Value) {
    epnas_disk::write_json(path, value).expect("written");
}

fn without_checksum(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).expect("a JSON document");
    if let Some(object) = value.as_object_mut() {
        object.remove("crc32");
    }
    value
}

/// The text of `path`.
#[track_caller]
pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One JSON document per line, less their checksums.
#[track_caller]
pub(crate) fn read_lines(path: &Path) -> Vec<Value> {
    read(path).lines().map(without_checksum).collect()
}

/// The top of the repository.
pub(crate) fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .expect("crates/epnas-cli is two folders down")
        .to_owned()
}
