//! `epnas completions SHELL`: a completion script.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::{Cli, Global};
use crate::output;

/// Print a completion script for a shell.
///
/// Examples:
///   epnas completions bash > ~/.local/share/bash-completion/completions/epnas
///   epnas completions zsh > ~/.zfunc/_epnas
///   epnas completions fish > ~/.config/fish/completions/epnas.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionsArgs {
    /// The shell to complete in.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, global: &Global) -> anyhow::Result<()> {
    // clap_complete panics on a closed pipe: collect first, write after.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "epnas", &mut script);
    let (shell, script) = (args.shell.to_string(), String::from_utf8(script)?);
    output::print_source(global.format(), "shell", &shell, &script)
}
