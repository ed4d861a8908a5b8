//! Output formats, help, completions, closed pipes.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::command::{epnas, line, run};

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in [
        "search",
        "select",
        "compare",
        "rank",
        "train",
        "eval",
        "export",
        "predict",
        "show",
        "space",
        "data",
        "config",
        "completions",
        "man",
    ] {
        let long = run(&[command, "--help"]).ok().stdout;
        assert!(
            long.contains(&format!("epnas {command}")),
            "{command} has no example:\n{long}"
        );
        let short = run(&[command, "-h"]).ok().stdout;
        assert!(
            short.len() < long.len(),
            "{command} -h is no shorter than --help"
        );
    }
}

#[test]
fn version_and_help() {
    assert!(run(&["--version"]).ok().stdout.starts_with("epnas 0."));
    assert!(
        run(&["--help"])
            .ok()
            .stdout
            .contains("epnas search --config demo")
    );
}

/// Every command below `command`, as the words to call it: those that its help lists.
fn commands_below(command: &[&str]) -> Vec<Vec<String>> {
    let help = run(&[command, &["-h"]].concat()).ok().stdout;
    let Some((_, listed)) = help.split_once("\nCommands:\n") else {
        return Vec::new();
    };
    let lines = listed.lines().take_while(|line| !line.is_empty());
    // Descriptions that go on are indented further.
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut commands = Vec::new();
    for name in names.filter(|name| !name.is_empty() && *name != "help") {
        let words = [command, &[name]].concat();
        commands.push(words.iter().map(ToString::to_string).collect());
        commands.extend(commands_below(&words));
    }
    commands
}

/// What begins with two dashes in the list of options of a help.
fn long_flags(help: &str) -> Vec<&str> {
    let options = help.lines().filter(|line| line.trim().starts_with('-'));
    let words = options.flat_map(|line| line.split([' ', ',', '=', '[', '.']));
    words.filter(|word| word.starts_with("--")).collect()
}

#[test]
fn completions_know_every_command_in_every_shell() {
    let commands = commands_below(&[]);
    assert!(commands.len() > 15, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).ok().stdout;
        let words: Vec<&str> = script
            .split(|c: char| !c.is_alphanumeric() && c != '-')
            .collect();
        for name in commands.iter().flatten() {
            assert!(words.contains(&name.as_str()), "{shell}: {name}");
        }
    }
}

#[test]
fn every_command_has_a_manual_page_with_all_its_flags() {
    let folder = crate::command::Folder::new();
    let pages = folder.arg("share/man1");
    run(&["man", &pages]).ok();
    let mut commands = commands_below(&[]);
    commands.push(Vec::new());
    let written = std::fs::read_dir(&pages).expect("a folder").count();
    assert_eq!(written, commands.len());
    for words in &commands {
        let name = [&["epnas".to_owned()], words.as_slice()].concat().join("-");
        let page = crate::command::read(&folder.path(&format!("share/man1/{name}.1")));
        // What is a minus sign, and no hyphen, is written `\-`.
        let page = page.replace("\\-", "-");
        let help = run(&[words.as_slice(), &["-h".to_owned()]].concat());
        let help = help.ok().stdout;
        let flags = long_flags(&help);
        assert!(flags.contains(&"--threads"), "{name}: {flags:?}");
        for flag in flags {
            assert!(page.contains(flag), "{name}: {flag}\n{page}");
        }
    }
    run(&["man", &folder.arg("tiny.toml")]).fails(2, &["tiny.toml", "expected a folder"]);
}

#[test]
fn a_closed_pipe_is_no_error() {
    for arguments in [
        &["config", "keys"][..],
        &["completions", "bash"],
        &["config", "schema"],
        &["space"],
    ] {
        let mut child = epnas()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("epnas starts");
        // Close our end before it writes all of it, as `| head -1` does.
        let mut line = String::new();
        BufReader::with_capacity(16, child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a line");
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut stderr)
            .expect("UTF-8");
        assert_eq!(
            child.wait().expect("it ends").code(),
            Some(0),
            "{arguments:?}: {stderr}"
        );
        assert_eq!(stderr, "", "{arguments:?}");
    }
}

#[test]
fn space_reports_levels_and_an_exact_cardinality() {
    let report = run(&["space", "--config", "cifar10-macro", "--json"])
        .ok()
        .json();
    assert_eq!(report["cardinality"], "160618186625454535808756219904");
    let levels = report["levels"].as_array().expect("a list");
    assert_eq!(levels.len(), 12);
    // 25 parents times 6 * 2^11 layers.
    assert_eq!(levels[11]["candidates"], 307_200);
    assert_eq!(report["children_first_iteration"], 281);
    assert_eq!(report["children"], 843);
    let text = run(&["space", "--config", "cifar10-macro"]).ok().stdout;
    assert!(
        text.contains("160,618,186,625,454,535,808,756,219,904"),
        "{text}"
    );
    assert!(text.contains("307,200"), "{text}");
}

