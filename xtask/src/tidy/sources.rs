//! Rules for the text of a source file.

use super::code::{is_part_of_name, without_text};
use super::{Finding, finding};

/// One concept a file; beyond this it holds several.
const MAX_LINES: usize = 800;

/// `unsafe` belongs to kernels and nowhere else. The compiler sees to it where it compiles a file (the workspace's lint
/// `unsafe_code`); this rule covers what no build of this machine compiles, and the lint itself.
const UNSAFE_ALLOWED: &str = "crates/epnas-ops/src/";

/// The one place that lifts the lint.
const UNSAFE_CODE_ALLOWED: &str = "crates/epnas-ops/src/lib.rs";

/// Ways to write a file that leave half of it after a kill, or nothing of it after a power cut. Libraries have a crate for that.
const FRAGILE_WRITES: [&str; 3] = ["File::create(", "fs::write(", "fs::rename("];

/// The crates that may use them: the one that makes them safe, and the command, for what others read.
const WRITERS: [&str; 2] = ["crates/epnas-disk/", "crates/epnas-cli/"];

/// Readers that run what a file tells them to, or whose format comes with one that does: nothing of ours calls them. Split
/// like the others.
const CODE_FROM_DATA: [&str; 6] = [
    concat!("pick", "le"),
    concat!("Pth", "Tensors"),
    concat!("from_", "pth"),
    concat!("from_", "pickle"),
    concat!("read_", "pth"),
    concat!("read_", "npz"),
];

/// Words that mark unfinished work. Split, so that this file does not contain them.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("db", "g!"),
];

/// Folders of somebody's machine. Split for the same reason.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "tmp/"),
    concat!("/", "Users/"),
];

pub(crate) fn check(file: &str, text: &str) -> Vec<Finding> {
    let code = [".rs", ".cu", ".cuh", ".py"]
        .iter()
        .any(|ending| file.ends_with(ending));
    let written = code
        || [".toml", ".md", ".yml", ".sh"]
            .iter()
            .any(|e| file.ends_with(e))
        || file == ".ci/run";
    let mut findings = Vec::new();
    if written {
        findings.extend(unfinished(file, text));
        findings.extend(machine_paths(file, text));
    }
    if code {
        findings.extend(too_long(file, text));
    }
    if file.ends_with(".rs") {
        findings.extend(undocumented_module(file, text));
        let code = without_text(text);
        findings.extend(stray_unsafe(file, text, &code));
        findings.extend(code_from_data(file, &code));
        findings.extend(fragile_writes(file, &code));
    } else if file.ends_with(".py") {
        findings.extend(code_from_data(file, text));
    }
    findings
}

fn unfinished(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in UNFINISHED.iter().filter(|word| has_word(line, word)) {
            findings.push(finding(
                file,
                index + 1,
                format!("`{word}` marks unfinished work"),
            ));
        }
    }
    findings
}

fn machine_paths(file: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for path in MACHINE_PATHS {
            // At the start of a path, not in the middle of one.
            let starts = line.match_indices(path).any(|(at, _)| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "./_-}~".contains(c))
            });
            if starts {
                findings.push(finding(
                    file,
                    index + 1,
                    format!("`{path}` is a folder of one machine"),
                ));
            }
        }
    }
    findings
}

fn too_long(file: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (lines > MAX_LINES).then(|| finding(file, 0, format!("{lines} lines, more than {MAX_LINES}")))
}

fn undocumented_module(file: &str, text: &str) -> Option<Finding> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    (!first.starts_with("//!"))
        .then(|| finding(file, 1, "does not begin with `//!`, what this module is"))
}

fn stray_unsafe(file: &str, text: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file != UNSAFE_CODE_ALLOWED && has_word(code, "unsafe_code") {
        findings.push(finding(
            file,
            0,
            format!("`unsafe_code` outside {UNSAFE_CODE_ALLOWED}"),
        ));
    }
    if !has_word(code, "unsafe") {
        return findings;
    }
    // A declaration says in `# Safety` what its callers owe; a block says in `SAFETY:` that they pay.
    let argued = ["SAFETY:", "# Safety"]
        .iter()
        .any(|word| text.contains(word));
    if !file.starts_with(UNSAFE_ALLOWED) {
        let message = format!("`unsafe` outside {UNSAFE_ALLOWED}");
        findings.push(finding(file, 0, message));
    } else if !argued {
        findings.push(finding(file, 0, "`unsafe` without a `SAFETY:` comment"));
    }
    findings
}

/// In the sources of libraries, not in their tests and examples.
fn fragile_writes(file: &str, code: &str) -> Option<Finding> {
    let is_library =
        file.starts_with("crates/") && file.contains("/src/") && !file.ends_with("tests.rs");
    if !is_library || WRITERS.iter().any(|allowed| file.starts_with(allowed)) {
        return None;
    }
    let code = code.split("#[cfg(test)]").next().unwrap_or(code);
    let found = FRAGILE_WRITES.iter().find(|call| code.contains(*call))?;
    let call = found.trim_end_matches('(');
    Some(finding(
        file,
        0,
        format!("`{call}` outside epnas-disk: a kill would leave half a file"),
    ))
}

