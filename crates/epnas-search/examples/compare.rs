//! Strategies side by side on a table of known accuracies, with the search settings of a TOML file.
//!
//! `cargo run --example compare -- TABLE TRIALS STRATEGY [KEY=VALUE ..]`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use epnas_search::{Config, Table, compare_on_table};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let table = arguments.next().ok_or("expected a table")?;
    let trials = arguments
        .next()
        .ok_or("expected a number of trials")?
        .parse()?;
    let strategy = arguments.next().ok_or("expected a strategy")?.parse()?;
    let mut config = Config::default();
    for assignment in arguments {
        let (key, value) = assignment.split_once('=').ok_or("expected KEY=VALUE")?;
        config.set(key, value)?;
    }
    let table = Arc::new(Table::read(Path::new(&table))?);
    let trials = BTreeMap::from([(strategy, trials)]);
    let result = compare_on_table(&config, &table, trials, vec![50, 100, 200, 300], &|_| ())?;
    for (name, strategy) in result.strategies {
        print!("{name} {:.2} s/trial", strategy.seconds_per_trial);
        for (children, regret) in strategy.regret {
            print!(
                "  {children}: {:.3} +- {:.3}",
                regret.mean,
                regret.std / (strategy.trials as f64).sqrt()
            );
        }
        println!();
    }
    Ok(())
}
