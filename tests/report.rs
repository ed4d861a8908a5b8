//! `epnas report`: pages of runs. What a browser makes of them is in [`browser`](crate::browser).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{Folder, TINY_CHILDREN, line, run, write_json};
use crate::made_up;

/// The text of the page at `path`.
fn page(path: &Path) -> String {
    fs::read_to_string(path).expect("a page")
}

/// The rows of a page's table.
fn rows(html: &str) -> Vec<Value> {
    let (_, rest) = html
        .split_once("id=\"rows\" type=\"application/json\">")
        .expect("rows");
    let (json, _) = rest.split_once("</script>").expect("an end");
    serde_json::from_str(json).expect("JSON")
}

/// Fails when anything in the page leads out of it, or a script could come from anywhere but the page itself.
fn assert_alone(html: &str) {
    for attribute in ["src=", "href=", "srcset=", "action=", "data=", "poster="] {
        // Attributes are in quotes; a text that looks like one is none.
        for (place, _) in html.match_indices(&format!(" {attribute}\"")) {
            let value = &html[place + 2 + attribute.len()..];
            assert!(
                value.starts_with('#') || value.starts_with("data:,"),
                "{}",
                &html[place..(place + 80).min(html.len())]
            );
        }
    }
    assert!(!html.contains("url(") && !html.contains("@import"));
    assert!(html.contains("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-"));
    assert_eq!(html.matches("<script>").count(), 1);
}

#[test]
fn a_search_becomes_a_page_that_stands_alone() {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("run"));
    line(&format!("run --config {config} --out {out}")).ok();
    let report = run(&["report", &out, "--json"]).ok().json();
    let path = folder.path("run/report.html");
    assert_eq!(report["report"], path.to_string_lossy().as_ref());
    let html = page(&path);
    assert_eq!(report["bytes"], html.len());
    assert_alone(&html);
    let rows = rows(&html);
    let of = |origin: &str| rows.iter().filter(|row| row["origin"] == origin).count();
    assert_eq!(of("search"), TINY_CHILDREN);
    assert_eq!(report["children"], rows.len());
    assert!(of("random") > 0);
    // Every child of the files is a row with its numbers.
    let history = fs::read_to_string(folder.path("run/history.jsonl")).expect("a history");
    for (text, row) in history.lines().zip(&rows) {
        let child: Value = serde_json::from_str(text).expect("a child");
        for key in ["index", "arch", "params", "macs", "step"] {
            assert_eq!(row[key], child[key], "{key}");
        }
        assert_eq!(
            row["iteration"].as_u64(),
            child["iteration"].as_u64().map(|from_0| from_0 + 1)
        );
        for key in [
            "estimate",
            "predicted",
            "probability",
            "temperature",
            "seconds",
        ] {
            match (row[key].as_f64(), child[key].as_f64()) {
                (Some(shown), Some(known)) => {
                    assert!((shown - known).abs() < 1e-3, "{key}")
                }
                (shown, known) => assert_eq!(shown, known, "{key}"),
            }
        }
    }
    // What was tested after training, in percent.
    let summary = fs::read_to_string(folder.path("run/summary.json")).expect("a summary");
    let summary: Value = serde_json::from_str(&summary).expect("JSON");
    let tested = 100.0 * summary["test_accuracy"].as_f64().expect("tested");
    assert!(html.contains(&format!("{tested:.2}%")), "{tested}");
    for part in [
        "Best networks",
        "en-drawing",
        "Best estimate so far",
        "Estimates of sampled children",
        "Predicted against measured",
        "How well the surrogate ranks a step",
        "Probability against rank",
        "Operations by depth",
        "Skip connections by depth",
        "Estimate against parameters",
        "Estimate against multiply-accumulates",
        "Learning curves of the final training",
        "found: validation",
        "brief retraining",
        "final training: found",
        "Configuration",
        "synthetic.train",
        "striped_disc",
    ] {
        let part = part.replace("synthetic.train", "train = 160");
        assert!(html.contains(&part), "{part}");
    }
    // The network that is kept, not the smaller one of the search.
    let size = &summary["size"]["params"];
    assert!(
        html.contains(&format!("<td class=\"number\">{size}</td>")) || size.as_u64() > Some(999),
        "{size}"
    );
    assert!(html.contains("Trained networks") && html.contains("found, class by class"));
    // Once more, the same bytes.
    line(&format!("report {out} --out {}", folder.arg("again.html"))).ok();
    assert_eq!(page(&folder.path("again.html")), html);
}

