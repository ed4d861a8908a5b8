//! The tests of `tests/faults.rs`, `tests/resume.rs` and `tests/memory.rs` with many times their everyday repetitions. Their bodies
//! are those of `cargo xtask test`; `EPNAS_TORTURE` is how often they repeat.

use std::path::Path;

use anyhow::Result;

use crate::command;

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Kills of a search, and as many of a final training; up to 20 bits are flipped in each file.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..))]
    times: u32,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    let mut test = command::cargo(root);
    test.env("EPNAS_TORTURE", flags.times.to_string());
    test.args(["test", "--locked", "--workspace", "--test", "integration"]);
    test.args(["--", "--nocapture", "faults::", "resume::killed"]);
    command::run(&mut test)
}

pub(crate) fn soak(root: &Path) -> Result<()> {
    let mut test = command::cargo(root);
    test.args(["test", "--locked", "--workspace", "--test", "integration"]);
    test.args(["--", "--nocapture", "--ignored", "memory::a_soak_is_flat"]);
    command::run(&mut test)
}
