//! Describes an architecture in every form, with its counts.
//!
//! `cargo run -p epnas-arch --example explore -- micro:c3.-2+mp.-1/d5.-1+id.0`

use epnas_arch::{Arch, Candidates, Network, NetworkConfig, Shape, Space, genotype};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "macro:c3.0/c5.1/d3.1+2".to_owned());
    let arch: Arch = text.parse()?;
    let network = Network::build(
        &arch,
        arch.len(),
        &NetworkConfig::default(),
        Shape::new(32, 32, 3),
        10,
    )?;
    println!(
        "{arch}: {} parameters, {} multiply-accumulates per image",
        network.params(),
        network.macs()
    );
    if let Arch::Micro(cell) = &arch {
        println!("{}", genotype(cell));
    }
    for node in &network.nodes {
        println!(
            "  {:<40} {:>10} {:>8} parameters",
            node.label,
            node.shape.to_string(),
            node.param_count()
        );
    }

    let space = Space::default();
    println!(
        "the default space holds {} architectures",
        space.cardinality()?
    );
    let first = Candidates::first(&space);
    let second = Candidates::extend(&space, first.iter().collect())?;
    println!(
        "step 1 has {} candidates, step 2 {}, the last of them {}",
        first.len(),
        second.len(),
        second.get(71)
    );
    Ok(())
}
