//! The folder of a reproduction and the `epnas` commands that fill it. A search or training that has ended by itself leaves
//! a file of its name with its result, and is not run again; one that was interrupted goes on.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Engine;
use super::scale::{Kind, Scale};
use crate::command;

pub(super) struct Lab {
    root: PathBuf,
    epnas: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) scale: Scale,
    data: Option<PathBuf>,
    pub(super) seeds: u64,
    /// What was run with the first seed, or would have been if it had not been finished, as one would type it: `$OUT` and
    /// `$EPNAS_CIFAR10` stand for the folders of the reproduction and of the images.
    pub(super) commands: Vec<String>,
    /// Who runs searches that are compared, and its settings; `None` for one after another.
    pub(super) fleet: Option<(Engine, Vec<String>)>,
}

impl Lab {
    /// Makes the folder, or opens one of the same scale.
    pub(super) fn open(
        root: &Path,
        epnas: PathBuf,
        dir: &Path,
        scale: Scale,
        data: Option<&Path>,
        seeds: u64,
    ) -> Result<Lab> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let note = dir.join("reproduce.json");
        let ours = json!({ "scale": scale.name() });
        if note.exists() {
            let found = read(&note)?;
            ensure!(
                found == ours,
                "{} holds a reproduction of scale {}, expected {}; name another folder with --out",
                dir.display(),
                found["scale"],
                ours["scale"]
            );
        } else {
            write(&note, &ours)?;
        }
        Ok(Lab {
            root: root.to_owned(),
            epnas,
            dir: dir.to_owned(),
            scale,
            data: data.map(Path::to_owned),
            seeds,
            commands: Vec::new(),
            fleet: None,
        })
    }

    /// Searches a space; returns the folder of the run and its result.
    pub(super) fn search(&mut self, kind: Kind, seed: u64) -> Result<(PathBuf, Value)> {
        self.search_with(kind.name(), kind, seed, &[])
    }

    /// The same with other settings, into a folder of this name.
    pub(super) fn search_with(
        &mut self,
        name: &str,
        kind: Kind,
        seed: u64,
        settings: &[String],
    ) -> Result<(PathBuf, Value)> {
        let run = self.dir.join(format!("{name}-{seed}"));
        let mut search = self.epnas("search");
        self.settings(&mut search, kind, seed);
        for setting in settings {
            search.args(["--set", setting]);
        }
        // Half the time of the presets; nothing here is compared with it.
        search
            .args(["--set", "baseline.kind=none", "--out"])
            .arg(&run);
        let shown = self.note(&search, seed);
        let finished = run.with_added_extension("json");
        if finished.exists() {
            let made_by = fs::read_to_string(run.with_added_extension("command"));
            // Those of earlier versions do not say.
            let made_by = made_by.unwrap_or_else(|_| shown.clone());
            ensure!(
                made_by == shown,
                "{} was made by `{made_by}`, expected `{shown}`; name another folder with --out",
                finished.display(),
            );
            return Ok((run, read(&finished)?));
        }
        if run.join("config.toml").exists() {
            search.arg("--resume");
        }
        self.verbose(&mut search);
        command::run(&mut search)?;
        // An interrupted search leaves a `best.json` too, of what it had.
        let best = read(&run.join("best.json"))?;
        let command = run.with_added_extension("command");
        fs::write(&command, &shown)
            .with_context(|| format!("cannot write {}", command.display()))?;
        write(&finished, &best)?;
        Ok((run, best))
    }

    /// As many searches as there are seeds, as a fleet; returns what `epnas fleet collect --json` prints.
    pub(super) fn fleet(
        &mut self,
        (engine, more): &(Engine, Vec<String>),
        name: &str,
        kind: Kind,
        settings: &[String],
    ) -> Result<Value> {
        let out = self.dir.join(format!("{name}-fleet"));
        let mut fleet = self.epnas("fleet");
        fleet.arg(match engine {
            Engine::Local => "run",
            Engine::Slurm => "submit",
        });
        self.settings(&mut fleet, kind, 1);
        for setting in settings.iter().chain(more) {
            fleet.args(["--set", setting]);
        }
        fleet.args(["--set", "baseline.kind=none", "--set", "fleet.train=false"]);
        fleet.args(["--replicas", &self.seeds.to_string(), "--out"]);
        fleet.arg(&out);
        self.note(&fleet, 1);
        let finished = out.with_added_extension("json");
        if finished.exists() {
            let collected = read(&finished)?;
            // A fleet of fewer seeds gets more.
            let replicas = collected["replicas"].as_array().map_or(0, Vec::len);
            if replicas as u64 == self.seeds {
                return Ok(collected);
            }
        }
        if *engine == Engine::Slurm {
            fleet.arg("--wait");
        }
        eprintln!("$ {}", command::show(&fleet));
        self.verbose(&mut fleet);
        let printed = command::capture(fleet.arg("--json"))?;
        let collected = serde_json::from_str(&printed);
        let collected = collected.with_context(|| format!("fleet printed {printed:?}"))?;
        write(&finished, &collected)?;
        Ok(collected)
    }

    /// Trains a network from scratch into the folder `name` and tests it; returns what `epnas train --json` prints.
    pub(super) fn train(
        &mut self,
        name: &str,
        network: &str,
        kind: Kind,
        channels: Option<usize>,
        seed: u64,
    ) -> Result<Value> {
        let out = self.dir.join(format!("{name}-{seed}"));
        let mut train = self.epnas("train");
        train.args(["--arch", network]);
        self.settings(&mut train, kind, seed);
        if let Some(channels) = channels {
            train.args(["--set", &format!("train.channels={channels}")]);
        }
        train.arg("--out").arg(&out);
        self.note(&train, seed);
        let report = out.with_added_extension("json");
        if report.exists() {
            let found = read(&report)?;
            ensure!(
                found["network"] == network,
                "{} is of {}, expected {network}; name another folder with --out",
                report.display(),
                found["network"]
            );
            return Ok(found["report"].clone());
        }
        eprintln!("$ {}", command::show(&train));
        self.verbose(&mut train);
        let printed = command::capture(train.arg("--json"))?;
        let trained: Value =
            serde_json::from_str(&printed).with_context(|| format!("train printed {printed:?}"))?;
        write(&report, &json!({ "network": network, "report": trained }))?;
        Ok(trained)
    }

    /// What a command of `epnas` prints.
    pub(super) fn printed(&mut self, arguments: &[&str]) -> Result<String> {
        let mut command = self.epnas(arguments[0]);
        command.args(&arguments[1..]);
        self.commands.push(command::show(&command));
        command::capture(&mut command)
    }

    /// Takes a command down for the page, if it is of the first seed; returns it as it is shown.
    fn note(&mut self, command: &Command, seed: u64) -> String {
        let mut shown = command::show(command);
        shown = shown.replace(&*self.dir.to_string_lossy(), "$OUT");
        if let Some(data) = &self.data {
            shown = shown.replace(&*data.to_string_lossy(), "$EPNAS_CIFAR10");
        }
        if seed == 1 {
            self.commands.push(shown.clone());
        }
        shown
    }

    fn epnas(&self, name: &str) -> Command {
        let mut command = Command::new(&self.epnas);
        command.current_dir(&self.root).arg(name);
        command
    }

    fn settings(&self, command: &mut Command, kind: Kind, seed: u64) {
        let config = self.scale.config(Path::new(""), kind);
        command.arg("--config").arg(config);
        if let Some(data) = &self.data {
            command.arg("--data").arg(data);
        }
        command.args(["--seed", &seed.to_string()]);
    }

    /// Without a terminal there is no progress bar: lines show a log's reader that it goes on.
    fn verbose(&self, command: &mut Command) {
        if !std::io::stderr().is_terminal() {
            command.arg("-v");
        }
    }
}

