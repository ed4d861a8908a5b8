//! `epnas watch`: a page that follows a run, and everyone who looks at it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Folder, epnas, run};
use crate::made_up;

/// A server, ended with its owner.
pub(crate) struct Server {
    process: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Server {
    /// Serves the run in `dir` on a free port.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// The same with more `arguments`.
    pub(crate) fn start_with(dir: &Path, arguments: &[&str]) -> Self {
        let mut process = epnas()
            .arg("watch")
            .arg(dir)
            .args(["--port", "0", "--json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("epnas starts");
        let mut out = BufReader::new(process.stdout.take().expect("stdout"));
        let mut text = String::new();
        while !text.trim_end().ends_with('}') {
            assert!(out.read_line(&mut text).expect("a line") > 0, "{text}");
        }
        let listening: Value = serde_json::from_str(&text).expect("JSON");
        let url = listening["url"].as_str().expect("an address");
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        Server {
            process,
            address: address.to_owned(),
        }
    }

    /// Status and body of what is at `path`.
    fn get(&self, path: &str) -> (u16, String) {
        self.get_as(&self.address, path)
    }

    fn get_as(&self, host: &str, path: &str) -> (u16, String) {
        get(&self.address, host, path)
    }

    /// Listens from `state` on.
    fn listen(&self, state: &str) -> Events {
        let stream = TcpStream::connect(&self.address).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a limit");
        let request = format!(
            "GET /events?state={state} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
            self.address
        );
        (&stream).write_all(request.as_bytes()).expect("sent");
        Events(BufReader::new(stream))
    }

    /// Memory that the process holds, in KiB; `None` where the system does not tell.
    fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// The state of the page, with another number of children.
    fn state_at(&self, rows: usize) -> String {
        let state = self.state();
        let (beginnings, _) = state.split_once('.').expect("a state");
        format!("{beginnings}.{rows}")
    }

    /// The state of the page.
    fn state(&self) -> String {
        let (_, html) = self.get("/");
        let (_, rest) = html.split_once("data-state=\"").expect("a state");
        rest.split('"').next().expect("an end").to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status and body of what the server at `address`, asked as `host`, has at `path`.
fn get(address: &str, host: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

/// How many children a page of this state shows.
fn shown(state: &str) -> usize {
    let (_, rows) = state.split_once('.').expect("a state");
    rows.parse().expect("a number")
}

/// What a server tells, event by event.
struct Events(BufReader<TcpStream>);

impl Events {
    /// Name and data of the next event.
    fn next(&mut self) -> (String, Value) {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line).expect("an event in time");
            assert!(read > 0, "the connection was closed");
            let line = line.trim_end();
            if let Some(text) = line.strip_prefix("event: ") {
                name = text.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                data.push_str(text);
            } else if line.is_empty() && !name.is_empty() {
                let value = serde_json::from_str(&data).expect("JSON");
                return (name, value);
            }
        }
    }

    /// The next event of this name.
    fn next_of(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = self.next();
            if name == wanted {
                return data;
            }
        }
    }
}

/// Children a second, and for how long; `EPNAS_WATCH_SECONDS` names another time, for measuring.
const PACE: u64 = 10;
const SECONDS: u64 = 6;
const CLIENTS: usize = 200;

#[test]
fn two_hundred_browsers_miss_no_child_of_a_fast_search() {
    let seconds = std::env::var("EPNAS_WATCH_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("EPNAS_WATCH_SECONDS"));
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..5);
    let server = Server::start(&dir);
    let state = server.state();
    assert_eq!(shown(&state), 5);
    let total = 5 + PACE * seconds;
    let arrived = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut events = server.listen(&state);
            let (arrived, address) = (Arc::clone(&arrived), server.address.clone());
            thread::Builder::new()
                .stack_size(256 << 10)
                .spawn(move || {
                    // In order, each once; and now and then what stands above the table, as browsers do.
                    let mut expected = 5;
                    let mut looked = Instant::now();
                    while expected < total {
                        let rows = events.next_of("children");
                        for row in rows.as_array().expect("rows") {
                            assert_eq!(row["index"], expected);
                            assert_eq!(row["arch"], made_up::child(expected)["arch"]);
                            expected += 1;
                        }
                        arrived.fetch_add(1, Ordering::Relaxed);
                        if looked.elapsed() > Duration::from_secs(2) {
                            looked = Instant::now();
                            assert!(
                                get(&address, &address, "/sections")
                                    .1
                                    .contains("Best networks")
                            );
                        }
                    }
                })
                .expect("a thread")
        })
        .collect();
    let began = Instant::now();
    let mut memory = Vec::new();
    for index in 5..total {
        made_up::append(&dir, [index]);
        if index % PACE == 0 {
            memory.extend(server.memory());
        }
        let next = Duration::from_millis(1_000 / PACE * (index - 4));
        thread::sleep(next.saturating_sub(began.elapsed()));
    }
    for client in clients {
        client.join().expect("no child missed");
    }
    memory.extend(server.memory());
    eprintln!(
        "{CLIENTS} browsers, {} children in {:.1} s, {} events; KiB of memory by the second: {memory:?}",
        total - 5,
        began.elapsed().as_secs_f64(),
        arrived.load(Ordering::Relaxed)
    );
    // What each child takes is kept once, not once for each browser: 200 copies of a row of 400 bytes would be 80 KB. The
    // first half is left out, in which everything is needed for the first time.
    if let (Some(half), Some(last)) = (memory.get(memory.len() / 2), memory.last()) {
        let grown = last.saturating_sub(*half) as f64;
        let allowed = 4_096.0 + 12.0 * (total - 5) as f64 / 2.0;
        assert!(grown < allowed, "{grown} KiB more: {memory:?}");
    }
}

#[test]
fn a_run_that_goes_back_to_its_checkpoint_is_shown_anew() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..8);
    let server = Server::start(&dir);
    let before = server.state();
    let mut events = server.listen(&before);
    // Killed and resumed: the last two children were after the checkpoint, and now come out another way.
    let text = fs::read_to_string(dir.join("history.jsonl")).expect("a history");
    let kept: String = text.split_inclusive('\n').take(6).collect();
    fs::write(dir.join("history.jsonl"), kept).expect("written");
    events.next_of("reset");
    let state = server.state();
    assert_eq!(shown(&state), 6);
    let mut events = server.listen(&state);
    made_up::append(&dir, [100, 101]);
    let mut indices = Vec::new();
    while indices.len() < 2 {
        let rows = events.next_of("children");
        let rows = rows.as_array().expect("rows");
        indices.extend(
            rows.iter()
                .map(|row| row["index"].as_u64().expect("a number")),
        );
    }
    assert_eq!(indices, [6, 7]);
    // A browser from before learns of it whenever it comes back.
    server.listen(&before).next_of("reset");
    // One that lost the connection goes on where it was.
    let rows = server.listen(&server.state_at(5)).next_of("children");
    assert_eq!(rows.as_array().expect("rows").len(), 3);
    // And one that says it saw more than there is, begins anew.
    server.listen(&server.state_at(99)).next_of("reset");
}

