//! What the CUDA kernels cost: registers, shared memory and spills, as ptxas reports them for each architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::{command, table};

#[derive(Args)]
pub(super) struct Flags {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Every kernel, as one unit.
const SOURCE: &str = "crates/epnas-ops/src/cuda/kernels/all.cu";
const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];
/// The oldest architecture's, which drivers translate for every later one.
const PTX: &str = "compute_80";

/// What one function uses; memory in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Usage {
    /// None for a function that kernels call: it has its callers' registers.
    registers: Option<u64>,
    shared: u64,
    stack: u64,
    spill_stores: u64,
    spill_loads: u64,
}

/// By function.
type Usages = BTreeMap<String, Usage>;

pub(super) fn run(root: &Path, home: &Path, flags: &Flags) -> Result<()> {
    let out = root.join("target/cuda-kernels");
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let nvcc = || {
        let mut nvcc = Command::new(home.join("bin/nvcc"));
        nvcc.current_dir(root).args(["-std=c++17", "-O3", SOURCE]);
        nvcc
    };
    let mut measured = Vec::new();
    for architecture in ARCHITECTURES {
        let mut compile = nvcc();
        compile
            .arg(format!("-arch={architecture}"))
            .args(["-cubin", "-Xptxas", "-v", "-o"])
            .arg(out.join(format!("all.{architecture}.cubin")));
        let (usages, others) = parse(&command::messages(&mut compile)?);
        eprint!("{others}");
        ensure!(
            usages.values().any(|usage| usage.registers.is_some()),
            "nvcc reported no kernel for {architecture}"
        );
        measured.push((architecture, usages));
    }
    let mut compile = nvcc();
    compile
        .arg(format!("-arch={PTX}"))
        .args(["-ptx", "-o"])
        .arg(out.join(format!("all.{PTX}.ptx")));
    command::run(&mut compile)?;
    match flags.json {
        true => println!("{}", to_json(&measured)),
        false => print!("{}", render(&measured)),
    }
    let spilling = spilling(&measured);
    ensure!(
        spilling.is_empty(),
        "kernels spill registers to memory: {}",
        spilling.join(", ")
    );
    Ok(())
}

/// Reads what `ptxas -v` says of each function; also returns the lines that say something else, such as warnings.
fn parse(text: &str) -> (Usages, String) {
    let mut usages = Usages::new();
    let mut others = String::new();
    // Lines follow the name that they speak of; a kernel's own come before those of what it calls.
    let mut function = String::new();
    for line in text.lines() {
        let info = line.strip_prefix("ptxas info").map_or(line, |info| {
            info.trim_start().trim_start_matches(':').trim_start()
        });
        if let Some(name) = info.strip_prefix("Function properties for ") {
            function = name.trim().to_owned();
            usages.entry(function.clone()).or_default();
        } else if info.starts_with("Used ") {
            let usage = usages.entry(function.clone()).or_default();
            usage.registers = before(info, " registers");
            usage.shared = before(info, " bytes smem").unwrap_or(0);
        } else if let Some(stack) = before(info, " bytes stack frame") {
            let usage = usages.entry(function.clone()).or_default();
            usage.stack = stack;
            usage.spill_stores = before(info, " bytes spill stores").unwrap_or(0);
            usage.spill_loads = before(info, " bytes spill loads").unwrap_or(0);
        } else if !["Compiling entry function ", "Compile time = "]
            .iter()
            .any(|known| info.starts_with(known))
            && before(info, " bytes gmem").is_none()
        {
            others.push_str(line);
            others.push('\n');
        }
    }
    (usages, others)
}

/// The number that stands right before `unit`.
fn before(text: &str, unit: &str) -> Option<u64> {
    let (head, _) = text.split_once(unit)?;
    let digits = head.rfind(|c: char| !c.is_ascii_digit());
    head[digits.map_or(0, |at| at + 1)..].parse().ok()
}

fn spilling(measured: &[(&str, Usages)]) -> Vec<String> {
    let mut names = Vec::new();
    for (architecture, usages) in measured {
        for (name, usage) in usages {
            if usage.spill_stores + usage.spill_loads > 0 {
                names.push(format!("{name} ({architecture})"));
            }
        }
    }
    names
}

