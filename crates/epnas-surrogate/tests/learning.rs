//! Learning: the ranking of architectures it has not seen.

use epnas_arch::{Arch, MacroSpace, MicroSpace, Op, Space, Surrogate};
use epnas_surrogate::{Loss, Lstm, LstmConfig};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Random architectures of `length` levels.
fn archs(space: &Space, n: usize, length: usize, rng: &mut ChaCha8Rng) -> Vec<Arch> {
    (0..n)
        .filter_map(|_| {
            (1..=length).fold(None, |parent: Option<Arch>, level| {
                let element = rng.random_range(0..space.level_len(level));
                Some(space.extend(parent.as_ref(), element))
            })
        })
        .collect()
}

/// How good an operation is, made up.
fn quality(op: Op) -> f64 {
    match op {
        Op::Conv3x3 => 1.0,
        Op::DwConv5x5 => 0.9,
        Op::DwConv3x3 => 0.8,
        Op::Conv5x5 | Op::DwConv7x7 => 0.6,
        Op::MaxPool3x3 => 0.3,
        Op::AvgPool3x3 => 0.2,
        Op::Identity => 0.1,
    }
}

/// A made-up accuracy: depth, the mean quality of the operations, and skips, with less for each more.
fn accuracy(arch: &Arch) -> f64 {
    let (ops, skips): (Vec<f64>, usize) = match arch {
        Arch::Macro(arch) => (
            arch.layers.iter().map(|layer| quality(layer.op)).collect(),
            arch.layers
                .iter()
                .map(|layer| layer.sources.len() - 1)
                .sum(),
        ),
        Arch::Micro(cell) => {
            let inputs = || cell.blocks.iter().flat_map(|block| &block.inputs);
            let deep =
                inputs().filter(|input| input.source.to_string().parse::<i32>().unwrap_or(0) >= 0);
            (
                inputs().map(|input| quality(input.op)).collect(),
                deep.count(),
            )
        }
        Arch::Choices(_) => unreachable!("no space of choices here"),
    };
    let n = ops.len() as f64;
    let mean = ops.iter().sum::<f64>() / n;
    let skips = skips as f64 / n;
    0.35 + 0.3 * mean + 0.1 * (1.0 - (-n / 4.0).exp()) + 0.08 * skips / (1.0 + skips)
}

/// Kendall's tau-b of two rankings.
fn kendall(a: &[f64], b: &[f64]) -> f64 {
    let (mut agree, mut ties_a, mut ties_b, mut pairs) = (0.0, 0.0, 0.0, 0.0);
    for i in 0..a.len() {
        for j in 0..i {
            let (x, y) = (a[i] - a[j], b[i] - b[j]);
            pairs += 1.0;
            agree += if x * y == 0.0 { 0.0 } else { (x * y).signum() };
            ties_a += f64::from(u8::from(x == 0.0));
            ties_b += f64::from(u8::from(y == 0.0));
        }
    }
    let scale: f64 = (pairs - ties_a) * (pairs - ties_b);
    agree / scale.sqrt().max(1.0)
}

struct Outcome {
    /// Tau over 200 architectures of full length that were not trained on, after each fit.
    taus: Vec<f64>,
    saturation: f64,
    loss: f64,
}

/// A search's course: per level `n` architectures more, measured up to `noise` wrong, and a fit on all so far,
/// `rounds` times.
fn learn(
    space: &Space,
    config: &LstmConfig,
    (n, noise): (usize, f64),
    rounds: usize,
    seed: u64,
) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut surrogate = Lstm::new(config, space, seed).unwrap();
    let test = archs(space, 200, space.levels(), &mut rng);
    let truth: Vec<f64> = test.iter().map(accuracy).collect();
    let mut records = Vec::new();
    let mut outcome = Outcome {
        taus: Vec::new(),
        saturation: 0.0,
        loss: 0.0,
    };
    for _ in 0..rounds {
        for level in 1..=space.levels() {
            let new = archs(space, n, level, &mut rng);
            records.extend(new.into_iter().map(|arch| {
                let accuracy = accuracy(&arch) + rng.random_range(-noise..=noise);
                (arch, accuracy)
            }));
            let report = surrogate.fit(&records, rng.random()).unwrap();
            (outcome.saturation, outcome.loss) = (report.saturation, report.loss);
        }
        let predicted: Vec<f64> = test
            .iter()
            .map(|arch| f64::from(surrogate.predict_arch(arch).unwrap()))
            .collect();
        outcome.taus.push(kendall(&predicted, &truth));
    }
    outcome
}

