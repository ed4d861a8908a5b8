//! Ctrl-C and termination: the first signal asks the work to end in order, the second ends the process at once.
//!
//! Commands that keep what they have done (search, select, rank, train) catch the signals; all others end at the first, as
//! programs do by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::Exit;
use crate::output;

/// Exit code of a process that a signal ended, less the signal's number: what shells report.
const BY_SIGNAL: i32 = 128;

/// What the signals have said so far.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Catches SIGINT and SIGTERM from now on.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let interrupt = Self {
            stop: Arc::default(),
            signal: Arc::default(),
        };
        for signal in [SIGINT, SIGTERM] {
            // In this order: at the first signal `stop` is still false when the shutdown looks at it.
            flag::register_conditional_shutdown(
                signal,
                BY_SIGNAL + signal,
                Arc::clone(&interrupt.stop),
            )
            .and_then(|_| {
                flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize)
            })
            .and_then(|_| flag::register(signal, Arc::clone(&interrupt.stop)))
            .context("cannot catch signals")?;
        }
        Ok(interrupt)
    }

    /// Becomes true at the first signal.
    pub(crate) fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether a signal has come.
    pub(crate) fn is_set(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the command: says `how` to go on, and exits as a process that the signal ended.
    pub(crate) fn end(&self, how: &str) -> anyhow::Error {
        let signal = self.signal.load(Ordering::Relaxed) as i32;
        let name = if signal == SIGTERM {
            "SIGTERM"
        } else {
            "SIGINT"
        };
        output::stderr_line(&format!("stopped by {name}; {how}"));
        Exit(u8::try_from(BY_SIGNAL + signal).unwrap_or(u8::MAX)).into()
    }
}