#[test]
fn show_prints_every_format() {
    let arch = "macro:c3.0/c5.1/d3.1+2";
    let text = run(&["show", arch]).ok().stdout;
    // 23,914 parameters at C = 24: derived by hand, see the golden facts of epnas-arch.
    assert!(text.contains("23,914"), "{text}");
    let json = run(&["show", arch, "--format", "json"]).ok().json();
    assert_eq!(json["params"], 23_914);
    assert_eq!(json["text"], arch);
    assert_eq!(json["architecture"]["layers"][1]["op"], "conv_5x5");
    assert_eq!(run(&["show", arch, "--json"]).ok().json(), json);
    let dot = run(&["show", arch, "--format", "dot"]).ok().stdout;
    assert!(
        dot.starts_with("digraph") && dot.trim_end().ends_with('}'),
        "{dot}"
    );
    let wide = run(&["show", arch, "--channels", "200", "--json"])
        .ok()
        .json();
    assert_eq!(wide["params"], 1_572_010);
}

#[test]
fn show_measures_a_training_step() {
    let arguments = "show macro:c3.0/mp.1 --plan --channels 8 --image-size 8 --batch 4 --threads 1";
    let json = line(&format!("{arguments} --json")).ok().json();
    assert_eq!(json["batch"], 4);
    let steps = json["steps"].as_array().expect("steps");
    let seconds = json["seconds"].as_array().expect("seconds");
    assert_eq!(steps.len(), seconds.len());
    assert!(seconds.iter().all(|s| s.as_f64().is_some_and(|s| s > 0.0)));
    // The stem reads 4 images of 8 x 8 x 3 numbers and 3 x 3 x 3 x 8 weights, and writes 8 channels.
    assert_eq!(
        steps[0]["bytes"],
        4 * (4 * 8 * 8 * 3 + 27 * 8 + 4 * 8 * 8 * 8)
    );
    assert_eq!(steps[0]["macs"], 4 * 8 * 8 * 27 * 8);
    let text = line(arguments).ok().stdout;
    assert!(
        text.contains("stem.conv") && text.contains("images/s at batch 4"),
        "{text}"
    );
    run(&["show", "macro:c3.0", "--batch", "4"]).fails(2, &["--plan"]);
    run(&["show", "macro:c3.0", "--plan", "--batch", "0"]).fails(2, &["--batch"]);
}

#[test]
fn json_is_json_whatever_is_printed() {
    let arch = "micro:c3.-2+mp.-1";
    for (arguments, key, name) in [
        (&["config", "presets", "demo"][..], "preset", "demo"),
        (&["show", arch, "--format", "dot"], "format", "dot"),
        (&["show", arch, "--format", "svg"], "format", "svg"),
        (
            &["show", arch, "--format", "dot-network"],
            "format",
            "dot-network",
        ),
        (
            &["show", arch, "--format", "genotype"],
            "format",
            "genotype",
        ),
        (&["show", arch, "--format", "text"], "format", "text"),
        (&["completions", "bash"], "shell", "bash"),
    ] {
        let plain = run(arguments).ok().stdout;
        let json = run(&[arguments, &["--json"]].concat()).ok().json();
        assert_eq!(json[key], name, "{arguments:?}");
        let text = json["text"].as_str().expect("a text");
        assert_eq!(text.trim_end(), plain.trim_end(), "{arguments:?}");
    }
    for arguments in [
        &["config", "presets"][..],
        &["config", "schema"],
        &["config", "check", "demo"],
        &["space"],
    ] {
        run(&[arguments, &["--json"]].concat()).ok().json();
    }
}

#[test]
fn show_reads_what_it_prints() {
    let folder = crate::command::Folder::new();
    let arch = "micro:c3.-2+mp.-1/d5.-1+id.0";
    for format in ["json", "genotype"] {
        let printed = run(&["show", arch, "--format", format]).ok().stdout;
        let file = folder.write("arch.txt", printed);
        assert_eq!(
            run(&["show", &file, "--json"]).ok().json()["text"],
            arch,
            "{format}"
        );
    }
}

#[test]
fn config_prints_what_is_in_force() {
    let printed = line("config --config demo --set search.iterations=7 --seed 11")
        .ok()
        .stdout;
    assert!(printed.contains("iterations = 7"), "{printed}");
    assert!(printed.contains("seed = 11"), "{printed}");
    // What is printed is a configuration itself, and the same one.
    let folder = crate::command::Folder::new();
    let file = folder.write("effective.toml", &printed);
    assert_eq!(run(&["config", "--config", &file]).ok().stdout, printed);
    let json = run(&["config", "--config", &file, "--json"]).ok().json();
    assert_eq!(json["search"]["iterations"], 7);
}

#[test]
fn every_key_is_documented() {
    let keys = run(&["config", "keys", "--json"]).ok().json();
    let keys = keys.as_array().expect("a list");
    assert!(keys.len() > 60, "only {} keys", keys.len());
    for key in keys {
        let doc = key["doc"].as_str().expect("a text");
        assert!(doc.len() > 10, "{key} is not documented");
        assert!(
            key["kind"].as_str().is_some_and(|kind| !kind.is_empty()),
            "{key} has no type"
        );
    }
    let temperature = run(&["config", "keys", "temperature"]).ok().stdout;
    assert!(
        temperature.contains("search.temperature.final = 1.0"),
        "{temperature}"
    );
}
