//! Trains the surrogate on a made-up accuracy and ranks all extensions of the best networks.
//!
//! `cargo run -p epnas-surrogate --example rank`

use epnas_arch::{Arch, Candidates, MacroSpace, Op, Space, Surrogate};
use epnas_surrogate::{Lstm, LstmConfig};

/// Stands for a trained network's accuracy: convolutions are good, and so is depth.
fn measure(arch: &Arch) -> f64 {
    let Arch::Macro(arch) = arch else { return 0.0 };
    let good = |op| matches!(op, Op::Conv3x3 | Op::DwConv5x5);
    let share =
        arch.layers.iter().filter(|layer| good(layer.op)).count() as f64 / arch.layers.len() as f64;
    0.4 + 0.3 * share + 0.02 * arch.layers.len() as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = Space::Macro(MacroSpace {
        layers: 4,
        ..MacroSpace::default()
    });
    let mut surrogate = Lstm::new(&LstmConfig::default(), &space, 1)?;
    println!("{} weights", surrogate.params());

    let mut candidates = Candidates::first(&space);
    let mut measured: Vec<(Arch, f64)> = Vec::new();
    loop {
        // Measure the eight best by prediction; the first time there is no knowledge yet.
        let scores = surrogate.predict(&candidates, 0..candidates.len())?;
        let mut order: Vec<u64> = (0..candidates.len()).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        let chosen: Vec<Arch> = order.iter().take(8).map(|&i| candidates.get(i)).collect();
        println!(
            "{} candidates of {} layers",
            scores.len(),
            candidates.level()
        );
        for (arch, &index) in chosen.iter().zip(&order).take(3) {
            println!(
                "  {arch}  predicted {:.3}  measured {:.3}",
                scores[index as usize],
                measure(arch)
            );
        }
        measured.extend(chosen.iter().map(|arch| (arch.clone(), measure(arch))));
        let report = surrogate.fit(&measured, candidates.level() as u64)?;
        println!(
            "  fitted {} architectures, loss {:.4}",
            report.records, report.loss
        );
        if candidates.level() == space.levels() {
            return Ok(());
        }
        candidates = Candidates::extend(&space, chosen)?;
    }
}
