//! How a command fails: exit codes and the one line that is shown.
//!
//! Commands return [`anyhow::Result`]. What the user got wrong on the command line or in a file named there (an unknown
//! key, a missing folder, an architecture that does not parse) is marked with [`Usage`] and ends with exit code 2;
//! everything else that goes wrong ends with 1.

use std::fmt;
use std::io;
use std::process::ExitCode;

use epnas_data::DataError;
use epnas_fleet::FleetError;
use epnas_fleet::slurm::SlurmError;
use epnas_search::{DiskError, RunError, SearchError, StrategyError};
use epnas_supernet::SupernetError;

/// Exit code of bad input: flags, configuration, files named on the command line.
pub(crate) const USAGE: u8 = 2;
/// Exit code of everything else that failed.
pub(crate) const FAILURE: u8 = 1;

/// Marks an error as the user's to fix.
#[derive(Debug)]
pub(crate) struct Usage(anyhow::Error);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(&self.0))
    }
}

impl std::error::Error for Usage {}

/// Standard output was closed by its reader (`epnas ... | head`): no error at all, but nothing is left to do.
#[derive(Debug)]
pub(crate) struct OutputClosed;

impl fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for OutputClosed {}

/// Everything has been said already; only this exit code is left.
#[derive(Debug)]
pub(crate) struct Exit(pub(crate) u8);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// A [`Usage`] error with `message`.
pub(crate) fn usage(message: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Usage(anyhow::anyhow!("{message}")))
}

/// Turns any error of a result into a [`Usage`] error.
pub(crate) trait OrUsage<T> {
    /// The same value, or the same error marked as the user's to fix.
    fn or_usage(self) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrUsage<T> for Result<T, E> {
    fn or_usage(self) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Usage(error.into())))
    }
}

/// Whether the surroundings failed (the network, the download's cache) and not what the user named.
fn is_environment(error: &DataError) -> bool {
    matches!(
        error,
        DataError::Download { .. } | DataError::Malformed { .. }
    )
}

/// An error of a data set: the user's to fix, unless the surroundings failed.
pub(crate) fn of_data(error: DataError) -> anyhow::Error {
    if is_environment(&error) {
        error.into()
    } else {
        anyhow::Error::new(Usage(error.into()))
    }
}

/// Whether the run folder cannot be made or written to, because of what it is or whose.
fn is_no_folder(error: &DiskError) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.action, "make" | "write" | "lock")
        && matches!(
            error.source.kind(),
            Kind::AlreadyExists
                | Kind::NotADirectory
                | Kind::IsADirectory
                | Kind::NotFound
                | Kind::PermissionDenied
                | Kind::ReadOnlyFilesystem
                | Kind::InvalidFilename
        )
}

/// An error of a run: the user's to fix when it is about the configuration, the folder or the images.
pub(crate) fn of_search(error: SearchError) -> anyhow::Error {
    if let SearchError::Run(RunError::Disk(disk)) = &error
        && is_no_folder(disk)
    {
        return usage(format_args!(
            "{disk}; expected a folder that can be written to"
        ));
    }
    let is_usage = match &error {
        SearchError::Data(error) => !is_environment(error),
        SearchError::Supernet(error) => {
            matches!(
                error,
                SupernetError::Network(_)
                    | SupernetError::Config(_)
                    | SupernetError::Checkpoint(_)
                    | SupernetError::NoBranches
            )
        }
        SearchError::Run(error) => !matches!(error, RunError::Disk(_)),
        SearchError::Strategy(error) => matches!(error, StrategyError::Limits { .. }),
        SearchError::Settings(_)
        | SearchError::Space(_)
        | SearchError::Nothing { .. }
        | SearchError::NoResult { .. }
        | SearchError::OtherImages { .. }
        | SearchError::OtherComputation { .. }
        | SearchError::TrainingCheckpoint { .. } => true,
        _ => false,
    };
    if is_usage {
        anyhow::Error::new(Usage(error.into()))
    } else {
        error.into()
    }
}

/// An error of a fleet, likewise.
pub(crate) fn of_fleet(error: FleetError) -> anyhow::Error {
    match error {
        FleetError::Search(error) => of_search(*error),
        FleetError::Missing { .. }
        | FleetError::Lost { .. }
        | FleetError::Single { .. }
        | FleetError::Fewer { .. }
        | FleetError::Device { .. }
        | FleetError::Piece { .. } => anyhow::Error::new(Usage(error.into())),
        error => error.into(),
    }
}

/// An error of Slurm: the user's to fix when Slurm refuses what the configuration says.
pub(crate) fn of_slurm(error: SlurmError) -> anyhow::Error {
    match error {
        SlurmError::Fleet(error) => of_fleet(error),
        error if error.is_usage() => anyhow::Error::new(Usage(error.into())),
        error => error.into(),
    }
}

/// Shows `error` as one `error: ...` line on standard error and says which code to exit with.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(|cause| cause.is::<OutputClosed>()) {
        return ExitCode::SUCCESS;
    }
    if let Some(Exit(code)) = error.chain().find_map(|cause| cause.downcast_ref()) {
        return ExitCode::from(*code);
    }
    crate::output::stderr_line(&format!("error: {}", chain(error)));
    let is_usage = error.chain().any(|cause| cause.is::<Usage>());
    ExitCode::from(if is_usage { USAGE } else { FAILURE })
}

/// The error and its causes, joined by `: `. A cause that its parent's message already ends with is not said twice.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let part = cause.to_string();
        let part = part.trim_end();
        if text.is_empty() {
            text.push_str(part);
        } else if !text.contains(part) {
            text.push_str(": ");
            text.push_str(part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_joined_and_not_repeated() {
        let error = anyhow::anyhow!("no such file")
            .context("cannot read a.toml: no such file")
            .context("config");
        assert_eq!(chain(&error), "config: cannot read a.toml: no such file");
    }

    #[test]
    fn usage_survives_context() {
        let failed: Result<(), _> = Err(std::io::Error::other("boom"))
            .or_usage()
            .context("while parsing");
        let error = failed.expect_err("it was an error");
        assert!(error.chain().any(|cause| cause.is::<Usage>()));
        assert_eq!(chain(&error), "while parsing: boom");
    }
}
