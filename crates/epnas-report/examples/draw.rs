//! Draws an architecture as SVG: `cargo run -p epnas-report --example draw -- macro:c3.0/d5.0+1 > drawing.svg`.

use epnas_arch::{Arch, Network, NetworkConfig, Shape};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1);
    let text = text
        .as_deref()
        .unwrap_or("macro:c3.0/d5.0+1/mp.1/c5.0+2+3/ap.4/c3.2+5");
    let arch: Arch = text.parse()?;
    let config = NetworkConfig::default();
    let network = Network::build(&arch, arch.len(), &config, Shape::new(32, 32, 3), 10)?;
    print!("{}", epnas_report::diagram::svg(&arch, &network));
    Ok(())
}