fn code_from_data(file: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for word in CODE_FROM_DATA.iter().filter(|word| has_word(line, word)) {
            let message = format!("`{word}` reads a format whose files can hold code");
            findings.push(finding(file, index + 1, message));
        }
    }
    findings
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        !line[..at].ends_with(is_part_of_name) && !after.starts_with(is_part_of_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(file: &str, text: &str) -> Vec<String> {
        check(file, text).iter().map(|f| f.to_string()).collect()
    }

    #[test]
    fn fragile_writes_are_found_in_libraries() {
        for call in FRAGILE_WRITES {
            let text = format!("//! a\nfn f() {{ {call}path) }}\n");
            let found = messages("crates/epnas-search/src/a.rs", &text);
            assert!(
                found.len() == 1 && found[0].contains("outside epnas-disk"),
                "{found:?}"
            );
            for allowed in [
                "crates/epnas-disk/src/a.rs",
                "crates/epnas-search/tests/a.rs",
                "xtask/src/a.rs",
            ] {
                assert!(messages(allowed, &text).is_empty(), "{allowed}");
            }
        }
        assert!(
            messages(
                "crates/epnas-search/src/a.rs",
                "//! a\n// fs::write(path)\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn unfinished_work_is_found() {
        for word in UNFINISHED {
            let found = messages("a.toml", &format!("x\n# {word} later\n"));
            assert_eq!(found, [format!("a.toml:2: `{word}` marks unfinished work")]);
        }
        let part = concat!("MASTO", "DON");
        assert!(messages("a.toml", part).is_empty());
    }

    #[test]
    fn machine_paths_are_found_where_they_start() {
        let home = format!("dir = \"{}me/x\"", MACHINE_PATHS[0]);
        assert_eq!(messages("a.toml", &home).len(), 1);
        let inside = format!("url = \"https://x.y{}z\" and $HOME{0}", MACHINE_PATHS[2]);
        assert!(messages("a.toml", &inside).is_empty());
    }

    #[test]
    fn long_files_are_found() {
        let at_limit = format!("//! a\n{}", "\n".repeat(MAX_LINES - 1));
        assert!(messages("a.rs", &at_limit).is_empty());
        let beyond = format!("{at_limit}\n");
        assert_eq!(
            messages("a.rs", &beyond),
            ["a.rs: 801 lines, more than 800"]
        );
    }

    #[test]
    fn modules_say_what_they_are() {
        assert!(messages("a.rs", "//! What.\nfn f() {}\n").is_empty());
        assert_eq!(
            messages("a.rs", "fn f() {}\n"),
            ["a.rs:1: does not begin with `//!`, what this module is"]
        );
    }

    #[test]
    fn unsafe_stays_in_the_kernels_and_is_argued() {
        let bare = "//! K.\nfn f() { unsafe { g() } }\n";
        let declared = "//! K.\n/// # Safety\n/// i is in range.\nunsafe fn f(i: usize);\n";
        let argued = "//! K.\n// SAFETY: g is pure.\nfn f() { unsafe { g() } }\n";
        assert_eq!(
            messages("crates/a/src/k.rs", argued),
            ["crates/a/src/k.rs: `unsafe` outside crates/epnas-ops/src/"]
        );
        assert_eq!(messages("crates/epnas-ops/src/k.rs", bare).len(), 1);
        assert!(messages("crates/epnas-ops/src/k.rs", argued).is_empty());
        assert!(messages("crates/epnas-ops/src/k.rs", declared).is_empty());
    }

    #[test]
    fn unsafe_in_comments_and_strings_is_no_unsafe() {
        let text = "//! K.\n// unsafe { }\nlet a = \"unsafe\"; // unsafe\n";
        assert!(messages("crates/a/src/k.rs", text).is_empty());
    }

    #[test]
    fn unsafe_is_found_in_tests_and_build_scripts_and_behind_quotes() {
        for file in [
            "crates/epnas-ops/tests/operators/main.rs",
            "crates/epnas-ops/build.rs",
            "crates/epnas-ops/examples/x.rs",
            "xtask/src/main.rs",
            "tests/main.rs",
        ] {
            let text = "//! K.\n// SAFETY: no.\nlet q = '\"'; unsafe { f() } // \"\n";
            let expected = format!("{file}: `unsafe` outside crates/epnas-ops/src/");
            assert_eq!(messages(file, text), [expected]);
        }
    }

    #[test]
    fn the_lint_is_lifted_in_one_place() {
        let lifted = "//! K.\n#![allow(unsafe_code)]\n";
        assert!(messages("crates/epnas-ops/src/lib.rs", lifted).is_empty());
        for file in ["crates/epnas-ops/src/conv.rs", "crates/a/tests/a.rs"] {
            let expected = format!("{file}: `unsafe_code` outside crates/epnas-ops/src/lib.rs");
            assert_eq!(messages(file, lifted), [expected]);
        }
    }

    #[test]
    fn formats_that_hold_code_are_not_read() {
        for word in CODE_FROM_DATA {
            let text = format!("//! K. No {word}.\nlet a = \"{word}\";\nuse x::{word}::y;\n");
            let expected = format!("a.rs:3: `{word}` reads a format whose files can hold code");
            assert_eq!(messages("a.rs", &text), [expected]);
        }
        let import = format!("# x\nimport {}\n", CODE_FROM_DATA[0]);
        assert_eq!(messages("a.py", &import).len(), 1);
    }
}
