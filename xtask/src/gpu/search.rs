//! A small whole search on the GPU, twice with one seed: it has to end the same, and says how long children take.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::limit::{Ended, Ending};
use super::parts::Stage;
use super::report::{Measured, Outcome};
use crate::figures::finite;

pub(super) fn run(stage: &Stage, deadline: Instant) -> Measured {
    let program = match stage.program("epnas") {
        Ok(program) => program,
        Err(why) => return Measured::not_run(why),
    };
    let runs = ["first", "second"].map(|name| stage.runner.folder().join(name));
    let mut seconds = Vec::new();
    for run in &runs {
        let mut search = Command::new(&program);
        search
            .args([
                "search", "--config", "demo", "--device", "cuda", "--json", "--out",
            ])
            .arg(run);
        match stage
            .runner
            .run(stage.with_libraries(&mut search), deadline)
        {
            Ok(ended) if ended.ending == Ending::Exit(0) => seconds.push(ended.seconds),
            Ok(ended) => return cut_short(&ended, children(&runs[0])),
            Err(error) => return Measured::not_run(format!("{error:#}")),
        }
    }
    let mut result = children(&runs[0]);
    let bests = runs.each_ref().map(|run| read_best(run));
    let [Some(first), Some(second)] = bests.each_ref().map(|best| best.as_ref().map(essence))
    else {
        return Measured::new(
            Outcome::Failed,
            "a search left no best.json",
            Value::Object(result),
        );
    };
    let histories = runs.each_ref().map(|run| history(run));
    let apart = first_difference(&histories[0], &histories[1]);
    let repeatable = first == second && apart.is_none();
    result.insert("repeatable".into(), json!(repeatable));
    result.insert("run_seconds".into(), json!(seconds));
    result.insert("best".into(), first.clone());
    if repeatable {
        let note = format!(
            "twice the same; best {}",
            first["architecture"].as_str().unwrap_or("unknown")
        );
        return Measured::passed(note, Value::Object(result));
    }
    result.insert("second_best".into(), second);
    let note = match apart {
        Some(index) => format!("the same seed twice: children differ from number {index} on"),
        None => "the same seed twice: the same children, but another best.json".to_owned(),
    };
    Measured::new(Outcome::Failed, note, Value::Object(result))
}

fn cut_short(ended: &Ended, result: Map<String, Value>) -> Measured {
    let problem = ended.problem().unwrap_or_default();
    Measured::trouble(ended, problem, Value::Object(result))
}

