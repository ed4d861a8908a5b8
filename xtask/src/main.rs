//! The workspace's tasks: `cargo xtask <task>`. Flags, then one match, then the task; one file per task.

mod arrows;
mod bench;
mod ci;
mod cifar10;
mod command;
mod cuda;
mod data;
mod demo;
mod dist;
mod figures;
mod gpu;
mod networks;
mod parity;
mod python;
mod reproduce;
mod scratch;
mod table;
mod test;
mod tidy;
mod torture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The tasks of the EPNAS workspace"
)]
struct Flags {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Search, train and test on the built-in images, beside random search at equal budget (minutes).
    Demo(demo::Flags),
    /// Run every test: units, properties, documentation, the command line; examples must build.
    Test(test::Flags),
    /// What has to pass before a change goes in, cheapest first; stops at the first failure.
    Ci,
    /// Obtain and verify a data set.
    Data(data::Flags),
    /// Compare learning with PyTorch: same network, images and recipe over several seeds.
    Parity(parity::Flags),
    /// Measure speed: every operator, or, with --peer, whole training steps beside PyTorch.
    Bench(bench::Flags),
    /// Build for NVIDIA GPUs, or show what the kernels cost; brings its own toolkit where there is none.
    Cuda(cuda::Flags),
    /// Check and time everything on a machine with an NVIDIA GPU, which needs no Rust, in under 8 minutes.
    Gpu(gpu::Flags),
    /// The paper's table and figures once more, by our own search and trainer: a page for each.
    Reproduce(reproduce::Flags),
    /// Make a release: one archive for Linux on x86-64 that needs neither Rust nor Python, and its checksum; runs it.
    Dist(dist::Flags),
    /// Check what the compiler does not: paths in the documents, house rules of the sources, dependencies.
    Tidy,
    /// Try hard to break what has to hold: faults, kernels, packages, long runs.
    Torture(torture::Flags),
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(flags.task, &workspace_root()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task, root: &Path) -> Result<()> {
    match task {
        Task::Demo(flags) => demo::run(root, &flags),
        Task::Test(flags) => test::run(root, &flags),
        Task::Ci => ci::run(root),
        Task::Data(flags) => data::run(&flags),
        Task::Parity(flags) => parity::run(root, &flags),
        Task::Bench(flags) => bench::run(root, &flags),
        Task::Cuda(flags) => cuda::run(root, &flags),
        Task::Gpu(flags) => gpu::run(root, &flags),
        Task::Reproduce(flags) => reproduce::run(root, &flags),
        Task::Dist(flags) => dist::run(root, &flags),
        Task::Tidy => tidy::run(root).and_then(|()| arrows::run(root)),
        Task::Torture(flags) => torture::run(root, &flags),
    }
}

/// The folder that holds the workspace's `Cargo.toml`.
fn workspace_root() -> PathBuf {
    let manifest_dir =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest_dir)
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        use clap::CommandFactory;
        Flags::command().debug_assert();
    }

    #[test]
    fn the_root_holds_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(workspace_root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }
}
