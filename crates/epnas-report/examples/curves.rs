//! Draws curves with bands and points with a front: `cargo run -p epnas-report --example curves -- FOLDER`.

use epnas_report::curves::{CurvePoint, Labelled, Labels, Points, Scale, Series, lines, scatter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let falling = |(name, start, power): (&str, f64, f64)| {
        let point = |x: f64| {
            let mean = start * x.powf(-power);
            CurvePoint {
                x,
                mean,
                low: 0.85 * mean,
                high: 1.2 * mean,
            }
        };
        Series {
            name: name.into(),
            points: (1..=300).map(|x| point(f64::from(x))).collect(),
        }
    };
    let series: Vec<Series> = [
        ("random", 2.0, 0.40),
        ("regularized_evolution", 2.2, 0.65),
        ("local_search", 2.1, 0.55),
        ("epnas", 1.8, 0.70),
    ]
    .map(falling)
    .into();
    let labels = Labels {
        title: "Regret after so many queries".into(),
        x: "queries".into(),
        y: "regret, points of accuracy".into(),
    };
    std::fs::write(
        format!("{folder}/log.svg"),
        lines(&labels, Scale::Log, &series)?,
    )?;
    std::fs::write(
        format!("{folder}/linear.svg"),
        lines(&labels, Scale::Linear, &series)?,
    )?;

    let cloud = |name: &str, shift: f64| Points {
        name: name.into(),
        points: (1..=20)
            .map(|i| f64::from(i) * 1.7)
            .map(|t| Labelled {
                x: 2e6 + 1.5e5 * t,
                y: 0.5 + 0.005 * t + shift * t.sin(),
                label: if t < 3.0 {
                    format!("child {t}")
                } else {
                    String::new()
                },
            })
            .collect(),
    };
    let labels = Labels {
        title: "Accuracy against cost".into(),
        x: "multiply-accumulates per image".into(),
        y: "validation accuracy".into(),
    };
    let front = [(2.3e6, 0.54), (3.5e6, 0.6), (5e6, 0.68)];
    let groups = [
        cloud("children of the run", 0.02),
        cloud("drawn at random", 0.05),
    ];
    std::fs::write(
        format!("{folder}/scatter.svg"),
        scatter(&labels, Scale::Linear, &groups, &front)?,
    )?;
    Ok(())
}
