//! What this machine is.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Number, Value, json};

use super::limit::Runner;
use super::parts::Stage;
use super::report::Measured;

/// What is asked of nvidia-smi, and the names under which the report has it.
const QUERY: [(&str, &str); 10] = [
    ("name", "name"),
    ("driver_version", "driver"),
    ("compute_cap", "compute_capability"),
    ("memory.total", "memory_mib"),
    ("clocks.sm", "clock_mhz"),
    ("clocks.max.sm", "clock_max_mhz"),
    ("clocks.mem", "memory_clock_mhz"),
    ("power.limit", "power_limit_watts"),
    ("temperature.gpu", "celsius"),
    ("utilization.gpu", "utilization_percent"),
];

/// Those that stay as they are written: a version is no number.
const TEXTS: [&str; 3] = ["name", "driver", "compute_capability"];

/// nvidia-smi of a machine in order answers within two seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// The first GPU of this machine, in nvidia-smi's words.
pub(super) fn gpu(runner: &Runner) -> Result<Value> {
    let names: Vec<&str> = QUERY.iter().map(|(asked, _)| *asked).collect();
    let query = format!("--query-gpu={}", names.join(","));
    let mut smi = Command::new("nvidia-smi");
    smi.args([query.as_str(), "--format=csv,noheader,nounits"]);
    let Ok(ended) = runner.run(&mut smi, Instant::now() + LIMIT) else {
        bail!("no GPU here: `nvidia-smi`, which comes with NVIDIA's driver, cannot be started");
    };
    if let Some(problem) = ended.problem() {
        // It complains on either.
        bail!(
            "no GPU here: `nvidia-smi` failed: {problem} {}",
            ended.stdout.trim()
        );
    }
    let line = ended.stdout.lines().next();
    line.map(described)
        .context("no GPU here: `nvidia-smi` lists none")
}

/// A line of nvidia-smi; numbers become numbers, and what it does not know null.
fn described(line: &str) -> Value {
    let fields = QUERY.iter().zip(line.split(", "));
    let field = |((_, name), text): (&(&str, &str), &str)| {
        let text = text.trim();
        let number = text.parse::<Number>().ok();
        let value = match number {
            _ if text.starts_with('[') => Value::Null,
            Some(number) if !TEXTS.contains(name) => json!(number),
            _ => json!(text),
        };
        ((*name).to_owned(), value)
    };
    Value::Object(fields.map(field).collect())
}

/// The report's name: `gpu-nvidia-h100-80gb-hbm3.json`.
pub(super) fn file_name(gpu: &Value) -> String {
    let name = gpu["name"].as_str().unwrap_or("unknown").to_lowercase();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("gpu-{}.json", words.join("-"))
}

pub(super) fn run(stage: &Stage, deadline: Instant) -> Measured {
    let mut version = Command::new(stage.folder.join("epnas"));
    version.arg("--version");
    let epnas = stage
        .runner
        .run(stage.with_libraries(&mut version), deadline);
    let epnas = epnas.ok().filter(|ended| ended.problem().is_none());
    let result = json!({
        "gpu": stage.gpu,
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "epnas": epnas.map(|ended| ended.stdout.trim().to_owned()),
    });
    let name = stage.gpu["name"].as_str().unwrap_or("unknown");
    Measured::passed(name, result)
}

/// The model of the processor, where Linux says it.
fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_nvidia_smi_becomes_fields() {
        let line = "NVIDIA H100 80GB HBM3, 580.10, 9.0, 81559, 345, 1980, 2619, 700.00, 31, [N/A]";
        let gpu = described(line);
        assert_eq!(gpu["name"], "NVIDIA H100 80GB HBM3");
        assert_eq!(gpu["driver"], "580.10");
        assert_eq!(gpu["memory_mib"], 81559);
        assert_eq!(gpu["power_limit_watts"], 700.0);
        assert_eq!(gpu["utilization_percent"], Value::Null);
        assert_eq!(file_name(&gpu), "gpu-nvidia-h100-80gb-hbm3.json");
    }
}