#[test]
fn a_page_of_another_server_begins_anew() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..5);
    let state = Server::start(&dir).state();
    // Another process, or another run on the same port: rows may stand in another order.
    let server = Server::start(&dir);
    server.listen(&state).next_of("reset");
}

#[test]
fn what_is_asked_for_after_a_change_is_never_from_before_it() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..5);
    let server = Server::start(&dir);
    let [mut first, mut second] = [(); 2].map(|()| server.listen(&server.state()));
    for index in 5..9 {
        made_up::append(&dir, [index]);
        let expected = format!("in the order of training, {} in", index + 1);
        // One right after the other, as when two browsers look.
        for events in [&mut first, &mut second] {
            events.next_of("children");
            events.next_of("changed");
            assert!(server.get("/sections").1.contains(&expected), "{expected}");
            assert_eq!(shown(&server.state()) as u64, index + 1);
        }
    }
}

#[test]
fn a_search_that_is_killed_and_resumed_is_followed_to_its_end() {
    let folder = Folder::new();
    let dir = folder.path("run");
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("run"));
    let begin = |arguments: &[&str]| {
        let mut search = epnas();
        search.args(["search", "--out", &out]).args(arguments);
        let quiet = search.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().expect("epnas starts")
    };
    let mut search = begin(&["--config", &config, "--set", "search.children_per_step=6"]);
    let history = dir.join("history.jsonl");
    let children = || fs::read_to_string(&history).map_or(0, |text| text.lines().count());
    let until = |count: usize| {
        let limit = Instant::now() + Duration::from_secs(60);
        while children() < count {
            assert!(Instant::now() < limit, "{} children", children());
            thread::sleep(Duration::from_millis(5));
        }
    };
    until(3);
    let server = Server::start(&dir);
    let state = server.state();
    let mut events = server.listen(&state);
    until(8);
    search.kill().expect("killed");
    search.wait().expect("gone");
    assert!(begin(&["--resume"]).wait().expect("it ends").success());
    // What a page holds that does as it is told: it begins with what there was, adds what comes and is loaded again when it
    // has to be.
    let total = children()
        + fs::read_to_string(dir.join("random/history.jsonl"))
            .map_or(0, |text| text.lines().count());
    let mut rows = shown(&state);
    while rows < total {
        let (name, data) = events.next();
        match name.as_str() {
            "children" => rows += data.as_array().expect("rows").len(),
            "reset" => {
                let state = server.state();
                rows = shown(&state);
                events = server.listen(&state);
            }
            _ => {}
        }
    }
    assert_eq!(rows, total);
    let (_, html) = server.get("/");
    let text = fs::read_to_string(&history).expect("a history");
    for line in text.lines() {
        let child: Value = serde_json::from_str(line).expect("a child");
        assert!(html.contains(child["arch"].as_str().expect("a network")));
    }
}

