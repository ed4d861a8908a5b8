//! Seconds for the two things a search asks of the surrogate, at the paper's largest sizes.
//!
//! `cargo bench -p epnas-surrogate`; `RAYON_NUM_THREADS` sets the number of threads. On Linux the
//! processor time of all threads is printed too, which holds on a busy machine.

use std::time::Instant;

use epnas_arch::{Arch, Candidates, Space, Surrogate, SurrogateError};
use epnas_surrogate::{Lstm, LstmConfig};

/// The `n` architectures of `length` levels at evenly spread elements.
fn archs(space: &Space, n: u64, length: usize) -> Vec<Arch> {
    (0..n)
        .filter_map(|i| {
            (1..=length).fold(None, |parent: Option<Arch>, level| {
                let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                let element = (mixed ^ (mixed >> (3 * level))) % space.level_len(level);
                Some(space.extend(parent.as_ref(), element))
            })
        })
        .collect()
}

/// User time of this process so far, in seconds, where `/proc` tells it (in ticks of 10 ms).
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: f64 = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(11)?
        .parse()
        .ok()?;
    Some(ticks / 100.0)
}

/// Runs and times `work`.
fn timed<T>(
    what: &str,
    work: impl FnOnce() -> Result<T, SurrogateError>,
) -> Result<T, SurrogateError> {
    let (start, before) = (Instant::now(), processor_seconds());
    let result = work()?;
    let wall = start.elapsed().as_secs_f64();
    match before.zip(processor_seconds()) {
        Some((before, after)) => {
            println!("{what}: {wall:.3} s, processors {:.2} s", after - before)
        }
        None => println!("{what}: {wall:.3} s"),
    }
    Ok(result)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Without --bench (cargo test --all-targets) only see that it runs.
    let full = std::env::args().any(|arg| arg == "--bench");
    let space = Space::default();
    let config = LstmConfig {
        epochs: if full { 50 } else { 1 },
        ..LstmConfig::default()
    };
    let mut surrogate = Lstm::new(&config, &space, 1)?;

    let candidates = Candidates::extend(&space, archs(&space, 25, 11))?;
    let n = candidates.len();
    for _ in 0..3 {
        timed(&format!("predict, {n} candidates of 12 layers"), || {
            surrogate.predict(&candidates, 0..n)
        })?;
    }
    timed("predict, the same in ranges of 8192", || {
        (0..n).step_by(8192).try_for_each(|first| {
            surrogate
                .predict(&candidates, first..(first + 8192).min(n))
                .map(drop)
        })
    })?;
    let parents = archs(&space, 25, 12);
    for level in [12, 11, 10, 6, 1] {
        let candidates = Candidates::refine(&space, parents.clone(), level)?;
        let n = candidates.len();
        timed(
            &format!("predict, {n} replacements of layer {level}"),
            || surrogate.predict(&candidates, 0..n),
        )?;
    }

    // Five iterations: 281 architectures each, 6 of one layer and 25 of every other length.
    let mixed: Vec<Arch> = (1..=12)
        .flat_map(|length| archs(&space, if length == 1 { 30 } else { 125 }, length))
        .collect();
    for (what, archs) in [("1 to 12", mixed), ("12", archs(&space, 1400, 12))] {
        let records: Vec<(Arch, f64)> = archs
            .into_iter()
            .enumerate()
            .map(|(i, arch)| (arch, 0.5 + 0.3 * (i as f64).sin()))
            .collect();
        let what = format!(
            "fit, {} architectures of {what} layers, {} epochs",
            records.len(),
            config.epochs
        );
        timed(&what, || surrogate.fit(&records, 1))?;
    }
    Ok(())
}