fn render(measured: &[(&str, Usages)]) -> String {
    let mut head = vec!["kernel".to_owned()];
    for (architecture, _) in measured {
        head.push(format!("{architecture}: registers"));
        head.extend(["shared", "stack", "spills"].map(str::to_owned));
    }
    let names: BTreeSet<&String> = measured.iter().flat_map(|(_, u)| u.keys()).collect();
    let mut rows = vec![head];
    for name in names {
        let mut row = vec![name.clone()];
        for (_, usages) in measured {
            let cells = usages.get(name).map(|usage| {
                [
                    usage.registers,
                    Some(usage.shared),
                    Some(usage.stack),
                    Some(usage.spill_stores + usage.spill_loads),
                ]
            });
            let cells = cells.unwrap_or_default();
            row.extend(cells.map(|cell| cell.map_or("-".to_owned(), |cell| cell.to_string())));
        }
        rows.push(row);
    }
    table::render(&rows)
}

fn to_json(measured: &[(&str, Usages)]) -> Value {
    let functions = |usages: &Usages| -> Value {
        let row = |(name, usage): (&String, &Usage)| {
            let figures = json!({
                "registers": usage.registers,
                "shared_bytes": usage.shared,
                "stack_bytes": usage.stack,
                "spill_store_bytes": usage.spill_stores,
                "spill_load_bytes": usage.spill_loads,
            });
            (name.clone(), figures)
        };
        Value::Object(usages.iter().map(row).collect())
    };
    let architectures = measured.iter();
    let architectures = architectures.map(|(name, usages)| (name.to_string(), functions(usages)));
    Value::Object(architectures.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nvcc 13.0 printed for two kernels, one of which spills and calls a function.
    const SAMPLE: &str = "\
sample.cu(2): warning #177-D: variable \"unused\" was declared but never referenced
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5tiledIfEvPT_' for 'sm_80'
ptxas info    : Function properties for _Z5tiledIfEvPT_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 1024 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 1.852 ms
ptxas info    : Compiling entry function 'spills' for 'sm_80'
ptxas info    : Function properties for spills
    48 bytes stack frame, 72 bytes spill stores, 76 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 48 bytes cumulative stack size, 364 bytes cmem[0]
ptxas info    : Compile time = 35.514 ms
ptxas info    : Function properties for _Z6helperPKfi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
";

    #[test]
    fn the_report_of_ptxas_is_read() {
        let (usages, others) = parse(SAMPLE);
        assert_eq!(others.lines().count(), 1, "{others}");
        assert!(others.contains("warning #177-D"), "{others}");
        let names: Vec<&String> = usages.keys().collect();
        assert_eq!(names, ["_Z5tiledIfEvPT_", "_Z6helperPKfi", "spills"]);
        let spills = Usage {
            registers: Some(32),
            shared: 0,
            stack: 48,
            spill_stores: 72,
            spill_loads: 76,
        };
        assert_eq!(usages["spills"], spills);
        assert_eq!(usages["_Z5tiledIfEvPT_"].registers, Some(10));
        assert_eq!(usages["_Z5tiledIfEvPT_"].shared, 1024);
        assert_eq!(usages["_Z6helperPKfi"], Usage::default());
    }

    #[test]
    fn messages_that_are_not_figures_pass_through() {
        let notice = "ptxas info    : (C7510) Potential Performance Loss\nptxas warning : x\n";
        assert_eq!(parse(notice), (Usages::new(), notice.to_owned()));
    }

    #[test]
    fn table_and_json_show_the_same() {
        let measured = [
            ("sm_80", parse(SAMPLE).0),
            ("sm_90", Usages::from([("spills".into(), Usage::default())])),
        ];
        let text = render(&measured);
        let cells = |row: usize| -> Vec<&str> {
            let line = text.lines().nth(row).unwrap();
            line.split_whitespace().collect()
        };
        assert_eq!(text.lines().count(), 4);
        let tiled = [
            "_Z5tiledIfEvPT_",
            "10",
            "1024",
            "0",
            "0",
            "-",
            "-",
            "-",
            "-",
        ];
        assert_eq!(cells(1), tiled);
        let spills = ["spills", "32", "0", "48", "148", "-", "0", "0", "0"];
        assert_eq!(cells(3), spills);
        let json = to_json(&measured);
        assert_eq!(json["sm_80"]["spills"]["spill_load_bytes"], 76);
        assert_eq!(json["sm_80"]["_Z5tiledIfEvPT_"]["shared_bytes"], 1024);
        assert_eq!(json["sm_80"]["_Z6helperPKfi"]["registers"], Value::Null);
        assert_eq!(spilling(&measured), ["spills (sm_80)"]);
    }
}