#[test]
fn everything_that_a_page_shows_is_followed() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..5);
    let server = Server::start(&dir);
    let mut events = server.listen(&server.state());
    events.next_of("changed");
    let has = |text: &str| {
        let until = Instant::now() + Duration::from_secs(10);
        while !server.get("/sections").1.contains(text) {
            assert!(Instant::now() < until, "{text}");
            thread::sleep(Duration::from_millis(200));
        }
    };
    has("No network was trained from scratch yet");
    // Random search begins.
    fs::create_dir(dir.join("random")).expect("a folder");
    made_up::append(&dir.join("random"), 0..3);
    let rows = events.next_of("children");
    assert_eq!(rows[0]["origin"], "random");
    has("Random search:");
    has("random search has trained 3 children beside the search");
    // The final training begins.
    fs::create_dir(dir.join("train")).expect("a folder");
    let epoch = serde_json::json!({
        "epoch": 1, "loss": 2.0, "training_accuracy": 0.3, "validation_accuracy": 0.4,
        "validation_loss": 1.9, "learning_rate": 0.1, "seconds": 3.0, "images": 100,
    });
    let line = epnas_disk::seal::json_line(&epoch).expect("JSON");
    fs::write(dir.join("train/curve.jsonl"), line.content + "\n").expect("written");
    events.next_of("changed");
    has("found: validation");
    // There is a result.
    made_up::finish(&dir, "a note of the result");
    events.next_of("changed");
    has("a note of the result");
    has("final training (found) has come to the end of epoch 1.");
    // Drawings of both searches' children.
    made_up::append(&dir.join("random"), 50..51);
    events.next_of("children");
    for (child, index) in [("0s4", 4), ("0r2", 2), ("0r3", 50)] {
        let (status, svg) = server.get(&format!("/drawing?child={child}"));
        assert_eq!(status, 200);
        let arch = made_up::child(index)["arch"]
            .as_str()
            .expect("a network")
            .to_owned();
        assert!(
            svg.contains(&format!("<title>{arch}</title>")) && svg.contains("en-box"),
            "{svg}"
        );
    }
    for child in ["0s99", "0r-1", "x", ""] {
        assert_eq!(
            server.get(&format!("/drawing?child={child}")).0,
            404,
            "{child}"
        );
    }
    assert_eq!(server.get("/events?state=x").0, 400);
    assert_eq!(server.get("/history.jsonl").0, 404);
    let mut files: Vec<String> = fs::read_dir(&dir)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "best.json",
            "config.toml",
            "history.jsonl",
            "random",
            "train"
        ],
        "nothing is written"
    );
}

#[test]
fn a_damaged_line_is_waited_for() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..2);
    let server = Server::start(&dir);
    let mut events = server.listen(&server.state());
    let history = dir.join("history.jsonl");
    let file = fs::OpenOptions::new().append(true).open(&history);
    let mut file = file.expect("a history");
    let good = file.metadata().expect("a length").len();
    file.write_all(b"{}\n").expect("written");
    thread::sleep(Duration::from_millis(600));
    assert_eq!(shown(&server.state()), 2);
    // As a search that goes on cuts it off.
    file.set_len(good).expect("cut");
    made_up::append(&dir, [2]);
    assert_eq!(events.next_of("children")[0]["index"], 2);
}

#[test]
fn only_this_machine_may_look_unless_asked() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    let path = folder.arg("run");
    run(&["watch", &path, "--host", "0.0.0.0"]).fails(2, &["--host 0.0.0.0", "--allow-remote"]);
    run(&["watch", &path, "--host", "::"]).fails(2, &["--allow-remote"]);
    run(&["watch", &folder.arg("nowhere")]).fails(2, &["nowhere", "holds no run"]);
    let server = Server::start(&dir);
    assert!(server.address.starts_with("127.0.0.1:"));
    let (_, port) = server.address.split_once(':').expect("a port");
    let answers: BTreeMap<String, u16> = [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "[::1]",
        "evil.example",
        "127.evil.example",
        "",
    ]
    .into_iter()
    .map(|name| format!("{name}:{port}"))
    .map(|host| (host.clone(), server.get_as(&host, "/").0))
    .collect();
    for (host, status) in answers {
        let is_here = !host.contains("evil") && !host.starts_with(':');
        assert_eq!(status, if is_here { 200 } else { 403 }, "{host}");
    }
    run(&["watch", &path, "--port", port]).fails(2, &["cannot listen on 127.0.0.1", "--port"]);
}
