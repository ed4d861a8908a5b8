//! What a run has to survive, tried hard and counted: one subcommand per promise of `docs/reliability.md`. The tests of
//! `cargo xtask test` try the same with fewer repetitions.

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
    /// The operators' tests at every SIMD level, under AddressSanitizer and under Valgrind (minutes; Linux).
    Kernels(kernels::Flags),
    /// Licences, bans and sources of every dependency, and whether every crate packs and builds from its package.
    Packages,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    match &flags.what {
        What::Kernels(flags) => kernels::run(root, flags),
        What::Packages => packages::run(root),
    }
}
