//! The `epnas` command: search, select, rank, train, evaluate and use convolutional networks.
//!
//! Results go to standard output, progress and logs to standard error. Exit codes: 0 success, 1 failure, 2 bad input,
//! 130 and 143 after Ctrl-C and SIGTERM. The algorithms live in the other crates; a command reads its flags, calls them and prints.

mod arguments;
mod commands;
#[cfg(not(feature = "cuda"))]
mod companion;
mod event_files;
mod failure;
mod handover;
mod inputs;
mod interrupt;
mod logging;
mod output;
mod progress;
mod run_page;
mod watcher;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Cli, Command, Global};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return arguments::refuse(&error),
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let global = &cli.global;
    logging::start(global);
    set_threads(global)?;
    match &cli.command {
        Command::Run(args) => commands::run::run(args, global),
        Command::Search(args) => commands::search::run(args, global),
        Command::Select(args) => commands::select::run(args, global),
        Command::Compare(args) => commands::compare::run(args, global),
        Command::Rank(args) => commands::rank::run(args, global),
        Command::Train(args) => commands::train::run(args, global),
        Command::Eval(args) => commands::eval::run(args, global),
        Command::Predict(args) => commands::predict::run(args, global),
        Command::Export(args) => commands::export::run(args, global),
        Command::Fleet(args) => commands::fleet::run(args, global),
        Command::Show(args) => commands::show::run(args, global),
        Command::Report(args) => commands::report::run(args, global),
        Command::Watch(args) => commands::watch::run(args, global),
        Command::Space(args) => commands::space::run(args, global),
        Command::Data(args) => commands::data::run(args, global),
        Command::Devices(args) => commands::devices::run(args, global),
        Command::Config(args) => commands::config::run(args, global),
        Command::Completions(args) => commands::completions::run(args, global),
        Command::Man(args) => commands::man::run(args, global),
    }
}

/// Sizes the pool that every kernel runs on. Results do not depend on it.
fn set_threads(global: &Global) -> anyhow::Result<()> {
    if let Some(threads) = global.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(threads))
            .build_global()?;
    }
    Ok(())
}
