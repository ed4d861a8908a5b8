//! `cargo xtask reproduce`: the paper's table and figures once more, with our own search and trainer (Perez-Rua et al.,
//! 2018, section 5). Only the `epnas` command is used, as a user would.

mod ablations;
mod drawings;
mod figure6;
mod lab;
mod page;
mod scale;
mod space;
mod table1;
mod variant;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::command;
use lab::Lab;
use page::Page;
use scale::Scale;

#[derive(Args)]
pub(crate) struct Flags {
    /// What to reproduce.
    #[arg(value_enum)]
    what: What,
    /// How thoroughly: minutes on the built-in images, hours on CIFAR-10, or the paper's settings.
    #[arg(long, value_enum)]
    scale: Scale,
    /// Folder of the pages and of all runs; what is finished there is not done again [default: runs/reproduce/SCALE].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder with CIFAR-10's binary files, for the scales cpu and paper [default: $EPNAS_CIFAR10, else downloaded].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Run the searches that are compared (figure6, ablations) as fleets: `local` on this machine, or `slurm`.
    #[arg(long, value_enum)]
    fleet: Option<Engine>,
    /// A setting of the fleets, such as fleet.slurm.partition=gpu; repeat for more.
    #[arg(long = "fleet-set", value_name = "KEY=VALUE", requires = "fleet")]
    fleet_set: Vec<String>,
    /// Seeds of every search and training: 1, 2, .. [default: 2; with --scale paper 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: Option<u64>,
}

/// What can be reproduced; each makes a page of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Sizes of the search spaces (section 3).
    Space,
    /// Errors, sizes and costs (table 1).
    Table1,
    /// The best macro network, drawn.
    Figure4,
    /// The best micro cell, drawn.
    Figure5,
    /// Searches by number of iterations, with mean and variance.
    Figure6,
    /// What each part of the method is worth.
    Ablations,
}

/// Who runs a fleet's searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// `epnas fleet run`.
    Local,
    /// `epnas fleet submit`.
    Slurm,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Local => "local",
            Engine::Slurm => "slurm",
        }
    }
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Space => "space",
            What::Table1 => "table1",
            What::Figure4 => "figure4",
            What::Figure5 => "figure5",
            What::Figure6 => "figure6",
            What::Ablations => "ablations",
        }
    }

    fn page(self, lab: &mut Lab) -> Result<Page> {
        match self {
            What::Space => space::page(lab),
            What::Table1 => table1::page(lab),
            What::Figure4 => drawings::page(lab, scale::Kind::Macro),
            What::Figure5 => drawings::page(lab, scale::Kind::Micro),
            What::Figure6 => figure6::page(lab),
            What::Ablations => ablations::page(lab),
        }
    }
}

/// All pages, of one seed at the smallest scale.
pub(crate) fn smoke(root: &Path, out: &Path) -> Result<()> {
    for &what in What::value_variants() {
        let flags = Flags {
            what,
            scale: Scale::Smoke,
            out: Some(out.to_owned()),
            data: None,
            seeds: Some(1),
            fleet: None,
            fleet_set: Vec::new(),
        };
        run(root, &flags)?;
    }
    Ok(())
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    let out = match &flags.out {
        Some(out) => out.clone(),
        None => root.join("runs/reproduce").join(flags.scale.name()),
    };
    let given = flags.data.clone();
    let given = given.or_else(|| std::env::var_os("EPNAS_CIFAR10").map(PathBuf::from));
    let data = given.filter(|_| flags.scale != Scale::Smoke);
    if let Some(data) = &data {
        ensure!(
            data.is_dir(),
            "--data {}: there is no such folder",
            data.display()
        );
    }
    let epnas = match flags.scale {
        // A development build is optimized too, and is there in CI.
        Scale::Smoke => command::build(root, &["--workspace", "--bin", "epnas"])?,
        _ => command::build_release(root, &["--package", "epnas-cli", "--bin", "epnas"])?,
    };
    let seeds = flags.seeds.unwrap_or(flags.scale.seeds());
    let mut lab = Lab::open(root, epnas, &out, flags.scale, data.as_deref(), seeds)?;
    lab.fleet = flags.fleet.map(|engine| (engine, flags.fleet_set.clone()));
    let text = flags.what.page(&mut lab)?.finish(flags.what.name(), &lab);
    let file = out.join(format!("{}.md", flags.what.name()));
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn error(line: &[&str]) -> String {
        let line = ["reproduce"].iter().chain(line);
        let error = Line::try_parse_from(line).map(|_| ()).unwrap_err();
        error.to_string()
    }

    #[test]
    fn wrong_arguments_are_named_with_what_was_expected() {
        let what = error(&["table2", "--scale", "smoke"]);
        assert!(
            what.contains("'table2'")
                && what.contains("space, table1, figure4, figure5, figure6, ablations"),
            "{what}"
        );
        let scale = error(&["space", "--scale", "tiny"]);
        assert!(
            scale.contains("'tiny'") && scale.contains("smoke, cpu, paper"),
            "{scale}"
        );
        assert!(error(&["space"]).contains("--scale"));
        let seeds = error(&["table1", "--scale", "cpu", "--seeds", "0"]);
        assert!(seeds.contains("0 is not in 1..=100"), "{seeds}");
    }

    #[test]
    fn a_folder_of_images_that_is_not_there_is_refused_before_anything_is_built() {
        let line = [
            "reproduce",
            "table1",
            "--scale",
            "cpu",
            "--data",
            "/no/such/images",
        ];
        let flags = Line::try_parse_from(line).map(|line| line.flags).unwrap();
        let error = run(Path::new("/no/such/root"), &flags)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "--data /no/such/images: there is no such folder");
    }
}
