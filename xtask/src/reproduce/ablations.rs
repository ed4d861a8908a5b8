//! What each part of the method is worth (section 5's text, and the parts that the paper only describes).

use anyhow::Result;

use super::lab::Lab;
use super::page::{Page, spread, time};
use super::table1;
use super::variant::{METHOD, Outcome, Variant};

/// A name for the page, the folder's name and what is set.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// The method, and everything that is changed about it, one thing at a time.
const ROWS: [Row; 9] = [
    (
        "EPNAS: sampling, temperature 10 to 1, shared weights, several iterations",
        "epnas",
        &[],
    ),
    (
        "the best predicted instead of a draw",
        "top-k",
        &["search.selection=top_k"],
    ),
    (
        "a draw that ignores predictions",
        "uniform",
        &["search.selection=uniform"],
    ),
    (
        "temperature 1 throughout",
        "cool-1",
        &["search.temperature.initial=1"],
    ),
    (
        "temperature 10 to 0.2",
        "cool-02",
        &["search.temperature.final=0.2"],
    ),
    (
        "weights of its own for every child",
        "unshared",
        &["search.sharing=none"],
    ),
    ("one pass", "one-pass", &["search.iterations=1"]),
    (
        "one pass, children trained three times as long",
        "one-pass-longer",
        &["search.iterations=1"],
    ),
    (
        "random search with as many children",
        "random",
        &["search.strategy=random"],
    ),
];

pub(super) fn page(lab: &mut Lab) -> Result<Page> {
    let mut page = Page::new("Ablations: what each part of the method is worth");
    page.paragraph(
        "Searches of the macro space, each with one thing changed. The last columns tell: the best estimate of each search, which \
         is measured with shared weights (except without sharing) and compares only within a row; and the validation accuracy of \
         the network that it found after brief retraining from scratch, which compares between rows.",
    );
    let head = [
        "variant",
        "children",
        "search, selection",
        "estimate",
        "retrained",
        "against EPNAS",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    let mut reference = None;
    for (title, name, settings) in ROWS {
        let mut settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let iterations = lab.scale.iterations();
        settings.insert(0, format!("search.iterations={iterations}"));
        if name == "one-pass-longer" {
            settings.push(format!("training.epochs={}", 3 * lab.scale.child_epochs()));
        }
        let variant = Variant {
            name: format!("ablation-{name}"),
            settings,
        };
        let outcomes = variant.outcomes(lab, METHOD)?;
        let accuracies: Vec<f64> = outcomes.iter().map(|outcome| outcome.accuracy).collect();
        let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        let difference = reference.map_or("-".to_owned(), |of: f64| format!("{:+.1}", mean - of));
        reference.get_or_insert(mean);
        rows.push(vec![
            title.to_owned(),
            Outcome::children(&outcomes),
            time(Outcome::seconds(&outcomes)),
            spread(&Outcome::estimates(&outcomes), 1, "%"),
            spread(&accuracies, 1, "%"),
            difference,
        ]);
        if let Some(outcome) = outcomes.first() {
            page.machine(table1::machine(&outcome.best));
        }
    }
    page.table(&rows);
    page.paragraph(
        "The paper gives one figure: three iterations \"performed around 8% better than a one-pass progressive search, even when \
         the sampled models were trained for more epochs\". It does not say of which accuracy. With two seeds, differences below \
         the standard deviations say nothing.",
    );
    page.deviations(&[
        "Each variant has as many steps as EPNAS, except one pass, which the paper compares in the same way.",
        "Without sharing, each child starts from fresh weights and trains as briefly as with sharing.",
    ]);
    page.deviations(lab.scale.deviations());
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ROWS;

    #[test]
    fn runs_have_names_of_their_own_and_the_method_comes_first() {
        let names: BTreeSet<&str> = ROWS.iter().map(|(_, name, _)| *name).collect();
        assert_eq!(names.len(), ROWS.len());
        assert!(ROWS[0].2.is_empty());
    }
}