#[test]
fn runs_stand_side_by_side() {
    let folder = Folder::new();
    let dirs: Vec<String> = ["a", "b", "c"].map(|name| folder.arg(name)).to_vec();
    for (number, dir) in dirs.iter().enumerate() {
        made_up::begin(Path::new(dir));
        let first = 1_000 * number as u64;
        made_up::append(Path::new(dir), first..first + 20);
    }
    // Child 0 won in both of the first two, with the same accuracies.
    for dir in &dirs[..2] {
        made_up::finish(Path::new(dir), "");
    }
    // The third is no repetition of the others.
    let other = folder.path("c");
    let text = made_up::read_config(&other);
    let text = text.replace("children_per_step = 6", "children_per_step = 7");
    made_up::write_config(&other, &text);
    let out = folder.arg("all.html");
    let report = line(&format!("report {} --out {out} --json", dirs.join(" "))).ok();
    assert_eq!(report.json()["runs"], serde_json::json!(["a", "b", "c"]));
    let html = page(Path::new(&out));
    assert_alone(&html);
    assert_eq!(rows(&html).len(), 60);
    let names: BTreeSet<String> = rows(&html)
        .iter()
        .map(|row| row["id"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names.len(), 60, "no two children are called the same");
    for part in [
        "Runs together",
        "Best of each iteration, run by run",
        "50.00 ± 0.00% (2)",
        "40.00 ± 0.00% (2)",
        "search.children_per_step = 6: mean of 2",
        "search.children_per_step = 7: mean of 1",
        "band",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // Two of the same name are told apart.
    fs::create_dir(folder.path("other")).expect("a folder");
    fs::rename(folder.path("b"), folder.path("other/a")).expect("moved");
    let (first, second) = (folder.arg("a"), folder.arg("other/a"));
    line(&format!("report {first} {second} --out {out}")).ok();
    assert!(page(Path::new(&out)).contains("other/a"));
}

#[test]
fn texts_from_outside_stay_texts() {
    let folder = Folder::new();
    let name = "<img src=x onerror=alert(1)> & 'a' \"b\"";
    let dir = folder.path(name);
    made_up::begin(&dir);
    made_up::append(&dir, 0..20);
    let hostile = "</script><script>alert(2)</script>";
    let images = serde_json::json!({
        "classes": [hostile, "<svg onload=alert(3)>"],
        "height": 32, "width": 32, "channels": 3, "parts": {},
    });
    write_json(&dir.join("data.json"), &images);
    let mut child = made_up::child(20);
    child["status"] = "failed".into();
    child["estimate"] = Value::Null;
    child["reason"] = hostile.into();
    made_up::append_values(&dir, [child]);
    let out = folder.path("page.html");
    // Settings, notes and the names of several runs, too.
    made_up::finish(&dir, hostile);
    let config = format!("{}\n# {hostile}\n", made_up::read_config(&dir));
    made_up::write_config(&dir, &config);
    let other = folder.path("<i>other</i>");
    made_up::begin(&other);
    made_up::append(&other, 0..20);
    let (set, value) = ("children_per_step = 6", "children_per_step = 7");
    let config = made_up::read_config(&other).replace(set, value);
    made_up::write_config(&other, &config);
    run(&[
        "report".as_ref(),
        dir.as_os_str(),
        other.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ])
    .ok();
    let html = page(&out);
    assert_alone(&html);
    assert!(!html.contains("<i>") && html.contains("&lt;i&gt;other"));
    for raw in ["<img", "alert(2)</script>", "<svg onload"] {
        assert!(!html.contains(raw), "{raw}");
    }
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;"));
    assert_eq!(rows(&html)[20]["failed"], hostile);
    assert_eq!(rows(&html)[0]["run"], name);
}

/// A name that is not UTF-8 looks like another.
#[cfg(target_os = "linux")]
#[test]
fn names_that_look_the_same_are_told_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let dirs = [b"run\xff", b"run\xfe"].map(|name| folder.path("").join(OsStr::from_bytes(name)));
    for (dir, from) in dirs.iter().zip([0, 50]) {
        made_up::begin(dir);
        made_up::append(dir, from..from + 5);
    }
    let (out, logs) = (folder.path("page.html"), folder.path("logs"));
    let arguments: [&OsStr; 8] = [
        "report".as_ref(),
        dirs[0].as_ref(),
        dirs[1].as_ref(),
        "--out".as_ref(),
        out.as_ref(),
        "--tensorboard".as_ref(),
        logs.as_ref(),
        "--json".as_ref(),
    ];
    let report = run(&arguments).ok().json();
    let names: BTreeSet<&str> = rows(&page(&out))
        .iter()
        .map(|row| row["run"] == report["runs"][0])
        .map(|first| if first { "a" } else { "b" })
        .collect();
    assert_eq!(names.len(), 2);
    assert_eq!(fs::read_dir(&logs).expect("logs").count(), 2);
}

/// What is no file is written to, and stays what it is.
#[cfg(unix)]
#[test]
fn devices_and_links_stay_what_they_are() {
    let folder = Folder::new();
    made_up::begin(&folder.path("run"));
    made_up::append(&folder.path("run"), 0..3);
    let shown = run(&["report", &folder.arg("run"), "--out", "/dev/stdout"]).ok();
    assert!(shown.stdout.starts_with("<!DOCTYPE html>"));
    let (link, place) = (folder.path("link.html"), folder.path("place.html"));
    fs::write(&place, "old").expect("written");
    std::os::unix::fs::symlink(&place, &link).expect("a link");
    run(&[
        "report",
        &folder.arg("run"),
        "--out",
        &folder.arg("link.html"),
    ])
    .ok();
    assert!(link.is_symlink() && page(&place).starts_with("<!DOCTYPE html>"));
}

#[test]
fn a_run_under_way_has_a_page() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    let out = folder.arg("page.html");
    // Before the first child.
    line(&format!("report {} --out {out}", folder.arg("run"))).ok();
    assert!(page(Path::new(&out)).contains("no result yet"));
    // While the third is being written.
    made_up::append(&dir, 0..2);
    let mut history = fs::read_to_string(dir.join("history.jsonl")).expect("a history");
    history.push_str(&made_up::child(2).to_string()[..50]);
    fs::write(dir.join("history.jsonl"), history).expect("written");
    line(&format!("report {} --out {out}", folder.arg("run"))).ok();
    assert_eq!(rows(&page(Path::new(&out))).len(), 2);
}

