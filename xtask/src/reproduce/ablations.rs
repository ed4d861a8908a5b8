//! What each part of the method is worth (section 5's text, and the parts that the paper only describes).

use anyhow::Result;

use super::lab::Lab;
use super::page::{Page, spread, time};
use super::scale::Scale;
use super::table1;
use super::variant::{Outcome, Variant};

/// A name for the page, the folder's name and what is set.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// What is changed about the method, one thing at a time.
const ROWS: [Row; 9] = [
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
    (
        "one pass, children trained three times as long",
        "one-pass-longer",
        &["search.iterations=1"],
    ),
    (
        "as our presets search: later iterations change a layer of the best, temperature 0.01",
        "presets",
        &[
            "search.continuation=improve",
            "search.parents=best",
            "search.known=never",
            "search.temperature.initial=0.01",
            "search.temperature.final=0.01",
        ],
    ),
    (
        "the same with weights of its own for every child",
        "presets-unshared",
        &[
            "search.continuation=improve",
            "search.parents=best",
            "search.known=never",
            "search.temperature.initial=0.01",
            "search.temperature.final=0.01",
            "search.sharing=none",
        ],
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
    for (title, variant) in variants(lab.scale) {
        let outcomes = variant.outcomes(lab)?;
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
         the sampled models were trained for more epochs\". It does not say of which accuracy. With so few seeds, differences \
         below the standard deviations say nothing.",
    );
    page.deviations(&[
        "Each variant trains as many children as EPNAS, except one pass, which the paper compares in the same way. Random search's \
         are all of full length and cost more.",
        "Without sharing, each child starts from fresh weights and trains as briefly as with sharing.",
    ]);
    page.deviations(lab.scale.lighter_deviations());
    Ok(page)
}

/// The method and one pass of it, whose runs figure 6 has too, then what is changed.
fn variants(scale: Scale) -> Vec<(&'static str, Variant)> {
    let iterations = scale.iterations();
    let mut variants = vec![
        (
            "EPNAS: sampling, temperature 10 to 1, shared weights, several iterations",
            Variant::iterations(iterations),
        ),
        ("one pass", Variant::iterations(1)),
    ];
    for (title, name, settings) in ROWS {
        let mut variant = Variant::iterations(iterations);
        variant.name = format!("ablation-{name}");
        variant
            .settings
            .extend(settings.iter().map(ToString::to_string));
        if name == "one-pass-longer" {
            let epochs = 3 * scale.child_epochs();
            variant.settings.push(format!("training.epochs={epochs}"));
        }
        variants.push((title, variant));
    }
    variants
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_variant_has_a_folder_and_settings_of_its_own() {
        for scale in [Scale::Smoke, Scale::Cpu, Scale::Paper] {
            let variants = variants(scale);
            let names: BTreeSet<&str> = variants.iter().map(|(_, one)| one.name.as_str()).collect();
            let settings: BTreeSet<_> = variants.iter().map(|(_, one)| &one.settings).collect();
            assert_eq!(names.len(), variants.len());
            assert_eq!(settings.len(), variants.len());
        }
    }
}
