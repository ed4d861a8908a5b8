//! Draws 5 of 1,000 candidates at a falling temperature.
//!
//! `cargo run -p epnas-sampler --example draw`

use epnas_sampler::{Selection, StreamingSampler, TemperatureSchedule};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Predicted accuracies between 0.1 and 0.9.
    let scores: Vec<f32> = (0..1000u32)
        .map(|i| 0.1 + 0.8 * ((i * 37) % 1000) as f32 / 1000.0)
        .collect();
    let schedule = TemperatureSchedule {
        final_: 0.05,
        ..TemperatureSchedule::default()
    };
    schedule.validate()?;
    let mut rng = ChaCha8Rng::seed_from_u64(2018);
    for t in [0, 6, 12, 24] {
        let tau = schedule.at(t, 12.0);
        let mut sampler = StreamingSampler::new(Selection::Sample, 5, tau, &mut rng)?;
        for (chunk, part) in scores.chunks(256).enumerate() {
            sampler.extend(chunk as u64 * 256, part)?;
        }
        println!("step {t:2}, temperature {tau:.3}");
        for draw in sampler.finish() {
            println!(
                "  item {:3}  score {:.3}  probability {:.5}",
                draw.index, draw.score, draw.probability
            );
        }
    }
    Ok(())
}
