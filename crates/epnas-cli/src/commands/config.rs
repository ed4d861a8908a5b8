//! `epnas config`: the effective configuration, its keys and its schema.

use clap::{Args, Subcommand};
use epnas_search::{Config, KeyDoc};
use serde_json::json;

use crate::arguments::{ConfigArgs, Global, SettingsArgs};
use crate::failure::usage;
use crate::inputs;
use crate::output::{self, Format};

/// Print the effective configuration, check one, or list every key.
///
/// Without a subcommand: the configuration that `search` would run with, every key with its
/// value in force.
///
/// Examples:
///   epnas config --config demo --set search.iterations=2
///   epnas config check my.toml --set train.epochs=10
///   epnas config keys temperature
///   epnas config schema > epnas.schema.json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub(crate) struct ConfigCommandArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a file or preset: unknown keys, types, ranges. Exit code 2 and one line when it is wrong.
    Check {
        /// A TOML file or the name of a preset.
        #[arg(value_name = "FILE|PRESET")]
        file: String,

        /// Check with one key changed, e.g. `--set search.iterations=2`; repeat for more.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// List every key with type, default and documentation.
    Keys {
        /// Only keys that contain this text, e.g. `temperature`.
        #[arg(value_name = "TEXT")]
        filter: Option<String>,
    },
    /// Print the JSON schema of a configuration, for editors.
    Schema,
    /// List the built-in presets, or print one of them, comments included.
    Presets {
        /// The preset to print.
        name: Option<String>,
    },
}

pub(crate) fn run(args: &ConfigCommandArgs, global: &Global) -> anyhow::Result<()> {
    match &args.action {
        None => {
            let config = inputs::config(&args.config, global)?;
            match global.format() {
                Format::Json => output::print_json(&config),
                Format::Text => output::print(&config.to_toml()?),
            }
        }
        Some(Action::Check { file, set }) => {
            let settings = SettingsArgs {
                config: Some(file.clone()),
                set: set.clone(),
            };
            inputs::settings(&settings, global)?;
            output::print_as(
                global.format(),
                &json!({ "file": file, "valid": true }),
                |_| format!("{file}: ok"),
            )
        }
        Some(Action::Keys { filter }) => keys(filter.as_deref(), global.format()),
        Some(Action::Schema) => output::print_json(&schemars::schema_for!(Config)),
        Some(Action::Presets { name }) => presets(name.as_deref(), global.format()),
    }
}

fn keys(filter: Option<&str>, format: Format) -> anyhow::Result<()> {
    let filter = filter.unwrap_or_default();
    let keys: Vec<_> = reference()
        .into_iter()
        .filter(|doc| doc.key.contains(filter))
        .collect();
    if keys.is_empty() {
        return Err(usage(format_args!(
            "no key contains `{filter}`; `epnas config keys` lists them all"
        )));
    }
    output::print_as(format, &keys, |keys| {
        let mut text = String::new();
        for doc in keys {
            let default = doc.default.as_deref().unwrap_or("not set");
            text.push_str(&format!("{} = {default}\n    {}\n", doc.key, doc.kind));
            text.push_str(&wrapped(&doc.doc, 4, 100));
        }
        text
    })
}

/// Every key. The tag of a section with variants has no field to carry a doc comment, so it is explained here.
fn reference() -> Vec<KeyDoc> {
    let mut keys = Config::reference();
    for doc in keys.iter_mut().filter(|doc| doc.doc.is_empty()) {
        if let Some(section) = doc.key.strip_suffix(".kind") {
            doc.doc =
                format!("Which kind of {section}; it decides which other keys the section has.");
        }
    }
    keys
}

fn presets(name: Option<&str>, format: Format) -> anyhow::Result<()> {
    match name {
        Some(name) => {
            let found = inputs::PRESETS.iter().find(|(preset, _)| *preset == name);
            let (_, text) = found.ok_or_else(|| {
                usage(format_args!(
                    "no preset is called `{name}`; the presets are {}",
                    inputs::preset_names()
                ))
            })?;
            output::print_source(format, "preset", name, text)
        }
        None => {
            let names = inputs::PRESETS.map(|(name, _)| name);
            output::print_as(format, &names, |names| names.join("\n"))
        }
    }
}

/// `text` in lines of at most `width` characters, each indented by `indent`.
fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.len() + 1 + word.len() > width {
            out.push_str(&format!("{:indent$}{line}\n", ""));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        out.push_str(&format!("{:indent$}{line}\n", ""));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn long_texts_are_wrapped_and_indented() {
        assert_eq!(
            wrapped("one two three four", 2, 11),
            "  one two\n  three\n  four\n"
        );
    }
}
