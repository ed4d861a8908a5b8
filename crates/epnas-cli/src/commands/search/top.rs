//! The best few of a search as a table.

use epnas_search::{Best, RankedCandidate};

use crate::output::{grouped, table_with};
use crate::progress::percent;

/// The chosen network, those that come next, and that of random search, as lines; each ends in its architecture, which can
/// be long. Nothing where a search has no more than its result.
pub(crate) fn text(best: &Best) -> Option<String> {
    let random = best.random.as_ref().map(|random| {
        let winner = random.top.iter();
        let winner = winner
            .clone()
            .find(|c| c.architecture == random.architecture);
        winner.cloned().unwrap_or_else(|| RankedCandidate {
            architecture: random.architecture.clone(),
            estimate: random.estimate,
            retrained_accuracy: random.retrained_accuracy,
            params: None,
            macs: None,
        })
    });
    let places = (1..).zip(&best.top).map(|(place, candidate)| {
        let is_chosen = place == 1 && candidate.architecture == best.architecture;
        let name = match is_chosen {
            true => "chosen".to_owned(),
            false => place.to_string(),
        };
        (name, candidate)
    });
    let random = random.as_ref().map(|random| ("random".to_owned(), random));
    let rows: Vec<_> = places.chain(random).collect();
    if rows.len() < 2 {
        return None;
    }
    let or_dash = |known: Option<String>| known.unwrap_or_else(|| "-".to_owned());
    let numbers: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, candidate)| {
            vec![
                name.clone(),
                percent(candidate.estimate),
                or_dash(candidate.retrained_accuracy.map(percent)),
                or_dash(candidate.params.map(grouped)),
                or_dash(candidate.macs.map(grouped)),
            ]
        })
        .collect();
    let header = ["best", "estimate", "retrained", "params", "MACs"];
    let architectures = rows
        .iter()
        .map(|(_, candidate)| candidate.architecture.to_string());
    Some(table_with(&header, &numbers, "architecture", architectures))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn candidate(architecture: &str, retrained: Option<f64>, params: Option<u64>) -> Value {
        json!({
            "architecture": architecture,
            "estimate": 0.962,
            "retrained_accuracy": retrained,
            "params": params,
            "macs": 9_863_328,
        })
    }

    fn best(top: &[Value], random: &Value) -> Best {
        let cost = json!({ "children": 48, "images": 1, "macs": 1, "seconds": 1.0 });
        let mut random = random.clone();
        if let Some(random) = random.as_object_mut() {
            random.insert("cost".to_owned(), cost.clone());
        }
        serde_json::from_value(json!({
            "architecture": "macro:c5.0/c5.1/c5.0+1+2",
            "estimate": 0.962,
            "estimate_note": "",
            "retrained_accuracy": 0.768,
            "retrained_epochs": 6,
            "notes": [],
            "random": random,
            "cost": cost,
            "selection_cost": cost,
            "seed": 0,
            "machine": { "cpu": "", "cores": 2, "os": "linux", "device": "cpu" },
            "versions": { "epnas": "0.1.0", "format": 1 },
            "top": top,
        }))
        .expect("a result")
    }

    #[test]
    fn the_chosen_and_random_searchs_are_marked_and_architectures_come_last() {
        let random = json!({
            "architecture": "macro:mp.0/d5.0+1",
            "estimate": 0.834,
            "retrained_accuracy": 0.826,
            "note": null,
            "top": [
                candidate("macro:c3.0/d5.0+1", Some(0.9), Some(1)),
                candidate("macro:mp.0/d5.0+1", Some(0.826), Some(9_674)),
            ],
        });
        let best = best(
            &[
                candidate("macro:c5.0/c5.1/c5.0+1+2", Some(0.768), Some(28_282)),
                candidate("macro:d3.0/c5.1", None, Some(2_026)),
            ],
            &random,
        );
        assert_eq!(
            text(&best).expect("a table"),
            "\
best    estimate  retrained  params       MACs  architecture
chosen    96.20%     76.80%  28,282  9,863,328  macro:c5.0/c5.1/c5.0+1+2
2         96.20%          -   2,026  9,863,328  macro:d3.0/c5.1
random    96.20%     82.60%   9,674  9,863,328  macro:mp.0/d5.0+1
"
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_the_result_alone_no_table() {
        let chosen = candidate("macro:c5.0/c5.1/c5.0+1+2", None, None);
        let random = json!({
            "architecture": "macro:mp.0",
            "estimate": 0.5,
            "retrained_accuracy": null,
            "note": null,
            "top": [],
        });
        let text = |random| super::text(&best(std::slice::from_ref(&chosen), random));
        assert_eq!(
            text(&random).expect("a table"),
            "\
best    estimate  retrained  params       MACs  architecture
chosen    96.20%          -       -  9,863,328  macro:c5.0/c5.1/c5.0+1+2
random    50.00%          -       -          -  macro:mp.0
"
        );
        assert_eq!(text(&Value::Null), None);
    }
}
