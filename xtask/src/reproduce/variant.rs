//! The method of the paper with one thing changed, over several seeds.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::figure6::KIND;
use super::lab::Lab;

/// The paper's method (section 3), whatever the configuration of the scale does otherwise.
const METHOD: [&str; 7] = [
    "search.strategy=epnas",
    "search.continuation=restart",
    "search.parents=latest",
    "search.known=again",
    "search.selection=sample",
    "search.temperature.initial=10",
    "search.temperature.final=1",
];

/// Settings and the name of their runs.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) settings: Vec<String>,
}

/// What a search gave.
#[derive(Debug)]
pub(super) struct Outcome {
    /// `best.json`.
    pub(super) best: Value,
    /// Validation accuracy of the winner after brief retraining, in percent.
    pub(super) accuracy: f64,
}

impl Variant {
    /// The method as it is, with this many iterations.
    pub(super) fn iterations(iterations: usize) -> Variant {
        Variant {
            name: format!("iterations-{iterations}"),
            settings: vec![format!("search.iterations={iterations}")],
        }
    }

    /// One search for each seed of the lab; [`METHOD`] holds unless the variant says otherwise.
    pub(super) fn outcomes(&self, lab: &mut Lab) -> Result<Vec<Outcome>> {
        let fixed = lab.scale.lighter().iter().chain(&METHOD);
        let mut settings: Vec<String> = fixed.map(ToString::to_string).collect();
        settings.extend(self.settings.iter().cloned());
        if let Some(fleet) = lab.fleet.clone() {
            let collected = lab.fleet(&fleet, &self.name, KIND, &settings)?;
            return of_fleet(&collected);
        }
        let seeds = 1..=lab.seeds;
        let searched = |seed| {
            let (_, best) = lab.search_with(&self.name, KIND, seed, &settings)?;
            let accuracy = best["retrained_accuracy"].as_f64();
            let accuracy = accuracy
                .with_context(|| format!("{}, seed {seed}: nothing was retrained", self.name))?;
            Ok(Outcome {
                accuracy: 100.0 * accuracy,
                best,
            })
        };
        seeds.map(searched).collect()
    }
}

/// What each search of a fleet gave. Its share of the selection's cost is that of all.
fn of_fleet(collected: &Value) -> Result<Vec<Outcome>> {
    let replicas = collected["replicas"].as_array();
    let replicas = replicas.context("a fleet without replicas")?;
    let selection = collected["best"]["selection_cost"]["seconds"].as_f64();
    let selection = selection.unwrap_or(f64::NAN) / replicas.len() as f64;
    let outcome = |replica: &Value| {
        let mut best = replica["found"].clone();
        best["machine"] = collected["best"]["machine"].clone();
        best["selection_cost"] = json!({ "seconds": selection });
        let accuracy = best["retrained_accuracy"].as_f64();
        let number = &replica["number"];
        let accuracy =
            accuracy.with_context(|| format!("replica {number}: nothing was retrained"))?;
        Ok(Outcome {
            accuracy: 100.0 * accuracy,
            best,
        })
    };
    replicas.iter().map(outcome).collect()
}

impl Outcome {
    fn mean(outcomes: &[Outcome], of: impl Fn(&Value) -> f64) -> f64 {
        outcomes
            .iter()
            .map(|outcome| of(&outcome.best))
            .sum::<f64>()
            / outcomes.len() as f64
    }

    /// Children per search.
    pub(super) fn children(outcomes: &[Outcome]) -> String {
        let children = |best: &Value| best["cost"]["children"].as_f64().unwrap_or(f64::NAN);
        format!("{:.0}", Outcome::mean(outcomes, children))
    }

    /// Wall time per search, its selection included.
    pub(super) fn seconds(outcomes: &[Outcome]) -> f64 {
        let of = |best: &Value, cost: &str| best[cost]["seconds"].as_f64().unwrap_or(f64::NAN);
        Outcome::mean(outcomes, |best| {
            of(best, "cost") + of(best, "selection_cost")
        })
    }

    /// Estimates of the winners, in percent.
    pub(super) fn estimates(outcomes: &[Outcome]) -> Vec<f64> {
        let estimate =
            |outcome: &Outcome| 100.0 * outcome.best["estimate"].as_f64().unwrap_or(f64::NAN);
        outcomes.iter().map(estimate).collect()
    }
}
