//! Prints the PyTorch module of an architecture, with weights that nobody trained.
//!
//! `cargo run --package epnas-export --example pytorch_source -- macro:c3.0/d3.1/mp.0+2`

use epnas_arch::{Design, NetworkConfig, Shape};
use epnas_export::{Trained, pytorch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1);
    let text = text.unwrap_or_else(|| "macro:c3.0/d3.1/mp.0+2".to_owned());
    let design: Design = text.parse()?;
    let levels = text.split('/').count();
    let network = design.network(levels, &NetworkConfig::default(), Shape::new(32, 32, 3), 2)?;
    let ones = |path: &str| {
        let param = network.tensors().find(|param| param.path == path)?;
        Some(vec![1.0; param.len()])
    };
    let module = pytorch(
        &Trained {
            network: &network,
            architecture: &text,
            classes: &["cat".to_owned(), "dog".to_owned()],
            mean: &[0.5; 3],
            std: &[0.25; 3],
            weights: &ones,
        },
        "network.safetensors",
    )?;
    print!("{}", module.source);
    Ok(())
}