#[test]
fn kendall_by_hand() {
    // Of (1,2,3,4) against (1,3,2,4) one pair of six is swapped: (5 - 1) / 6.
    assert!((kendall(&[1., 2., 3., 4.], &[1., 3., 2., 4.]) - 4.0 / 6.0).abs() < 1e-12);
}

/// Default settings (U[-1, 1], L1) over two iterations of a small macro search.
#[test]
fn ranks_unseen_networks() {
    let space = Space::Macro(MacroSpace {
        layers: 6,
        ..MacroSpace::default()
    });
    let outcome = learn(&space, &LstmConfig::default(), (25, 0.0), 2, 7);
    assert!(outcome.taus[1] > 0.8, "tau {:?}", outcome.taus);
    assert!(
        outcome.saturation < 0.05,
        "saturation {}",
        outcome.saturation
    );
}

#[test]
fn ranks_unseen_cells() {
    let space = Space::Micro(MicroSpace {
        blocks: 3,
        ..MicroSpace::default()
    });
    let outcome = learn(&space, &LstmConfig::default(), (25, 0.0), 3, 7);
    assert!(outcome.taus[2] > 0.8, "tau {:?}", outcome.taus);
}

/// `cargo test -p epnas-surrogate --test learning -- --ignored --nocapture` prints a table of
/// settings. Not a check.
#[test]
#[ignore = "a survey of settings, minutes"]
fn survey() {
    let space = Space::default();
    let settings = [
        (16, 1.0, Loss::L1),
        (32, 1.0, Loss::L1),
        (64, 1.0, Loss::L1),
        (32, 0.1, Loss::L1),
        (32, 1.0, Loss::Mse),
        (32, 0.1, Loss::Mse),
    ];
    for (batch, init, loss) in settings {
        let config = LstmConfig {
            batch,
            init,
            loss,
            ..LstmConfig::default()
        };
        let start = std::time::Instant::now();
        let outcome = learn(&space, &config, (25, 0.0), 2, 7);
        println!(
            "batch {batch} init {init} {loss:?}: tau {:.3?} saturation {:.3} loss {:.4} ({:.0} s)",
            outcome.taus,
            outcome.saturation,
            outcome.loss,
            start.elapsed().as_secs_f64()
        );
    }
}

/// As [`survey`], for small searches whose children are few and roughly measured. Not a check.
#[test]
#[ignore = "a survey of settings, minutes"]
fn survey_of_few() {
    const SEEDS: u64 = 8;
    let layers = Space::Macro(MacroSpace {
        layers: 6,
        ..MacroSpace::default()
    });
    let blocks = Space::Micro(MicroSpace {
        blocks: 3,
        ..MicroSpace::default()
    });
    for (space, n) in [(layers, 6), (blocks, 20)] {
        for (epochs, batch) in [(25, 16), (50, 64), (50, 16), (100, 16), (300, 16)] {
            let config = LstmConfig {
                epochs,
                batch,
                ..LstmConfig::default()
            };
            let start = std::time::Instant::now();
            let outcomes = (0..SEEDS).map(|seed| learn(&space, &config, (n, 0.03), 2, seed));
            let mut taus = [0.0; 2];
            for outcome in outcomes {
                for (sum, tau) in taus.iter_mut().zip(outcome.taus) {
                    *sum += tau / SEEDS as f64;
                }
            }
            let seconds = start.elapsed().as_secs_f64() / SEEDS as f64;
            println!("epochs {epochs} batch {batch}: tau {taus:.3?} ({seconds:.1} s a search)");
        }
    }
}
