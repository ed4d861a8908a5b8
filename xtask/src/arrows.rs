//! Which crate may depend on which, asked of `cargo tree`: the arrows of `ARCHITECTURE.md`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use crate::command;

/// How far a rule looks.
#[derive(Clone, Copy)]
enum Reach {
    /// The crate's own `[dependencies]`.
    Direct,
    /// Everything that is compiled for it.
    Transitive,
}

/// A crate, and the packages that must not be among its dependencies.
struct Rule {
    package: &'static str,
    /// Flags that choose features.
    features: &'static [&'static str],
    reach: Reach,
    /// A trailing `*` matches any ending.
    forbidden: &'static [&'static str],
    why: &'static str,
}

const ALWAYS: &[&str] = &[];

const RULES: &[Rule] = &[
    transitive(
        "epnas-arch",
        ALWAYS,
        &["candle-*", "epnas-*", "rand", "clap"],
        "what an architecture is needs no tensors",
    ),
    transitive(
        "epnas-disk",
        ALWAYS,
        &["candle-*", "epnas-*", "clap"],
        "files know nothing of searches",
    ),
    transitive(
        "epnas-sampler",
        ALWAYS,
        &["candle-*", "clap"],
        "drawing candidates needs no tensors",
    ),
    transitive(
        "epnas-report",
        ALWAYS,
        &["candle-*", "clap"],
        "pages are made from a run folder alone",
    ),
    transitive(
        "epnas-export",
        ALWAYS,
        &["candle-*", "clap"],
        "networks are exported from a graph and numbers",
    ),
    transitive(
        "epnas-search",
        &["--no-default-features"],
        &[
            "candle-*",
            "epnas-data",
            "epnas-supernet",
            "epnas-surrogate",
        ],
        "the loop runs on tables and on other people's training",
    ),
    transitive(
        "epnas-search",
        ALWAYS,
        &["clap", "indicatif*"],
        "the orchestrator neither parses flags nor draws",
    ),
    transitive(
        "epnas-fleet",
        ALWAYS,
        &["clap", "indicatif*", "epnas-report", "epnas-export"],
        "many searches as one neither parse flags nor draw",
    ),
    transitive(
        "epnas-ops",
        ALWAYS,
        &["epnas-*"],
        "the operators know nothing of architecture search",
    ),
    transitive(
        "epnas-data",
        ALWAYS,
        &["epnas-*"],
        "data sets know no architectures",
    ),
    transitive(
        "epnas-supernet",
        ALWAYS,
        &["epnas-sampler", "epnas-search", "epnas-surrogate", "clap"],
        "training a child does not depend on how it was chosen",
    ),
    transitive(
        "epnas-surrogate",
        ALWAYS,
        &["epnas-ops", "epnas-data", "epnas-supernet", "epnas-search"],
        "predicting does not depend on how accuracies were measured",
    ),
    typed_errors("epnas-arch"),
    typed_errors("epnas-data"),
    typed_errors("epnas-disk"),
    typed_errors("epnas-fleet"),
    typed_errors("epnas-ops"),
    typed_errors("epnas-report"),
    typed_errors("epnas-sampler"),
    typed_errors("epnas-search"),
    typed_errors("epnas-supernet"),
    typed_errors("epnas-surrogate"),
];

const fn transitive(
    package: &'static str,
    features: &'static [&'static str],
    forbidden: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule {
        package,
        features,
        reach: Reach::Transitive,
        forbidden,
        why,
    }
}

/// Libraries return typed errors and print nothing.
const fn typed_errors(package: &'static str) -> Rule {
    Rule {
        package,
        features: ALWAYS,
        reach: Reach::Direct,
        forbidden: &["anyhow", "clap", "indicatif", "tracing-subscriber"],
        why: "only the binaries print and use anyhow",
    }
}

/// Fails with every forbidden dependency.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut broken = Vec::new();
    for rule in RULES {
        for name in violations(rule.forbidden, &dependencies(root, rule)?) {
            let features = rule.features.join(" ");
            broken.push(format!(
                "{} {features} depends on {name}: {}",
                rule.package, rule.why
            ));
        }
    }
    for line in &broken {
        eprintln!("arrows: {line}");
    }
    if !broken.is_empty() {
        bail!(
            "{} forbidden dependencies; `cargo tree -p <crate> -e normal -i <dependency>` shows the way",
            broken.len()
        );
    }
    eprintln!("arrows: {} rules hold", RULES.len());
    Ok(())
}

/// Names of the packages the rule's crate is built from, without itself.
fn dependencies(root: &Path, rule: &Rule) -> Result<BTreeSet<String>> {
    let mut tree = command::cargo(root);
    tree.args([
        "tree", "--quiet", "--edges", "normal", "--prefix", "none", "--format", "{p}",
    ]);
    tree.args(["--package", rule.package]).args(rule.features);
    if let Reach::Direct = rule.reach {
        tree.args(["--depth", "1"]);
    }
    let mut names = names(&command::capture(&mut tree)?);
    names.remove(rule.package);
    Ok(names)
}

/// The first word of every line of `cargo tree`.
fn names(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn violations<'a>(forbidden: &[&str], names: &'a BTreeSet<String>) -> Vec<&'a str> {
    let matches = |name: &str, pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    names
        .iter()
        .map(String::as_str)
        .filter(|name| forbidden.iter().any(|pattern| matches(name, pattern)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_package_is_found_by_name_and_by_start() {
        let tree = "epnas-arch v0.1.0 (crates/epnas-arch)\nserde v1.0.0\ncandle-core v0.11.1\nrandom v1.0.0 (*)\n";
        let names = names(tree);
        assert_eq!(violations(&["candle-*", "rand"], &names), ["candle-core"]);
        assert_eq!(
            violations(&["serde", "random"], &names),
            ["random", "serde"]
        );
    }

    #[test]
    fn cargo_tree_is_understood() {
        let rule = transitive("xtask", ALWAYS, &[], "");
        let names = dependencies(&crate::workspace_root(), &rule).unwrap();
        assert!(names.contains("clap_builder"), "{names:?}");
        assert!(!names.contains("xtask"), "{names:?}");
    }
}
