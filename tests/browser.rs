//! What Chromium makes of pages, by its driver: `cargo xtask test --pages` names a Python that has selenium in
//! `EPNAS_BROWSER_PYTHON`. Without it these tests say that they were skipped.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::command::{Folder, Outcome, line, repository, run};
use crate::made_up;
use crate::watch::Server;

/// The Python with a browser; says that the test is skipped where there is none.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("EPNAS_BROWSER_PYTHON").map(PathBuf::from);
    if python.is_none() {
        eprintln!(
            "skipped: no browser, EPNAS_BROWSER_PYTHON is not set (cargo xtask test --pages)"
        );
    }
    python
}

fn command(python: &Path, url: &str, more: &[&str]) -> Command {
    let mut command = Command::new(python);
    command
        .arg(repository().join("tests/browser.py"))
        .arg(url)
        .args(more)
        .stdin(Stdio::null());
    command
}

/// What the browser saw; panics when anything is wrong.
#[track_caller]
fn look(python: &Path, url: &str, more: &[&str]) -> Value {
    let output = command(python, url, more).output().expect("Python starts");
    let seen = Outcome::from(output).ok();
    eprintln!("{}", seen.stdout.trim_end());
    seen.json()
}

fn address(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[test]
fn a_browser_opens_the_page_of_a_run() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("run"));
    line(&format!(
        "run --config {config} --out {out} --set search.iterations=2 --set search.children_per_step=4"
    ))
    .ok();
    run(&["report", &out]).ok();
    let seen = look(&python, &address(&folder.path("run/report.html")), &[]);
    assert_eq!(seen["empty"], serde_json::json!([]));
    assert!(seen["plots"].as_u64() >= Some(14), "{seen}");
}

#[test]
fn a_browser_opens_the_pages_of_cells_and_of_several_runs() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("cells"));
    line(&format!(
        "search --config {config} --out {out} --set space.kind=micro --set space.blocks=2 --set search.iterations=2"
    ))
    .ok();
    run(&["report", &out]).ok();
    look(&python, &address(&folder.path("cells/report.html")), &[]);
    for (name, from) in [("a", 0), ("b", 2_000)] {
        made_up::begin(&folder.path(name));
        made_up::append(&folder.path(name), from..from + 700);
    }
    let page = folder.arg("both.html");
    let (a, b) = (folder.arg("a"), folder.arg("b"));
    line(&format!("report {a} {b} --out {page}")).ok();
    look(&python, &address(Path::new(&page)), &[]);
}

#[test]
fn a_browser_opens_thousands_of_children_within_two_seconds() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..5_000);
    run(&["report", &folder.arg("run")]).ok();
    let seen = look(&python, &address(&dir.join("report.html")), &[]);
    assert_eq!(seen["children"], 5_000);
    let opened = seen["opened_seconds"].as_f64().expect("a time");
    assert!(opened < 2.0, "{opened} s");
}

#[test]
fn a_browser_follows_a_run() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..60);
    let server = Server::start(&dir);
    let url = format!("http://{}/", server.address);
    let mut browser = command(&python, &url, &["--live", "160"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut out = BufReader::new(browser.stdout.take().expect("stdout"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    assert_eq!(line.trim(), "ready", "once it has looked at what there is");
    for index in 60..160 {
        made_up::append(&dir, [index]);
        thread::sleep(Duration::from_millis(100));
    }
    let mut seen = String::new();
    out.read_to_string(&mut seen).expect("what it saw");
    assert!(browser.wait().expect("it ends").success());
    eprintln!("{}", seen.trim_end());
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!(seen["followed"], 160);
}

#[test]
fn texts_from_outside_do_nothing_in_a_browser() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    let dir = folder.path("<img src=x onerror='window.hostile=1'>");
    made_up::begin(&dir);
    made_up::append(&dir, 0..60);
    let hostile = "</script><script>window.hostile=2</script>";
    let images = serde_json::json!({
        "classes": [hostile, "<svg onload='window.hostile=3'>"],
        "height": 32, "width": 32, "channels": 3, "parts": {},
    });
    crate::command::write_json(&dir.join("data.json"), &images);
    let out = folder.path("page.html");
    run(&[
        "report".as_ref(),
        dir.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ])
    .ok();
    look(&python, &address(&out), &[]);
}
