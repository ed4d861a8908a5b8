//! `epnas man DIR`: manual pages.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use serde_json::json;

use crate::arguments::{Cli, Global};
use crate::inputs;
use crate::output;

/// Write a manual page for every command into a folder.
///
/// Examples:
///   epnas man ~/.local/share/man/man1     then: man epnas, man epnas-search
///   epnas man pages                       then: man pages/epnas-search.1
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ManArgs {
    /// The folder; pages of the same names are replaced.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &ManArgs, global: &Global) -> anyhow::Result<()> {
    let dir = &args.dir;
    inputs::require_folder(dir)?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    output::print_as(global.format(), &json!({ "out": dir }), |_| {
        let main = dir.join("epnas.1");
        format!("{}, and a page for each command beside it", main.display())
    })
}