fn read_best(run: &Path) -> Option<Value> {
    let text = fs::read_to_string(run.join("best.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// What must not depend on the day: all but times, machine and versions.
fn essence(best: &Value) -> Value {
    let fields = ["architecture", "estimate", "retrained_accuracy", "top"];
    let of = |value: &Value| -> Map<String, Value> {
        let pick = |name: &str| (name.to_owned(), value[name].clone());
        fields.into_iter().map(pick).collect()
    };
    let mut essence = of(best);
    if best["random"].is_object() {
        essence.insert("random".into(), Value::Object(of(&best["random"])));
    }
    Value::Object(essence)
}

/// The children that a run has on disk; a last line may be cut off.
fn history(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("history.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn first_difference(first: &[Value], second: &[Value]) -> Option<usize> {
    let same = |(a, b): &(&Value, &Value)| {
        ["arch", "estimate", "status"]
            .iter()
            .all(|&name| a[name] == b[name])
    };
    let equal = first.iter().zip(second).take_while(same).count();
    (equal < first.len().max(second.len())).then_some(equal)
}

/// How fast the children of a run were, validation included.
fn children(run: &Path) -> Map<String, Value> {
    let history = history(run);
    let sum = |name: &str| -> f64 {
        history
            .iter()
            .filter_map(|child| child[name].as_f64())
            .sum()
    };
    let (seconds, images) = (sum("seconds"), sum("images"));
    let failed = history
        .iter()
        .filter(|child| child["status"] != "ok")
        .count();
    let fields = [
        ("children", json!(history.len())),
        ("failed_children", json!(failed)),
        ("child_seconds", json!(seconds)),
        (
            "children_per_minute",
            json!(finite(60.0 * history.len() as f64 / seconds)),
        ),
        ("images_per_second", json!(finite(images / seconds))),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn children_are_counted_without_a_line_that_was_cut_off() {
        let scratch = Scratch::new("search").unwrap();
        let lines = "{\"arch\":\"a\",\"status\":\"ok\",\"seconds\":2.0,\"images\":300}\n\
                     {\"arch\":\"b\",\"status\":\"failed\",\"seconds\":4.0,\"images\":300}\n{\"arch\":\"c";
        fs::write(scratch.folder().join("history.jsonl"), lines).unwrap();
        let counted = children(scratch.folder());
        assert_eq!(counted["children"], 2);
        assert_eq!(counted["failed_children"], 1);
        assert_eq!(counted["children_per_minute"], 20.0);
        assert_eq!(counted["images_per_second"], 100.0);
        assert_eq!(
            children(&scratch.folder().join("none"))["children_per_minute"],
            Value::Null
        );
    }

    #[test]
    fn searches_are_the_same_when_only_times_differ() {
        let best = |seconds: f64, estimate: f64| {
            json!({ "architecture": "a", "estimate": estimate, "cost": { "seconds": seconds },
                    "random": { "estimate": 0.5, "cost": { "seconds": seconds } } })
        };
        assert_eq!(essence(&best(1.0, 0.5)), essence(&best(2.0, 0.5)));
        assert_ne!(essence(&best(1.0, 0.5)), essence(&best(1.0, 0.25)));
        let child = |estimate: f64, seconds: f64| json!({ "arch": "a", "estimate": estimate, "seconds": seconds });
        let first = [child(0.5, 1.0), child(0.25, 1.0)];
        assert_eq!(
            first_difference(&first, &[child(0.5, 2.0), child(0.25, 3.0)]),
            None
        );
        assert_eq!(
            first_difference(&first, &[child(0.5, 2.0), child(0.75, 1.0)]),
            Some(1)
        );
        assert_eq!(first_difference(&first, &first[..1]), Some(1));
    }

    #[cfg(unix)]
    #[test]
    fn a_search_that_does_not_repeat_itself_fails() {
        use crate::gpu::fakes::Fakes;
        use std::time::Duration;

        // The folder is the last argument; its name tells the first search from the second.
        let script = |estimates: [&str; 2]| {
            format!(
                "for out; do :; done; mkdir -p $out; case $out in *first) e={};; *) e={};; esac\n\
                 echo '{{\"arch\": \"a\", \"status\": \"ok\", \"seconds\": 0.5, \"images\": 10, \"estimate\": '$e'}}' > $out/history.jsonl\n\
                 echo '{{\"architecture\": \"a\", \"estimate\": '$e'}}' > $out/best.json",
                estimates[0], estimates[1]
            )
        };
        let soon = || Instant::now() + Duration::from_secs(60);
        let fakes = Fakes::new().with("epnas", &script(["0.5", "0.5"]));
        let measured = run(&fakes.stage, soon());
        assert_eq!(measured.outcome, Outcome::Passed, "{}", measured.note);
        assert_eq!(measured.result["children_per_minute"], 120.0);
        let fakes = Fakes::new().with("epnas", &script(["0.5", "0.25"]));
        let measured = run(&fakes.stage, soon());
        assert_eq!(measured.outcome, Outcome::Failed);
        assert_eq!(
            measured.note,
            "the same seed twice: children differ from number 0 on"
        );
        let fakes = Fakes::new().with("epnas", "echo 'error: no device cuda' >&2; exit 2");
        let measured = run(&fakes.stage, soon());
        assert_eq!(measured.note, "exit code 2: error: no device cuda");
    }
}
