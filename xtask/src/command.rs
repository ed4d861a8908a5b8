//! Running other programs: echoed to stderr, checked, and named when they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The `cargo` that runs this task, in the workspace's root.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    cargo
}

/// Runs to the end with our own stdout and stderr; fails when the program does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs to the end and returns stdout; stderr stays ours.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{shown}` printed something that is not UTF-8"))
}

/// Runs to the end and returns what a compiler says on stderr; when the program fails, that is shown instead.
pub(crate) fn messages(command: &mut Command) -> Result<String> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let output = command
        .stdout(Stdio::from(std::io::stderr()))
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        eprint!("{said}");
        bail!("`{shown}` failed ({})", output.status);
    }
    Ok(said)
}

/// Builds one binary or example in release and returns where cargo put it.
pub(crate) fn build_release(root: &Path, target: &[&str]) -> Result<PathBuf> {
    build(root, &[&["--release"], target].concat())
}

/// Builds one binary or example and returns where cargo put it.
pub(crate) fn build(root: &Path, target: &[&str]) -> Result<PathBuf> {
    let mut build = cargo(root);
    build.arg("build").args(target);
    let built = executables(&mut build)?.pop();
    let built = built.with_context(|| format!("cargo named no executable for {target:?}"))?;
    Ok(built.file)
}

/// What a build made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// As the manifest names it.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

/// Runs a command of cargo that builds, and returns the executables it made, in its order.
pub(crate) fn executables(build: &mut Command) -> Result<Vec<Executable>> {
    eprintln!("$ {}", show(build));
    build.args(["--message-format", "json-render-diagnostics"]);
    Ok(executables_in(&capture(build)?))
}

fn executables_in(messages: &str) -> Vec<Executable> {
    let executable = |message: Value| {
        Some(Executable {
            name: message["target"]["name"].as_str()?.to_owned(),
            file: message["executable"].as_str()?.into(),
        })
    };
    messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(executable)
        .collect()
}

/// The folder that cargo builds in.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root.join(chosen.unwrap_or_else(|| "target".into()))
}

/// Copies a binary without its symbols, which are most of it.
pub(crate) fn strip(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("strip").arg("-o").arg(to).arg(from))
        .context("needs `strip` (on Debian: the package binutils)")
}

/// The day, where the system tells it.
pub(crate) fn date() -> Option<String> {
    let mut date = Command::new("date");
    let output = date.args(["-u", "+%Y-%m-%d"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|day| !day.is_empty())
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy();
    let mut shown = program.into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        let argument = argument.to_string_lossy();
        if argument.contains([' ', '"']) {
            shown.push_str(&format!("'{argument}'"));
        } else {
            shown.push_str(&argument);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command() {
        let error = run(Command::new("cargo").args(["no-such-subcommand", "a b"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`cargo no-such-subcommand 'a b'` failed"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = capture(&mut Command::new("no-such-program-7"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("cannot start `no-such-program-7`"),
            "{error}"
        );
    }

    #[test]
    fn executables_come_from_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"epnas_ops"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"operators"},"executable":"/t/operators-0a"}
{"reason":"build-finished","success":true}
"#;
        let expected = Executable {
            name: "operators".into(),
            file: "/t/operators-0a".into(),
        };
        assert_eq!(executables_in(messages), [expected]);
    }
}
