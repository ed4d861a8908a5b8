//! A result that is changed on disk is refused: `cargo run -p epnas-disk --example survive`.

use std::fs;

use epnas_disk::{Lines, read_json, read_lines, write_json};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    network: String,
    accuracy: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("survive-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let (best, all) = (dir.join("best.json"), dir.join("all.jsonl"));
    let measured = |network: &str, accuracy| Measured {
        network: network.into(),
        accuracy,
    };

    // Each line is on disk when `push` returns.
    let (mut lines, _) = Lines::open::<Measured>(&all)?;
    lines.push(&measured("small", 0.81))?;
    lines.push(&measured("large", 0.93))?;
    println!("{}", fs::read_to_string(&all)?.trim_end());

    write_json(&best, &measured("large", 0.93))?;
    println!("{:?}", read_json::<Measured>(&best)?);

    // A bit is flipped: 0.93 becomes 0.97.
    let text = fs::read_to_string(&best)?.replace("0.93", "0.97");
    fs::write(&best, text)?;
    match read_json::<Measured>(&best) {
        Err(error) => println!(
            "{}",
            error.to_string().replace(&*dir.to_string_lossy(), "...")
        ),
        Ok(value) => println!("taken for whole: {value:?}"),
    }

    // The process dies while it writes a line.
    let bytes = fs::read(&all)?;
    fs::write(&all, &bytes[..bytes.len() - 9])?;
    println!("{} whole line is left", read_lines::<Measured>(&all)?.len());
    fs::remove_dir_all(&dir)?;
    Ok(())
}
