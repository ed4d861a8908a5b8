//! What the user names on the command line: configurations, presets and architectures.

use std::path::{Path, PathBuf};

use anyhow::Context;
use epnas_arch::{Arch, Design, ParseDesignError};
use epnas_search::{Best, Config, ConfigFileError, RunError, RunFolder, Which};
use epnas_supernet::{MODEL_FILE, Model};

use crate::arguments::{ConfigArgs, Global, SettingsArgs};
use crate::failure::{self, OrUsage, usage};
use crate::output::word;
use crate::progress::shortened;

/// Refuses `path`, where a folder is to be made or used, when a file is in the way.
pub(crate) fn require_folder(path: &Path) -> anyhow::Result<()> {
    if path.to_str().is_none() {
        // Results name files, in JSON.
        return Err(usage(format_args!(
            "{}: expected a path of UTF-8",
            path.display()
        )));
    }
    for place in path.ancestors() {
        match place.metadata() {
            Ok(found) if found.is_dir() => break,
            Ok(_) if place == path => {
                return Err(usage(format_args!(
                    "{} is a file; expected a folder",
                    path.display()
                )));
            }
            Ok(_) => {
                return Err(usage(format_args!(
                    "{}: {} is a file; expected a folder",
                    path.display(),
                    place.display()
                )));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// The configurations that are built into the command, by name. They are the files of `configs/`.
pub(crate) const PRESETS: [(&str, &str); 7] = [
    ("demo", include_str!("../presets/demo.toml")),
    ("folder", include_str!("../presets/folder.toml")),
    (
        "cifar10-quick-macro",
        include_str!("../presets/cifar10-quick-macro.toml"),
    ),
    (
        "cifar10-quick-micro",
        include_str!("../presets/cifar10-quick-micro.toml"),
    ),
    (
        "cifar10-macro",
        include_str!("../presets/cifar10-macro.toml"),
    ),
    (
        "cifar10-micro",
        include_str!("../presets/cifar10-micro.toml"),
    ),
    ("table", include_str!("../presets/table.toml")),
];

/// Assignments that override a configuration: dotted key and raw value.
pub(crate) type Sets = Vec<(String, String)>;

/// The effective configuration: defaults, then the file or preset, then `--set`, then `--seed` and `--data`.
pub(crate) fn config(args: &ConfigArgs, global: &Global) -> anyhow::Result<Config> {
    let config = settings(&args.settings, global)?;
    match &args.data {
        Some(dir) => with_data(config, dir),
        None => Ok(config),
    }
}

/// As [`config`], for commands that read no images.
pub(crate) fn settings(args: &SettingsArgs, global: &Global) -> anyhow::Result<Config> {
    let sets = assignments(args, global)?;
    match &args.config {
        None => Config::from_toml_with("", &sets).or_usage(),
        Some(name) => named_config(name, &sets),
    }
}

/// The assignments of `--set` and `--seed`.
pub(crate) fn assignments(args: &SettingsArgs, global: &Global) -> anyhow::Result<Sets> {
    let mut sets = Sets::new();
    for argument in &args.set {
        sets.push(epnas_search::settings::split_assignment(argument).or_usage()?);
    }
    if let Some(seed) = global.seed {
        sets.push(("seed".to_owned(), seed.to_string()));
    }
    Ok(sets)
}

/// Whether `--set` gives a key a value.
pub(crate) fn is_set(args: &SettingsArgs, key: &str) -> anyhow::Result<bool> {
    for argument in &args.set {
        let (name, _) = epnas_search::settings::split_assignment(argument).or_usage()?;
        if name == key {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the file or preset of `--config` gives a key a value.
pub(crate) fn is_named(args: &SettingsArgs, key: &str) -> anyhow::Result<bool> {
    let Some(name) = &args.config else {
        return Ok(false);
    };
    let preset = PRESETS.iter().find(|(preset, _)| preset == name);
    let text = match (Path::new(name).is_file(), preset) {
        (false, Some((_, text))) => (*text).to_owned(),
        _ => std::fs::read_to_string(name).with_context(|| name.clone())?,
    };
    let table = epnas_search::settings::parse_table(&text).or_usage()?;
    Ok(epnas_search::settings::leaves(&table).contains_key(key))
}

/// The file called `name`, or else the preset of that name.
pub(crate) fn named_config(name: &str, sets: &[(String, String)]) -> anyhow::Result<Config> {
    let path = Path::new(name);
    let preset = PRESETS.iter().find(|(preset, _)| *preset == name);
    // A folder of that name, such as that of an earlier run, does not hide a preset.
    if path.is_dir() && preset.is_none() {
        return Err(usage(format_args!(
            "{name} is a folder; --config takes a TOML file or a preset: {}",
            preset_names()
        )));
    }
    if path.exists() && !path.is_dir() {
        return match Config::from_file(path, sets) {
            Err(ConfigFileError::Settings { source, .. })
                if Config::from_file(path, &[]).is_ok() =>
            {
                Err(*source).context("--set").or_usage()
            }
            result => result.or_usage(),
        };
    }
    let Some((_, text)) = preset else {
        return Err(usage(format_args!(
            "no file or preset called `{name}`; the presets are {}",
            preset_names()
        )));
    };
    // A preset that is in order by itself is not to blame.
    let alone = Config::from_toml_with(text, &[]);
    Config::from_toml_with(text, sets)
        .with_context(|| match alone {
            Ok(_) => "--set".to_owned(),
            Err(_) => format!("preset {name}"),
        })
        .or_usage()
}

/// `config` reading its images from `dir`, whose layout is recognized when the configuration says "synthetic".
pub(crate) fn with_data(mut config: Config, dir: &Path) -> anyhow::Result<Config> {
    if !dir.is_dir() {
        let found = if dir.exists() {
            "is a file"
        } else {
            "not found"
        };
        return Err(usage(format_args!(
            "{}: {found}; expected a folder of images",
            dir.display()
        )));
    }
    if config.data.source == epnas_data::Source::Synthetic {
        config.data.source = epnas_data::detect(dir).or_usage()?;
    }
    // Absolute, so that the run can be continued from another working directory.
    config.data.dir = Some(dir.canonicalize().unwrap_or_else(|_| dir.to_owned()));
    config.validate().or_usage()?;
    Ok(config)
}

/// An architecture in its text form, JSON form or DARTS-style genotype, or a file that holds one of them.
pub(crate) fn arch(text_or_file: &str) -> anyhow::Result<Arch> {
    let path = Path::new(text_or_file);
    if path.is_file() {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {text_or_file}"))
            .or_usage()?;
        return parse_arch(text.trim())
            .with_context(|| text_or_file.to_owned())
            .or_usage();
    }
    if path.is_dir() {
        return Err(usage(format_args!(
            "{text_or_file} is a folder; expected an architecture or a file that holds one"
        )));
    }
    if names_file(text_or_file) {
        return Err(usage(format_args!(
            "{text_or_file}: there is no such file; expected an architecture (`macro:..` or `micro:..`), or a file or run \
             folder that holds one"
        )));
    }
    // The text forms show their text themselves, with the place in it.
    let is_json = text_or_file.starts_with('{');
    parse_arch(text_or_file)
        .map_err(|error| match is_json {
            true => error.context(format!("`{}`", shortened(text_or_file, 60))),
            false => error,
        })
        .or_usage()
}

/// A network made by hand, or what [`arch`] reads.
pub(crate) fn design(text_or_file: &str) -> anyhow::Result<Design> {
    match text_or_file.parse() {
        Ok(Design::HandMade(network)) => Ok(network.into()),
        Err(ParseDesignError::HandMade(error)) if !Path::new(text_or_file).is_file() => {
            Err(error).or_usage()
        }
        _ => arch(text_or_file).map(Design::from),
    }
}

/// Whether `text` looks like the path of a file and like no form of an architecture.
fn names_file(text: &str) -> bool {
    let is_arch = ["macro:", "micro:", "{", "Genotype"]
        .iter()
        .any(|beginning| text.starts_with(beginning));
    let is_path = text.contains(std::path::is_separator) || Path::new(text).extension().is_some();
    is_path && !is_arch
}

fn parse_arch(text: &str) -> anyhow::Result<Arch> {
    if text.starts_with('{') {
        let value: serde_json::Value =
            serde_json::from_str(text).context("not an architecture in JSON")?;
        let nested = ["architecture", "arch"]
            .iter()
            .find_map(|key| value.get(key));
        return match nested {
            Some(serde_json::Value::String(text)) => searched(text),
            Some(nested) => Ok(serde_json::from_value(nested.clone())?),
            None => Ok(serde_json::from_value(value)?),
        };
    }
    if text.starts_with("Genotype") {
        return Ok(Arch::Micro(epnas_arch::parse_genotype(text)?));
    }
    searched(text)
}

/// An architecture in its text form, which a network made by hand has none of.
fn searched(text: &str) -> anyhow::Result<Arch> {
    match text.parse()? {
        Design::Arch(arch) => Ok(arch),
        Design::HandMade(network) => Err(anyhow::anyhow!(
            "{network} is made by hand; expected an architecture of a search space"
        )),
    }
}

pub(crate) fn preset_names() -> String {
    PRESETS.map(|(name, _)| name).join(", ")
}

/// The folder of the trained network in `dir`, a run folder or the model folder itself.
pub(crate) fn model_dir(dir: &Path, which: Which) -> anyhow::Result<PathBuf> {
    if dir.join(MODEL_FILE).is_file() && which == Which::Found {
        return Ok(dir.to_owned());
    }
    let folder = RunFolder::new(dir);
    let model = folder.training(which).model;
    let flag = match which {
        Which::Found => "",
        Which::Random => " --random",
    };
    if model.join(MODEL_FILE).is_file() {
        return Ok(model);
    }
    let dir = dir.display();
    Err(if !folder.dir().is_dir() {
        usage(format_args!(
            "{dir}: not found; expected a model or run folder"
        ))
    } else if is_untrained_fleet(&folder)? {
        usage(format_args!(
            "{dir} has no trained model yet; `epnas fleet run --out {}` makes it",
            word(folder.dir())
        ))
    } else if folder.holds_run() {
        usage(format_args!(
            "{dir} has no trained model yet; make it with `epnas train {}{flag}`",
            word(folder.dir())
        ))
    } else {
        usage(format_args!(
            "{dir} is neither a model folder ({MODEL_FILE} is missing) nor a run folder"
        ))
    })
}

/// Whether it is for a fleet to train what is not there.
fn is_untrained_fleet(folder: &RunFolder) -> anyhow::Result<bool> {
    let config = match folder.is_fleet() {
        true => run_config(folder.dir())?,
        false => None,
    };
    Ok(config.is_some_and(|config| config.fleet.train))
}

/// The trained network in `dir`, a run folder or a model folder.
pub(crate) fn model(dir: &Path, which: Which) -> anyhow::Result<Model> {
    let model = Model::load(&model_dir(dir, which)?)?;
    // A result that cannot be read says nothing of the model.
    let best = Best::read(&RunFolder::new(dir).best()).ok();
    if let Some(best) = best.filter(|_| which == Which::Found) {
        let (trained, found) = (&model.info().architecture, best.architecture.to_string());
        if *trained != found {
            tracing::warn!(
                "{}: the trained network is {trained}; the best found is another by now, {found}, which is not trained yet",
                dir.display()
            );
        }
    }
    Ok(model)
}

/// The configuration stored in the run folder `dir`; `None` when it holds none.
pub(crate) fn run_config(dir: &Path) -> anyhow::Result<Option<Config>> {
    let folder = RunFolder::new(dir);
    let text = match folder.config_text() {
        Err(RunError::Missing { .. }) => return Ok(None),
        text => text.map_err(|error| failure::of_search(error.into()))?,
    };
    Config::from_toml(&text)
        .with_context(|| folder.config().display().to_string())
        .or_usage()
        .map(Some)
}

/// The configuration of the run that `dir` is, or that it is a model folder in.
pub(crate) fn run_config_near(dir: &Path) -> anyhow::Result<Option<Config>> {
    if let Some(config) = run_config(dir)? {
        return Ok(Some(config));
    }
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    // RUN/model and RUN/train/best.
    for above in dir.ancestors().skip(1).take(2) {
        if let Some(config) = run_config(above)? {
            return Ok(Some(config));
        }
    }
    Ok(None)
}

/// A stored configuration with `--set`, `--seed` and `--data` over it.
pub(crate) fn adjusted(
    mut config: Config,
    args: &ConfigArgs,
    global: &Global,
) -> anyhow::Result<Config> {
    for (key, value) in assignments(&args.settings, global)? {
        config.set(&key, &value).or_usage()?;
    }
    match &args.data {
        Some(dir) => with_data(config, dir),
        None => Ok(config),
    }
}

/// The best architecture of the run in `dir`, or that of the model there.
pub(crate) fn best_arch(dir: &Path) -> anyhow::Result<Arch> {
    let best = RunFolder::new(dir).best();
    if best.is_file() {
        return Ok(Best::read(&best).map_err(failure::of_search)?.architecture);
    }
    for model in [
        dir.join(MODEL_FILE),
        RunFolder::new(dir)
            .training(Which::Found)
            .model
            .join(MODEL_FILE),
    ] {
        if model.is_file() {
            return arch(&model.to_string_lossy());
        }
    }
    Err(usage(format_args!(
        "{}: neither a finished run (best.json) nor a model ({MODEL_FILE})",
        dir.display()
    )))
}
