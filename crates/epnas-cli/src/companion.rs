//! The build of this command that uses GPUs: `epnas-cuda`, beside this one.
//!
//! That build starts only where NVIDIA's libraries are; this one starts everywhere, hands a command line that needs a GPU
//! over, and says what is missing where that fails.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, anyhow, bail};

const NAME: &str = "epnas-cuda";

/// Names the file, where it does not lie beside this one.
const VARIABLE: &str = "EPNAS_CUDA";

/// What the system's loader says before the name of a library that it does not find.
const LOADER: &str = "error while loading shared libraries: ";

/// Set for a companion: one that hands over again is no build that uses GPUs.
const HANDED_OVER: &str = "EPNAS_HANDED_OVER";

/// Ends this process in the companion, with the same command line; comes back only with the reason why not.
pub(crate) fn hand_over() -> anyhow::Error {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match command() {
        Ok(mut companion) => become_it(companion.args(arguments)),
        Err(error) => error,
    }
}

/// What the companion prints for these arguments.
pub(crate) fn ask(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut companion = command()?;
    let output = companion.args(arguments).output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let path = companion.get_program().to_string_lossy().into_owned();
    Err(why_not(Path::new(&path), &output))
}

/// The companion, which has been seen to start.
fn command() -> anyhow::Result<Command> {
    if std::env::var_os(HANDED_OVER).is_some() {
        bail!(
            "this `{NAME}` is a build that works without GPUs: `cargo xtask cuda build` makes the one that uses them"
        );
    }
    let path = place()?;
    let started = Command::new(&path).arg("--version").output();
    let started = started.with_context(|| format!("{} does not start", path.display()))?;
    if !started.status.success() {
        return Err(why_not(&path, &started));
    }
    let (found, expected) = (
        String::from_utf8_lossy(&started.stdout),
        format!("epnas {}", env!("CARGO_PKG_VERSION")),
    );
    let found = first_line(&found);
    if found != expected {
        bail!("{} is `{found}`, expected `{expected}`", path.display());
    }
    let mut companion = Command::new(path);
    companion.env(HANDED_OVER, "1");
    Ok(companion)
}

/// Cut short where it is long.
fn first_line(text: &str) -> String {
    const MOST: usize = 100;
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(MOST)
        .collect()
}

fn place() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        // A bare name would be looked for among the commands.
        let path = std::path::absolute(path)?;
        return match path.is_file() {
            true => Ok(path),
            false => Err(anyhow!("{VARIABLE}: {} is not a file", path.display())),
        };
    }
    let beside = std::env::current_exe()?.with_file_name(NAME);
    match beside.is_file() {
        true => Ok(beside),
        false => Err(anyhow!(
            "this build works without GPUs, and there is no {} that uses them: `cargo xtask cuda build` makes it \
             ({VARIABLE} names another place)",
            beside.display()
        )),
    }
}

fn why_not(path: &Path, output: &Output) -> anyhow::Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let missing = said.lines().find_map(|line| line.split_once(LOADER));
    let missing = missing.and_then(|(_, rest)| rest.split(':').next());
    let path = path.display();
    match missing {
        Some("libcuda.so.1") => anyhow!(
            "{path} needs libcuda.so.1, which is not found: it comes with NVIDIA's driver, which must be installed"
        ),
        Some(library) => anyhow!(
            "{path} needs {library}, which is not found: it comes with the CUDA toolkit or cuDNN; name its folder in \
             LD_LIBRARY_PATH"
        ),
        None => anyhow!("{path} ended with {}: {}", output.status, first_line(&said)),
    }
}

#[cfg(unix)]
fn become_it(companion: &mut Command) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    companion.exec().into()
}

#[cfg(not(unix))]
fn become_it(companion: &mut Command) -> anyhow::Error {
    match companion.status() {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            crate::failure::Exit(code.unwrap_or(crate::failure::FAILURE)).into()
        }
        Err(error) => error.into(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn said(text: &str) -> String {
        let output = Output {
            status: ExitStatus::from_raw(127 << 8),
            stdout: Vec::new(),
            stderr: text.into(),
        };
        why_not(Path::new("bin/epnas-cuda"), &output).to_string()
    }

    #[test]
    fn a_library_that_is_missing_is_named_with_where_it_comes_from() {
        let missing = |library: &str| {
            said(&format!(
                "epnas-cuda: {LOADER}{library}: cannot open shared object file"
            ))
        };
        let driver = missing("libcuda.so.1");
        assert!(
            driver.contains("libcuda.so.1") && driver.contains("driver"),
            "{driver}"
        );
        let toolkit = missing("libcublas.so.13");
        assert!(
            toolkit.contains("libcublas.so.13") && toolkit.contains("LD_LIBRARY_PATH"),
            "{toolkit}"
        );
        let other = "bin/epnas-cuda ended with exit status: 127: Illegal instruction";
        assert_eq!(said("Illegal instruction\nmore\n"), other);
    }
}