pub(super) fn read(file: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

/// Whole or not at all, so that a kill leaves no half of a result.
fn write(file: &Path, value: &Value) -> Result<()> {
    let part = file.with_extension("part");
    fs::write(&part, format!("{value:#}\n"))
        .and_then(|()| fs::rename(&part, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A reproduction whose `epnas` is not there, so that only what is finished can be read.
    pub(in super::super) fn finished(name: &str, files: &[(&str, Value)]) -> Lab {
        let process = std::process::id();
        let dir = std::env::temp_dir().join(format!("epnas-reproduce-{process}-{name}"));
        fs::create_dir_all(&dir).unwrap();
        for (file, value) in files {
            let file = dir.join(file);
            write(&file, value).unwrap();
        }
        Lab::open(&dir, "no-such-epnas".into(), &dir, Scale::Smoke, None, 2).unwrap()
    }

    #[test]
    fn what_is_finished_is_read_and_not_run_again() {
        let report = json!({ "network": "resnet:8", "report": { "test_accuracy": 0.5 } });
        let best = json!({ "architecture": "macro:c3.0" });
        let files = [("resnet-1.json", report), ("macro-1.json", best.clone())];
        let mut lab = finished("read", &files);
        let trained = lab
            .train("resnet", "resnet:8", Kind::Macro, None, 1)
            .unwrap();
        assert_eq!(trained["test_accuracy"], 0.5);
        assert_eq!(lab.search(Kind::Macro, 1).unwrap().1, best);
        let error = lab
            .train("resnet", "resnet:14", Kind::Macro, None, 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("is of \"resnet:8\", expected resnet:14"),
            "{error}"
        );
        // What was made in another way is not taken for this.
        fs::write(lab.dir.join("macro-1.command"), "epnas search --seed 1").unwrap();
        let error = lab.search(Kind::Macro, 1).unwrap_err().to_string();
        assert!(
            error.contains("was made by `epnas search --seed 1`"),
            "{error}"
        );
        // Another seed is not there.
        let error = lab.search(Kind::Macro, 2).unwrap_err().to_string();
        assert!(
            error.contains("cannot start `no-such-epnas search"),
            "{error}"
        );
        fs::remove_dir_all(&lab.dir).unwrap();
    }

    #[test]
    fn a_folder_keeps_its_scale() {
        let lab = finished("scale", &[]);
        let open = |scale| Lab::open(&lab.root, "epnas".into(), &lab.dir, scale, None, 1);
        assert!(open(Scale::Smoke).is_ok());
        let error = open(Scale::Cpu).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("of scale \"smoke\", expected \"cpu\""),
            "{error}"
        );
        fs::remove_dir_all(&lab.dir).unwrap();
    }
}
