//! What to change, where Slurm refuses what the configuration asks for.

use epnas_search::SlurmConfig;

use super::client::call;

/// Slurm's message in other words: which setting it is about, if any.
pub(super) fn advice(message: &str, slurm: &SlurmConfig) -> Option<String> {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let partition = of("partition", slurm.partition.as_ref());
    let memory = of("memory", slurm.memory.as_ref());
    let time = of("time", slurm.time.as_ref());
    let cpus = of("cpus", slurm.cpus.as_ref());
    let gpus = of("gpus", Some(&slurm.gpus));
    if says(&["invalid partition"]) {
        return Some(format!("{partition}{}", partitions()));
    }
    if says(&["job array", "array specification"]) {
        let most = largest_array().map_or_else(String::new, |most| {
            format!(
                " of {most} or less (the cluster's MaxArraySize is {})",
                most + 1
            )
        });
        return Some(format!(
            "set fleet.slurm.jobs to a number{most}, and each job does its share of the pieces"
        ));
    }
    if says(&["submit limit", "submitjobs", "maxjobcount", "maxsubmit"]) {
        return Some(
            "set fleet.slurm.jobs to fewer jobs, and each does its share of the pieces".into(),
        );
    }
    if says(&["gres", "gpu"]) {
        return Some(format!(
            "{gpus}; `sinfo --format=\"%P %G\"` lists what nodes have"
        ));
    }
    if says(&["memory", "--mem"]) {
        return Some(memory);
    }
    if says(&["time limit", "time specification", "--time"]) {
        return Some(time);
    }
    if says(&["cpu count", "more processors", "cpus-per-task"]) {
        return Some(cpus);
    }
    if says(&["partition configuration", "node configuration"]) {
        return Some(format!(
            "no node of the partition has what is asked for: {cpus}, {memory}, {gpus}, {time}"
        ));
    }
    if says(&[
        "account",
        "qos",
        "option",
        "feature",
        "reservation",
        "license",
    ]) {
        return Some(of("options", Some(&slurm.options.join(" "))));
    }
    None
}

fn of(key: &str, value: Option<&impl ToString>) -> String {
    match value {
        Some(value) => format!("fleet.slurm.{key} is {}", value.to_string()),
        None => format!("fleet.slurm.{key} is not set"),
    }
}

/// Those that there are.
fn partitions() -> String {
    let known = call("sinfo", &["--noheader".into(), "--format=%R".into()]).unwrap_or_default();
    let known: Vec<&str> = known.split_whitespace().collect();
    match known.is_empty() {
        true => String::new(),
        false => format!(", the cluster has {}", known.join(", ")),
    }
}

/// The largest number that a job of an array may have, as the cluster says.
fn largest_array() -> Option<u64> {
    let config = call("scontrol", &["show".into(), "config".into()]).ok()?;
    let line = config
        .lines()
        .find(|line| line.starts_with("MaxArraySize"))?;
    let size: u64 = line.split('=').nth(1)?.trim().parse().ok()?;
    size.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of Slurm 22.05.
    #[test]
    fn messages_name_the_setting_that_they_are_about() {
        let slurm = SlurmConfig {
            memory: Some("900G".into()),
            time: Some("x".into()),
            cpus: Some(64),
            gpus: 1,
            options: vec!["--qos=none".into()],
            ..SlurmConfig::default()
        };
        for (message, setting) in [
            (
                "Memory specification can not be satisfied; Batch job submission failed: Requested node configuration is not available",
                "fleet.slurm.memory is 900G",
            ),
            ("Invalid --mem specification", "fleet.slurm.memory is 900G"),
            ("Invalid --time specification", "fleet.slurm.time is x"),
            (
                "Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
                "fleet.slurm.time is x",
            ),
            (
                "Invalid generic resource (gres) specification",
                "fleet.slurm.gpus is 1",
            ),
            (
                "Batch job submission failed: CPU count per node can not be satisfied",
                "fleet.slurm.cpus is 64",
            ),
            (
                "35_0-3: Requested partition configuration not available now",
                "no node of the partition has what is asked for: fleet.slurm.cpus is 64",
            ),
            (
                "Batch job submission failed: Invalid qos specification",
                "fleet.slurm.options is --qos=none",
            ),
            (
                "unrecognized option '--bogus'; Try \"sbatch --help\" for more information",
                "fleet.slurm.options is --qos=none",
            ),
            (
                "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
                "set fleet.slurm.jobs to fewer jobs",
            ),
        ] {
            let advice = advice(message, &slurm).unwrap_or_default();
            assert!(advice.starts_with(setting), "{message}: {advice}");
        }
        assert_eq!(
            advice(
                "Unable to contact slurm controller (connect failure)",
                &slurm
            ),
            None
        );
    }
}
