//! Logs on standard error, without tearing progress bars.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::arguments::Global;
use crate::progress;

/// Environment variable with a `tracing` filter, e.g. `epnas_search=debug`.
const VARIABLE: &str = "EPNAS_LOG";

/// Starts logging at the level of `-v`, `-q` or `EPNAS_LOG`.
pub(crate) fn start(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    // The download's failure is our error already; its client's own lines are for debugging.
    let level = match global.verbose {
        0 | 1 => format!("{level},hf_hub=off"),
        _ => level.to_owned(),
    };
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Stderr)
        .with_ansi(console_colors())
        .log_internal_errors(false)
        .without_time()
        .init();
}

fn console_colors() -> bool {
    use std::io::IsTerminal;
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Standard error, with the progress bars out of the way while a line is written.
struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Stderr;

    fn make_writer(&self) -> Stderr {
        Stderr
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::bars().suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
