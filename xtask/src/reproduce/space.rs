//! Sizes of the search spaces, beside those that the paper states (section 3).

use anyhow::{Context, Result};
use serde_json::Value;

use super::lab::Lab;
use super::page::Page;

/// A space, the arguments of `epnas space` and what the paper says.
const SPACES: [(&str, &[&str], &str); 5] = [
    (
        "macro, 12 layers, chain wiring",
        &["--config", "cifar10-macro"],
        "2e29",
    ),
    (
        "macro, 12 layers, free wiring",
        &["--config", "cifar10-macro", "--set", "space.wiring=free"],
        "-",
    ),
    (
        "micro, 5 blocks, seven operations, counting order",
        &[
            "--config",
            "cifar10-micro",
            "--set",
            "space.canonicalize=false",
        ],
        "5e14",
    ),
    (
        "micro, 5 blocks, eight operations, counting order",
        &[
            "--config",
            "cifar10-micro",
            "--set",
            "space.canonicalize=false",
            "--set",
            "space.ops=eight",
        ],
        "5e14",
    ),
    (
        "micro, 5 blocks, seven operations, without order (searched by default)",
        &["--config", "cifar10-micro"],
        "-",
    ),
];

pub(super) fn page(lab: &mut Lab) -> Result<Page> {
    let mut page = Page::new("Sizes of the search spaces");
    let mut rows = vec![
        [
            "space",
            "architectures",
            "log10",
            "the paper",
            "first levels",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (name, arguments, paper) in SPACES {
        let printed = lab.printed(&[&["space"], arguments, &["--json"]].concat())?;
        let report: Value =
            serde_json::from_str(&printed).with_context(|| format!("space printed {printed:?}"))?;
        rows.push(row(name, &report, paper)?);
    }
    page.paragraph("Counted exactly, by `epnas space`. \"First levels\" are the layers or blocks possible at levels 1 to 5.");
    page.table(&rows);
    page.deviations(&[
        "The paper's 2e29 for the macro space is 1.6e29: 6^12 operations times 2^66 sets of sources.",
        "The paper's 5e14 for the micro space needs eight operations, 5.566e14; its text names seven, which give 1.464e14.",
        "The two inputs of a block have no order, so that the search counts each pair once by default: 105 first blocks \
         instead of 196. The paper does not say.",
        "What a layer reads when its set of sources is empty is not said: here the previous layer always feeds it (chain), \
         which counts the same number of networks as the formula (free).",
        "No search and no training: the scale changes nothing on this page.",
    ]);
    Ok(page)
}

fn row(name: &str, report: &Value, paper: &str) -> Result<Vec<String>> {
    let log10 = report["log10_cardinality"]
        .as_f64()
        .context("space prints no log10_cardinality")?;
    let exact = report["cardinality"]
        .as_str()
        .unwrap_or("more than 128 bits count");
    let levels = report["levels"]
        .as_array()
        .context("space prints no levels")?;
    let elements: Vec<String> = levels
        .iter()
        .take(5)
        .map(|level| level["elements"].to_string())
        .collect();
    Ok(vec![
        name.to_owned(),
        exact.to_owned(),
        format!("{log10:.2}"),
        paper.to_owned(),
        elements.join(", "),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_has_our_count_beside_the_papers() {
        let report = json!({
            "cardinality": "36", "log10_cardinality": 1.5563,
            "levels": [{ "elements": 6 }, { "elements": 12 }],
        });
        let row = row("small", &report, "40").unwrap();
        assert_eq!(row, ["small", "36", "1.56", "40", "6, 12"]);
        assert!(super::row("none", &json!({}), "-").is_err());
    }
}
