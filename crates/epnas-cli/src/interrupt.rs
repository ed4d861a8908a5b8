//! Ctrl-C and termination: the first signal asks the work to end in order, the second ends the process at once.
//!
//! Commands that keep what they have done (search, select, rank, train) catch the signals; all others end at the first, as
//! programs do by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use crate::failure::Exit;
use crate::output;

/// Exit code of a process that a signal ended, less the signal's number: what shells report.
const BY_SIGNAL: i32 = 128;

/// Signals that follow the first within this time belong to it: `timeout` and some job schedulers send to the process and
/// then to its group.
const ECHO: Duration = Duration::from_millis(500);
/// How often it is looked whether the first has come.
const POLL: Duration = Duration::from_millis(100);

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
        // True once another signal is a second one, not an echo of the first.
        let second = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, BY_SIGNAL + signal, Arc::clone(&second))
                .and_then(|_| {
                    flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize)
                })
                .and_then(|_| flag::register(signal, Arc::clone(&interrupt.stop)))
                .context("cannot catch signals")?;
        }
        let stop = interrupt.stop();
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(POLL);
            }
            std::thread::sleep(ECHO);
            second.store(true, Ordering::Relaxed);
        });
        Ok(interrupt)
    }

    /// A scheduler's word that time is running out, SIGUSR1, asks the work to end in order as well. Becomes true then.
    pub(crate) fn on_notice(&self) -> anyhow::Result<Arc<AtomicBool>> {
        let notice = Arc::new(AtomicBool::new(false));
        flag::register(SIGUSR1, Arc::clone(&notice))
            .and_then(|_| flag::register(SIGUSR1, self.stop()))
            .context("cannot catch signals")?;
        Ok(notice)
    }

    /// The end of standard input asks the work to end in order: whoever started this process holds the other end, and lets
    /// go of it even when it is killed.
    pub(crate) fn at_end_of_input(&self) {
        let stop = self.stop();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            stop.store(true, Ordering::Relaxed);
        });
    }

    /// Becomes true at the first signal.
    pub(crate) fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether someone wants an end: not a scheduler's word of a time limit, nor the end of input.
    pub(crate) fn is_by_signal(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
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
