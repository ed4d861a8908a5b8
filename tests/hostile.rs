//! Texts from outside that would like to be markup or code: names of runs and classes, notes, reasons of failures, names of
//! devices and what a configuration says. A page's tags have to be those of a page with harmless texts.

use serde_json::json;

use crate::command::{Folder, read, run, write_json};
use crate::made_up;

const HOSTILE: [&str; 6] = [
    // Out of an element, an attribute, a script, a comment, and into a script that nothing closes.
    "</pre></td></title><img src=x onerror=alert(1)>",
    "' onfocus=alert(2) autofocus x=\" onload=alert(3) <svg>",
    "</script><script>alert(4)</script>",
    "<!--<script>",
    "]]></style><style>@import 'x'</style>-->",
    // Ends of lines in three languages, escapes, and marks that turn the order of letters.
    "a\r\n\n b\u{2028}c\u{2029}d\\\"`${alert(5)}\\u003cb\u{202e}e&lt;i&gt;",
];

/// The page of two runs that say `text` wherever they may.
fn page(text: &str) -> String {
    let folder = Folder::new();
    // A file's name has no such sign, and on its own line a directory would be hard to type.
    let name = text.replace('/', "\u{2215}");
    for dir in [folder.path(&name), folder.path("other")] {
        made_up::begin(&dir);
        made_up::append(&dir, 0..20);
        made_up::finish(&dir, text);
        let images = json!({
            "classes": [text, "other"], "height": 32, "width": 32, "channels": 3, "parts": {},
        });
        write_json(&dir.join("data.json"), &images);
        let mut child = made_up::child(20);
        child["status"] = "failed".into();
        child["estimate"] = serde_json::Value::Null;
        child["reason"] = text.into();
        made_up::append_values(&dir, [child]);
        let mut best = crate::command::read_json(&dir.join("best.json"));
        for fact in ["cpu", "os", "device"] {
            best["machine"][fact] = text.into();
        }
        best["versions"]["epnas"] = text.into();
        write_json(&dir.join("best.json"), &best);
        let comment = text.replace(['\r', '\n'], " ");
        let config = format!("{}\n# {comment}\n", made_up::read_config(&dir));
        made_up::write_config(&dir, &config);
    }
    let out = folder.path("page.html");
    run(&[
        "report".as_ref(),
        folder.path(&name).as_os_str(),
        folder.path("other").as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ])
    .ok();
    read(&out)
}

/// Tags with the names of their attributes, in order, read as a browser does; what scripts hold is none.
fn tags(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let (tag, after) = tag(rest);
        rest = after;
        if tag.starts_with("script") || tag.starts_with("style") {
            let name = if tag.starts_with("script") {
                "script"
            } else {
                "style"
            };
            let (inside, after) = rest
                .split_once(&format!("</{name}>"))
                .expect("it is closed");
            // With these, a browser looks for another end.
            assert!(!inside.contains("<!--") && !inside.contains("<script"));
            rest = after;
        }
        tags.push(tag);
    }
    tags
}

/// The tag that the text begins with, without the values of attributes, and what follows it.
fn tag(text: &str) -> (String, &str) {
    let mut tag = String::new();
    let mut quote = None;
    for (at, character) in text.char_indices().skip(1) {
        match (quote, character) {
            (None, '>') => return (tag, &text[at + 1..]),
            (None, '"' | '\'') => quote = Some(character),
            (None, _) => tag.push(character),
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
        }
    }
    panic!("a tag without an end: {tag}");
}

#[test]
fn a_page_has_the_same_tags_whatever_texts_say() {
    // Nothing that would be cut or sorted another way.
    let harmless = tags(&page("zzzz"));
    assert!(harmless.len() > 1000);
    for text in HOSTILE {
        let html = page(text);
        assert_eq!(html.matches("<script>").count(), 1, "{text}");
        let found = tags(&html);
        let differs = harmless.iter().zip(&found).find(|(a, b)| a != b);
        assert_eq!(differs, None, "{text}");
        assert_eq!(harmless.len(), found.len(), "{text}");
    }
    // One that was forgotten would be seen.
    let forgotten = page(HOSTILE[1]).replacen("&lt;svg&gt;", "<svg>", 1);
    assert!(tags(&forgotten) != harmless);
}

/// A name of a folder of images, and so of a class, may be anything but a path.
#[cfg(unix)]
#[test]
fn an_exported_module_says_names_of_classes_and_nothing_else() {
    let folder = Folder::new();
    let classes: Vec<String> = HOSTILE
        .iter()
        .map(|text| text.replace('/', "\u{2215}"))
        .chain(["\"\"\"\nimport os\nos.abort()\n\"\"\"".to_owned()])
        .collect();
    // One network for both, so that names alone differ.
    let (config, dir) = (folder.arg("tiny.toml"), folder.arg("mine"));
    let arch = "macro:c3.0/d3.1/mp.1+2";
    run(&["train", "--arch", arch, "--config", &config, "--out", &dir]).ok();
    let path = folder.path("mine/model.json");
    let path = match path.exists() {
        true => path,
        false => folder.path("mine/model/model.json"),
    };
    let export = |file: &str| {
        let out = folder.path(file);
        let line = ["export", "--model", &dir, "--format", "pytorch", "--out"];
        run(&[&line[..], &[out.to_str().expect("UTF-8")]].concat()).ok();
        read(&out)
    };
    let before = export("net.py");
    let mut info = crate::command::read_json(&path);
    let names = info["classes"].as_array_mut().expect("names");
    assert!(names.len() >= classes.len());
    for (name, class) in names.iter_mut().zip(&classes) {
        *name = class.as_str().into();
    }
    write_json(&path, &info);
    let after = export("\"\"\"\nimport os\nx = \"\"\".py");
    // Lines are those of before, but for those that quote a name.
    assert_eq!(before.lines().count(), after.lines().count());
    let other: Vec<&str> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .map(|(_, after)| after)
        .collect();
    assert_eq!(other.len(), classes.len() + 2, "{other:#?}");
    for line in other {
        let quoted = line.trim_start();
        let is_name = quoted.starts_with('"') && quoted.ends_with("\",");
        assert!(
            is_name || line.contains("`load()` reads") || line.starts_with("def load("),
            "{line}"
        );
    }
}
