//! Faults on order: every step of a write is a point, and at a chosen one the write fails, the disk is full or the process
//! is gone, with half of the bytes written. For builds with debug assertions alone.
//!
//! A whole process takes its fault from `EPNAS_FAULT`: `kill:17` kills it at point 17 (from 0), `full:17` fills the disk from
//! there on. A test within one process asks for [`die_at`].

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static REHEARSAL: Cell<bool> = const { Cell::new(false) };
    static REMAINING: Cell<Option<usize>> = const { Cell::new(None) };
    static PASSED: Cell<usize> = const { Cell::new(0) };
}

/// Makes the write point number `at` (from 0) of this thread fail, and all after it; `None` for none. From now on the writes
/// of this thread do not wait for the disk: the process is to die, not the machine.
pub fn die_at(at: Option<usize>) {
    REHEARSAL.set(true);
    REMAINING.set(at);
    PASSED.set(0);
}

/// How many write points this thread has passed since the last [`die_at`].
pub fn points_passed() -> usize {
    PASSED.get()
}

pub(crate) fn is_rehearsal() -> bool {
    REHEARSAL.get()
}

pub(crate) fn point() -> io::Result<()> {
    if let Some((fault, at)) = ordered() {
        strike(*fault, *at)?;
    }
    PASSED.set(PASSED.get() + 1);
    match REMAINING.get() {
        None => Ok(()),
        Some(0) => Err(io::Error::other("the process dies here")),
        Some(left) => {
            REMAINING.set(Some(left - 1));
            Ok(())
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Full,
}

/// What `EPNAS_FAULT` asks for, and at which point.
fn ordered() -> Option<&'static (Fault, usize)> {
    static ORDERED: OnceLock<Option<(Fault, usize)>> = OnceLock::new();
    let read = || {
        let text = std::env::var("EPNAS_FAULT").ok()?;
        let (fault, at) = text.split_once(':')?;
        let fault = match fault {
            "kill" => Fault::Kill,
            "full" => Fault::Full,
            _ => return None,
        };
        Some((fault, at.parse().ok()?))
    };
    ORDERED.get_or_init(read).as_ref()
}

fn strike(fault: Fault, at: usize) -> io::Result<()> {
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    let here = PASSED.fetch_add(1, Ordering::Relaxed);
    match fault {
        // As SIGKILL: nothing is flushed, nothing is dropped.
        Fault::Kill if here == at => std::process::abort(),
        Fault::Full if here >= at => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}
