//! What a run has to survive, tried hard and counted: one subcommand per promise of `docs/reliability.md`. The tests of
//! `cargo xtask test` try the same with fewer repetitions.

mod faults;
mod fuzz;
mod kernels;
pub(crate) mod packages;

use std::path::Path;

use anyhow::Result;
use clap::Subcommand;

#[derive(clap::Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs killed 200 times at random moments and at every write, on disks that fill up, with flipped bits; children that panic or do not
    /// fit in memory (some 20 minutes).
    Faults(faults::Flags),
    /// 3,000 children and a training of 100 epochs: memory, open files and times (minutes; Linux).
    Soak,
    /// Every reader on bytes of every kind, for an hour (needs a nightly compiler and cargo-fuzz).
    Fuzz(fuzz::Flags),
    /// The operators' tests at every SIMD level, under AddressSanitizer and under Valgrind (minutes; Linux).
    Kernels(kernels::Flags),
    /// Licences, bans and sources of every dependency, and whether every crate packs and builds from its package.
    Packages,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    match &flags.what {
        What::Faults(flags) => faults::run(root, flags),
        What::Soak => faults::soak(root),
        What::Fuzz(flags) => fuzz::run(root, flags),
        What::Kernels(flags) => kernels::run(root, flags),
        What::Packages => packages::run(root),
    }
}
