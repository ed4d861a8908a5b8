//! Figure 6: what more iterations give, over independent searches of the macro space.

use std::fs;

use anyhow::{Context, Result};
use epnas_report::curves::{CurvePoint, Labels, Scale as Axis, Series, lines};

use super::lab::Lab;
use super::page::{Page, spread, time};
use super::scale::Kind;
use super::table1;
use super::variant::{Outcome, Variant};

pub(super) fn page(lab: &mut Lab) -> Result<Page> {
    let mut page = Page::new("Figure 6: searches by number of iterations");
    page.paragraph(
        "Independent searches of the macro space for each number of iterations. Told is the validation accuracy of the network \
         that each search found, after brief retraining from scratch.",
    );
    let mut head = vec!["iterations".to_owned(), "children".to_owned()];
    head.extend((1..=lab.seeds).map(|seed| match lab.fleet {
        Some(_) => format!("replica {}", seed - 1),
        None => format!("seed {seed}"),
    }));
    head.extend(["mean ± standard deviation", "variance", "search, selection"].map(String::from));
    let mut rows = vec![head];
    let mut points = Vec::new();
    for iterations in 1..=lab.scale.iterations() {
        let outcomes = Variant::iterations(iterations).outcomes(lab)?;
        let accuracies: Vec<f64> = outcomes.iter().map(|outcome| outcome.accuracy).collect();
        let (mean, deviation) = moments(&accuracies);
        let mut row = vec![iterations.to_string(), Outcome::children(&outcomes)];
        row.extend(accuracies.iter().map(|accuracy| format!("{accuracy:.1}%")));
        row.push(spread(&accuracies, 1, "%"));
        row.push(match lab.seeds {
            1 => "-".to_owned(),
            _ => format!("{:.2}", deviation * deviation),
        });
        row.push(time(Outcome::seconds(&outcomes)));
        rows.push(row);
        points.push(CurvePoint {
            x: iterations as f64,
            mean,
            low: mean - deviation,
            high: mean + deviation,
        });
        if let Some(outcome) = outcomes.first() {
            page.machine(table1::machine(&outcome.best));
        }
    }
    page.table(&rows);
    let labels = Labels {
        title: "Networks found, mean and standard deviation over searches".to_owned(),
        x: "iterations".to_owned(),
        y: "validation accuracy after brief retraining, %".to_owned(),
    };
    let series = Series {
        name: format!("{} searches each", lab.seeds),
        points,
    };
    let file = lab.dir.join("figure6.svg");
    fs::write(&file, lines(&labels, Axis::Linear, &[series])?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    page.paragraph("![accuracy by iterations](figure6.svg)");
    page.paragraph(
        "The paper's figure is a drawing without numbers. What it says: the variance of runs falls as iterations grow, runs with \
         more iterations seem to perform generally better.",
    );
    page.deviations(&[
        "Accuracies are those of briefly retrained networks; the paper does not say how it measured.",
        "Searches of more iterations train more children: the comparison is not at equal cost, and the paper's is not either.",
    ]);
    if lab.fleet.is_some() {
        page.deviations(&[
            "The searches were replicas of a fleet: each has a seed that derives from the first, and their networks were retrained \
             from one seed on one division of the images.",
        ]);
    }
    page.deviations(lab.scale.lighter_deviations());
    Ok(page)
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (
        mean,
        if n > 1.0 {
            (squares / (n - 1.0)).sqrt()
        } else {
            0.0
        },
    )
}

/// The configuration's kind of space: the paper shows the macro space.
pub(super) const KIND: Kind = Kind::Macro;

#[cfg(test)]
mod tests {
    use super::moments;

    #[test]
    fn moments_are_those_of_a_sample() {
        // Deviations of -1, 0 and 1: the root of 2 / (3 - 1).
        assert_eq!(moments(&[4.0, 5.0, 6.0]), (5.0, 1.0));
        assert_eq!(moments(&[4.0]), (4.0, 0.0));
    }
}
