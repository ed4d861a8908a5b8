//! An architecture, or a drawing, as PNG: `cargo run -p epnas-report --example picture -- ARCH|FILE.svg FILE.png [dark]`.

use epnas_arch::{Arch, Network, NetworkConfig, Shape};
use epnas_report::diagram;
use epnas_report::raster::{Theme, png};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next();
    let what = what
        .as_deref()
        .unwrap_or("macro:c3.0/d5.0+1/mp.1/c5.0+2+3/ap.4/c3.2+5");
    let file = arguments.next();
    let theme = match arguments.next().as_deref() {
        Some("dark") => Theme::Dark,
        _ => Theme::Light,
    };
    let svg = if what.ends_with(".svg") {
        std::fs::read_to_string(what)?
    } else {
        let arch: Arch = what.parse()?;
        let (config, image) = (NetworkConfig::default(), Shape::new(32, 32, 3));
        diagram::svg(
            &arch,
            &Network::build(&arch, arch.len(), &config, image, 10)?,
        )
    };
    let picture = png(&svg, theme, 2.0)?;
    std::fs::write(file.as_deref().unwrap_or("picture.png"), picture)?;
    Ok(())
}