#[test]
fn thousands_of_children_fit_in_a_page() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..5_000);
    let report = run(&["report", &folder.arg("run"), "--json"]).ok().json();
    assert_eq!(report["children"], 5_000);
    let bytes = report["bytes"].as_u64().expect("bytes");
    assert!(bytes < 10_000_000, "{bytes}");
    let html = page(&folder.path("run/report.html"));
    assert_eq!(rows(&html).len(), 5_000);
    assert_eq!(
        html.matches("class=\"drawings\"").count(),
        5_000usize.div_ceil(64)
    );
}

#[test]
fn what_is_no_run_has_no_page() {
    let folder = Folder::new();
    run(&["report", &folder.arg("nowhere")]).fails(2, &["nowhere", "holds no run", "config.toml"]);
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..3);
    run(&["report", &folder.arg("")]).fails(2, &["holds no run", "1 folders that do"]);
    let run_dir = folder.arg("run");
    run(&["report", &run_dir, &run_dir, "--out", "x.html"]).fails(2, &["named twice"]);
    made_up::begin(&folder.path("other"));
    run(&["report", &run_dir, &folder.arg("other")]).fails(2, &["--out"]);
    run(&["report", &run_dir, "--out", &folder.arg("other")]).fails(2, &["is a folder"]);
    run(&["report", &run_dir, "--out", &folder.arg("new/x.html")]).ok();
    assert!(folder.path("new/x.html").is_file());
    run(&[
        "report",
        &run_dir,
        "--out",
        &folder.arg("new/x.html/y.html"),
    ])
    .fails(1, &["cannot make"]);
    let mut history = fs::read_to_string(dir.join("history.jsonl")).expect("a history");
    history.insert_str(0, "{}\n");
    fs::write(dir.join("history.jsonl"), history).expect("written");
    run(&["report", &run_dir]).fails(1, &["history.jsonl, line 1"]);
    assert!(!folder.path("run/report.html").exists());
}
