//! Prints the table of an architecture, then its graph.
//!
//! `cargo run -p epnas-report --example describe -- micro:c3.-2+mp.-1/d5.-1+id.0`

use epnas_arch::{Arch, Network, NetworkConfig, Shape};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "macro:c3.0/c5.0+1/d3.1+2".to_owned());
    let arch: Arch = text.parse()?;
    let network = Network::build(
        &arch,
        arch.len(),
        &NetworkConfig::default(),
        Shape::new(32, 32, 3),
        10,
    )?;
    println!("{}", epnas_report::text::describe(&arch, &network));
    print!("{}", epnas_report::dot::architecture(&arch));
    Ok(())
}
