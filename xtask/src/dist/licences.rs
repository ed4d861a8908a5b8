//! Whose work is linked into the binary, and under which terms: names, versions, licences, and the texts that come
//! with the packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// How the names of files with terms begin.
const TERMS: [&str; 6] = [
    "licence",
    "license",
    "copying",
    "copyright",
    "notice",
    "unlicense",
];

/// A package of somebody else.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    /// An expression of SPDX names.
    licence: String,
    /// Where its sources are.
    home: String,
    manifest: PathBuf,
}

/// The page for all packages that `package` is built from, by what `cargo metadata` says.
pub(super) fn page(metadata: &Value, package: &str) -> Result<String> {
    let packages = linked(metadata, package)?;
    let mut list = String::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for package in &packages {
        let name = format!("{} {}", package.name, package.version);
        let found = terms(package.manifest.parent().unwrap_or("".as_ref()))?;
        if found.is_empty() {
            without.push(name.clone());
        }
        for text in found {
            texts.entry(text).or_default().insert(name.clone());
        }
        list.push_str(&format!("{name}: {}, {}\n", package.licence, package.home));
    }
    let mut page = format!(
        "The program holds work of others: the {} packages below and Rust's standard library.\n\
         After the list come the terms that were found in the packages, each text once.\n\n{list}",
        packages.len(),
    );
    if !without.is_empty() {
        let names = without.join(", ");
        page.push_str(&format!("\nWithout a text of their own: {names}.\n"));
    }
    // In the order of the list.
    let mut texts: Vec<(Vec<String>, String)> = texts
        .into_iter()
        .map(|(text, names)| (names.into_iter().collect(), text))
        .collect();
    texts.sort();
    for (names, text) in texts {
        let rule = "=".repeat(80);
        page.push_str(&format!("\n{rule}\n{}\n{rule}\n\n{text}", names.join(", ")));
    }
    Ok(page)
}

/// The packages that are not of the workspace and from which `package` is built, tools for building left out.
fn linked(metadata: &Value, package: &str) -> Result<BTreeSet<Package>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let dependencies: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let normal = |kind: &Value| kind["kind"].is_null();
            let deps = list(&node["deps"]);
            let deps = deps
                .iter()
                .filter(|dep| list(&dep["dep_kinds"]).iter().any(normal));
            (
                text(&node["id"]),
                deps.map(|dep| text(&dep["pkg"])).collect(),
            )
        })
        .collect();
    let first = packages.values().find(|other| other["name"] == package);
    let first = first.with_context(|| format!("cargo names no package {package}"))?;
    let mut reached = BTreeSet::from([text(&first["id"])]);
    let mut open: Vec<String> = reached.iter().cloned().collect();
    while let Some(id) = open.pop() {
        for dependency in dependencies.get(&id).into_iter().flatten() {
            if reached.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    let of_others = reached.iter().filter_map(|id| packages.get(id));
    let of_others = of_others.filter(|package| !package["source"].is_null());
    let package = |package: &Value| Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        licence: text(&package["license"]),
        home: text(&package["repository"]),
        manifest: PathBuf::from(text(&package["manifest_path"])),
    };
    Ok(of_others.map(package).collect())
}

/// The texts in a package's folder and in those below, where sources of others lie that a package carries.
fn terms(folder: &Path) -> Result<BTreeSet<String>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    let mut texts = BTreeSet::new();
    for file in files
        .iter()
        .filter(|file| file.is_file() && are_terms(file))
    {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        // Line ends and blank lines around it do not make another text.
        let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
        texts.insert(lines.join("\n") + "\n");
    }
    Ok(texts)
}

fn are_terms(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    let is_source = name.ends_with(".rs") || name.ends_with(".c") || name.ends_with(".h");
    !is_source && TERMS.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scratch::Scratch;

    /// `ours` is built from `a` and, through `a`, `b`; built with `tool`; tested with `dev`.
    fn metadata(root: &Path) -> Value {
        let package = |name: &str, source: Value| {
            json!({
                "id": name, "name": name, "version": "1.0", "license": "MIT", "source": source,
                "repository": format!("https://example.org/{name}"),
                "manifest_path": root.join(name).join("Cargo.toml"),
            })
        };
        let dep = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let deps = [
            dep("a", Value::Null),
            dep("tool", "build".into()),
            dep("dev", "dev".into()),
        ];
        json!({
            "packages": [
                package("ours", Value::Null), package("a", "web".into()), package("b", "web".into()),
                package("tool", "web".into()), package("dev", "web".into()),
            ],
            "resolve": { "nodes": [
                { "id": "ours", "deps": deps },
                { "id": "a", "deps": [dep("b", Value::Null)] },
                { "id": "b", "deps": [] },
            ] },
        })
    }

    #[test]
    fn packages_are_named_and_equal_texts_told_once() {
        let scratch = Scratch::new("licences").unwrap();
        let write = |path: &str, text: &str| {
            let path = scratch.folder().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/LICENSE-MIT", "Take it.\r\n");
        write("b/LICENSE", "\nTake it.\n");
        write("b/carried/COPYING", "Leave it.\n");
        write("b/src/license.rs", "//! No terms.\n");
        write("tool/LICENSE", "Not linked.\n");
        let page = page(&metadata(scratch.folder()), "ours").unwrap();
        assert!(page.contains("the 2 packages"), "{page}");
        assert!(
            page.contains("a 1.0: MIT, https://example.org/a\n"),
            "{page}"
        );
        assert_eq!(page.matches("Take it.").count(), 1, "{page}");
        assert!(page.contains("\na 1.0, b 1.0\n"), "{page}");
        assert!(
            page.contains("\nb 1.0\n") && page.contains("\nLeave it.\n"),
            "{page}"
        );
        for absent in ["No terms", "Not linked", "tool", "dev", "Without"] {
            assert!(!page.contains(absent), "{absent}: {page}");
        }
    }

    #[test]
    fn a_package_without_a_text_is_named() {
        let scratch = Scratch::new("licences").unwrap();
        for name in ["a", "b"] {
            fs::create_dir_all(scratch.folder().join(name)).unwrap();
        }
        let page = page(&metadata(scratch.folder()), "ours").unwrap();
        assert!(
            page.contains("Without a text of their own: a 1.0, b 1.0."),
            "{page}"
        );
        let error = super::page(&json!({}), "ours").unwrap_err().to_string();
        assert_eq!(error, "cargo names no package ours");
    }
}
