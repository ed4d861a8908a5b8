//! Figures 4 and 5: the best macro network and the best micro cell, drawn.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use layout::backends::svg::SVGWriter;
use layout::gv::{DotParser, GraphBuilder};
use serde_json::Value;

use super::lab::Lab;
use super::page::{Page, time};
use super::scale::Kind;
use super::table1;

pub(super) fn page(lab: &mut Lab, kind: Kind) -> Result<Page> {
    let (number, title) = match kind {
        Kind::Macro => (4, "Figure 4: the best network found in the macro space"),
        Kind::Micro => (5, "Figure 5: the best cell found in the micro space"),
    };
    let mut page = Page::new(title);
    page.paragraph(
        "The best of each seed, by validation accuracy after brief retraining. An estimate is an accuracy measured with weights \
         shared among all children: it ranks networks and is not the accuracy of this one.",
    );
    for seed in 1..=lab.seeds {
        let (run, best) = lab.search(kind, seed)?;
        let run = run.to_string_lossy().into_owned();
        let dot = lab.printed(&["show", &run, "--format", "dot"])?;
        let name = format!("figure{number}-{seed}");
        draw(&dot, &lab.dir, &name)?;
        page.heading(&format!("Seed {seed}"));
        page.paragraph(&caption(&best));
        page.paragraph(&format!("![drawing, seed {seed}]({name}.svg)"));
        page.paragraph(&format!(
            "The graph as Graphviz reads it: [{name}.dot]({name}.dot)."
        ));
        page.machine(table1::machine(&best));
    }
    page.deviations(&[
        "What is drawn is what our search found, with other random numbers and images than the paper's: it need not look alike.",
        "The best few by estimate are retrained briefly and the best of those is drawn; the paper takes the best by estimate.",
    ]);
    page.deviations(lab.scale.deviations());
    Ok(page)
}

fn caption(best: &Value) -> String {
    let percent = |value: &Value| match value.as_f64() {
        Some(value) => format!("{:.1}%", 100.0 * value),
        None => "none".to_owned(),
    };
    format!(
        "`{}`: estimate with shared weights {}, validation accuracy after {} epochs of retraining {}; found with {} children \
         in {}.",
        best["architecture"].as_str().unwrap_or("?"),
        percent(&best["estimate"]),
        best["retrained_epochs"],
        percent(&best["retrained_accuracy"]),
        best["cost"]["children"],
        time(best["cost"]["seconds"].as_f64().unwrap_or(f64::NAN)),
    )
}

/// Writes the graph and its drawing.
fn draw(dot: &str, dir: &Path, name: &str) -> Result<()> {
    for (extension, text) in [("dot", dot), ("svg", &*laid_out(dot)?)] {
        let file = dir.join(format!("{name}.{extension}"));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn laid_out(dot: &str) -> Result<String> {
    let graph = DotParser::new(dot).process();
    let graph = graph.map_err(|error| anyhow!("the graph cannot be drawn: {error}"))?;
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&graph);
    let mut svg = SVGWriter::new();
    builder.get().do_it(false, false, false, &mut svg);
    Ok(svg.finalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_graph_becomes_a_drawing_with_its_labels() {
        let svg = laid_out(
            "digraph g { a [label=\"stem\"]; b [label=\"layer 1\\nconv_3x3\"]; a -> b [style=dashed]; }",
        );
        let svg = svg.unwrap();
        assert!(
            svg.contains("<svg") && svg.contains("stem") && svg.contains("conv_3x3"),
            "{svg}"
        );
        assert!(laid_out("digraph {").is_err());
    }

    #[test]
    fn a_caption_calls_an_estimate_an_estimate() {
        let best = json!({
            "architecture": "macro:c3.0", "estimate": 0.5, "retrained_accuracy": 0.625, "retrained_epochs": 2,
            "cost": { "children": 18, "seconds": 3600.0 },
        });
        let expected = "`macro:c3.0`: estimate with shared weights 50.0%, validation accuracy after 2 epochs of retraining 62.5%; \
                        found with 18 children in 60 min.";
        assert_eq!(caption(&best), expected);
    }
}
