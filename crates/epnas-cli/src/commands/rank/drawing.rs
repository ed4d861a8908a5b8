//! The drawing of a ranking: the search's estimates against accuracies after retraining.

use epnas_report::curves::{Labelled, Labels, Points, Scale, scatter};
use epnas_search::rank::Origin;
use epnas_search::{RankRecord, Ranked};

use crate::output;

/// An SVG of the architectures; `None` when none has both numbers.
pub(super) fn svg(ranked: &Ranked) -> anyhow::Result<Option<String>> {
    let Ranked { report, records } = ranked;
    let estimate = report.search_estimate;
    let group = |origin: Origin, name: &str| {
        let of_origin = records.iter().filter(|record| record.origin == origin);
        let point = |record: &RankRecord| {
            Some(Labelled {
                x: *record.estimates.get(&estimate)?,
                y: record.retrained.retrained_accuracy?,
                label: String::new(),
            })
        };
        Points {
            name: name.to_owned(),
            points: of_origin.filter_map(point).collect(),
        }
    };
    let mut groups = vec![
        group(Origin::Run, "children of the run"),
        group(Origin::Space, "drawn from the space"),
    ];
    groups.retain(|group| !group.points.is_empty());
    if groups.is_empty() {
        return Ok(None);
    }
    let scores = report
        .all
        .iter()
        .find(|scores| scores.predictor == estimate);
    let tau = scores.and_then(|scores| scores.kendall_tau);
    let tau = tau.map_or_else(String::new, |tau| format!(": Kendall tau {:.2}", tau.value));
    let epochs = report
        .retrained
        .as_ref()
        .map_or(0, |retrained| retrained.epochs);
    let labels = Labels {
        title: format!("How much the estimates tell{tau}"),
        x: format!("estimate with shared weights ({estimate})"),
        y: format!("accuracy after {} from scratch", output::epochs(epochs)),
    };
    Ok(Some(scatter(&labels, Scale::Linear, &groups, &[])?))
}
