//! Replicas of a fleet that learn from one another's children.

use std::path::Path;

use crate::command::{Folder, line, read_lines};
use crate::fleet::{assert_same_fleet, fleet};

/// Takes away what a search has done, but not its record of what it read.
fn forget_search(replica: &Path) {
    for gone in ["checkpoint", "random"] {
        std::fs::remove_dir_all(replica.join(gone)).expect("removed");
    }
    for gone in ["history.jsonl", "best.json", "ended.json"] {
        std::fs::remove_file(replica.join(gone)).expect("removed");
    }
}

#[test]
fn pooled_replicas_learn_from_one_another_as_their_record_says() {
    let folder = Folder::new();
    let more = [
        "--replicas",
        "2",
        "--at-once",
        "2",
        "--set",
        "fleet.pooled=true",
        "--set",
        "search.iterations=2",
    ];
    fleet(&folder, "first", &more).ok();
    let path = folder.path("first");
    let readings =
        |replica: usize| read_lines(&path.join(format!("replica-{replica:04}/pool.jsonl")));
    // A reading a step: three levels, two iterations.
    assert_eq!([readings(0).len(), readings(1).len()], [6, 6]);
    let read: u64 = [readings(0), readings(1)]
        .concat()
        .iter()
        .filter_map(|reading| reading["children"][0].as_u64())
        .sum();
    assert!(read > 0, "nothing was learned from the other");
    // The same order gives the same fleet, one process at a time, whatever the machines do: each replica is done anew, with
    // the other's children there and its own record of what it read.
    let copy = |name: &str| {
        let status = std::process::Command::new("cp")
            .arg("-r")
            .arg(&path)
            .arg(folder.path(name))
            .status();
        assert!(status.expect("cp runs").success());
        folder.path(name)
    };
    for replica in [0, 1] {
        let again = copy(&format!("again-{replica}"));
        let of = again.join(format!("replica-{replica:04}"));
        forget_search(&of);
        let out = again.to_str().expect("UTF-8").to_owned();
        line(&format!("fleet run --out {out} --at-once 1")).ok();
        assert_same_fleet(&path, &again);
        // What the record names is gone: that is said, and not replaced by something else.
        let other = again.join(format!("replica-{:04}", 1 - replica));
        let history = std::fs::read_to_string(other.join("history.jsonl")).expect("a history");
        std::fs::write(
            other.join("history.jsonl"),
            history.lines().next().expect("a line").to_owned() + "\n",
        )
        .expect("written");
        forget_search(&of);
        // How far the other was at a step is up to the machine: the first that learned from more than what is left.
        let read = readings(replica);
        let asks = read
            .iter()
            .find(|reading| reading["children"][0].as_u64() > Some(1));
        let asks = asks.expect("a reading of more than a child");
        let error = line(&format!("fleet run --out {out} --at-once 1"));
        error.fails(
            1,
            &[
                "pool.jsonl",
                &format!("iteration {}, step {}", asks["iteration"], asks["step"]),
                "has 1 children, expected",
            ],
        );
    }
    // The records alone give the same fleet again: searches wait for one another where they learned from one another.
    std::fs::create_dir(folder.path("records")).expect("a folder");
    for replica in ["replica-0000", "replica-0001"] {
        let (of, to) = (path.join(replica), folder.path("records").join(replica));
        std::fs::create_dir(&to).expect("a folder");
        std::fs::copy(of.join("pool.jsonl"), to.join("pool.jsonl")).expect("copied");
    }
    fleet(
        &folder,
        "records",
        &[&more[..2], &["--at-once", "1"], &more[4..]].concat(),
    )
    .ok();
    assert_same_fleet(&path, &folder.path("records"));
    // By itself there is nothing to learn from, and a strategy without a surrogate cannot.
    let error = folder.search("alone", &["--set", "fleet.pooled=true"]);
    error.fails(2, &["fleet.pooled", "a run by itself"]);
    let error = fleet(
        &folder,
        "none",
        &[
            "--set",
            "fleet.pooled=true",
            "--set",
            "search.strategy=random",
        ],
    );
    error.fails(2, &["fleet.pooled", "epnas"]);
}
