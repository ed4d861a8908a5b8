//! `epnas devices`: what networks can be trained on.

#[cfg(not(feature = "cuda"))]
use anyhow::Context;
use clap::Args;
use epnas_search::Machine;
use epnas_supernet::{PrecisionKind, simd_level};
use serde::{Deserialize, Serialize};

use crate::arguments::Global;
use crate::output;

/// List what networks can be trained on here: the CPU, and the GPUs or why there are none.
///
/// Examples:
///   epnas devices
///   epnas devices --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct DevicesArgs {}

#[derive(Debug, Serialize)]
struct Devices {
    cpu: Cpu,
    #[serde(flatten)]
    gpus: Gpus,
}

#[derive(Debug, Serialize, Deserialize)]
struct Gpus {
    /// Those that cannot be used among them.
    gpus: Vec<Entry>,
    /// Why there is no GPU.
    no_gpu: Option<String>,
}

#[derive(Debug, Serialize)]
struct Cpu {
    /// For `--device`.
    device: &'static str,
    name: String,
    /// Cores that this process may use.
    cores: usize,
    /// Instructions that the operators use.
    instructions: &'static str,
    /// Whether `--precision bf16` has instructions.
    bf16: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// For `--device`.
    device: String,
    name: String,
    /// In bytes.
    memory: u64,
    /// Compute capability.
    capability: String,
    /// Why it cannot be used; null when it can.
    unusable: Option<String>,
}

#[cfg(feature = "cuda")]
impl From<epnas_supernet::Gpu> for Entry {
    fn from(gpu: epnas_supernet::Gpu) -> Self {
        let (major, minor) = gpu.capability;
        Entry {
            device: format!("cuda:{}", gpu.ordinal),
            name: gpu.name,
            memory: gpu.memory,
            capability: format!("{major}.{minor}"),
            unusable: gpu.unusable,
        }
    }
}

pub(crate) fn run(_: &DevicesArgs, global: &Global) -> anyhow::Result<()> {
    let machine = Machine::here();
    let gpus = gpus().unwrap_or_else(|error| Gpus {
        gpus: Vec::new(),
        no_gpu: Some(format!("{error:#}")),
    });
    let devices = Devices {
        cpu: Cpu {
            device: "cpu",
            name: machine.cpu,
            cores: machine.cores,
            instructions: simd_level()?.name(),
            bf16: PrecisionKind::Bf16.is_native(),
        },
        gpus,
    };
    output::print_as(global.format(), &devices, text)
}

#[cfg(feature = "cuda")]
fn gpus() -> anyhow::Result<Gpus> {
    Ok(Gpus {
        gpus: (epnas_supernet::gpus()?.into_iter())
            .map(Entry::from)
            .collect(),
        no_gpu: None,
    })
}

/// What the build that uses GPUs finds.
#[cfg(not(feature = "cuda"))]
fn gpus() -> anyhow::Result<Gpus> {
    let told = crate::companion::ask(&["devices", "--json"])?;
    serde_json::from_slice(&told).context("the build that uses GPUs answers nonsense")
}

fn text(devices: &Devices) -> String {
    let cpu = &devices.cpu;
    let bf16 = match cpu.bf16 {
        true => "f32 and bf16",
        false => "f32",
    };
    let mut text = format!(
        "cpu     {}, {} cores, {}; {bf16}\n",
        cpu.name, cpu.cores, cpu.instructions
    );
    for gpu in &devices.gpus.gpus {
        let unusable = match &gpu.unusable {
            Some(reason) => format!("; cannot be used: {reason}"),
            None => "; f32 and bf16".to_owned(),
        };
        text.push_str(&format!(
            "{}  {}, {:.1} GiB, compute capability {}{unusable}\n",
            gpu.device,
            gpu.name,
            gpu.memory as f64 / f64::from(1 << 30),
            gpu.capability,
        ));
    }
    if let Some(reason) = &devices.gpus.no_gpu {
        text.push_str(&format!("cuda    {reason}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_that_cannot_be_used_say_why() {
        let gpu = |ordinal, unusable| Entry {
            device: format!("cuda:{ordinal}"),
            name: "NVIDIA Example".to_owned(),
            memory: 3 << 29,
            capability: "8.6".to_owned(),
            unusable,
        };
        let old = Some("it is old".to_owned());
        let devices = Devices {
            cpu: Cpu {
                device: "cpu",
                name: "Example".to_owned(),
                cores: 2,
                instructions: "avx2",
                bf16: false,
            },
            gpus: Gpus {
                gpus: vec![gpu(0, None), gpu(1, old)],
                no_gpu: None,
            },
        };
        let expected = "cpu     Example, 2 cores, avx2; f32\n\
            cuda:0  NVIDIA Example, 1.5 GiB, compute capability 8.6; f32 and bf16\n\
            cuda:1  NVIDIA Example, 1.5 GiB, compute capability 8.6; cannot be used: it is old\n";
        assert_eq!(text(&devices), expected);
    }
}
