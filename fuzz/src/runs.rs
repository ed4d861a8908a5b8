//! What searches read: histories, checkpoints and tables of known accuracies.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use epnas_arch::{
    Arch, Candidates, ChoiceArch, ChoiceSpace, Cost, Evaluator, FitReport, MacroSpace, Space,
    Surrogate, SurrogateError,
};
use epnas_disk::seal;
use epnas_search::driver::elapsed_seconds;
use epnas_search::{
    Budget, Diagnostics, Driver, Enas, EnasConfig, Evolution, EvolutionConfig, History,
    HistoryPolicy, HistoryTail, LocalSearch, News, Progressive, Record, Row, SearchConfig,
    SearchError, Silent, Strategy, Table, TableEvaluator, read_history,
};
use serde_json::json;

use super::shown;

/// `history.jsonl`: as it is, which a checksum can hardly match, and with a checksum to every line that has an end.
pub fn history(data: &[u8]) -> bool {
    history_of(data) | history_of(&sealed(data))
}

fn sealed(data: &[u8]) -> Vec<u8> {
    let lines = data.split_inclusive(|&byte| byte == b'\n');
    let line = |line: &[u8]| match line.strip_suffix(b"\n").map(str::from_utf8) {
        Some(Ok(text)) => (seal::object_line(text).content + "\n").into_bytes(),
        _ => line.to_vec(),
    };
    lines.flat_map(line).collect()
}

fn history_of(data: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    fs::write(&path, data).expect("a file");
    let followed = HistoryTail::new(&path).poll();
    let records = match read_history(&path) {
        Ok(records) => records,
        Err(error) => {
            shown(&error);
            shown(&followed.expect_err("who follows the file sees the same"));
            return false;
        }
    };
    let expected = match records.is_empty() {
        true => News::None,
        false => News::More(records.clone()),
    };
    assert_eq!(followed.expect("the same"), expected);
    fs::write(&path, lines(&records)).expect("a file");
    assert_eq!(read_history(&path).expect("its own lines"), records);
    let some = !records.is_empty();
    for policy in [HistoryPolicy::Latest, HistoryPolicy::Best] {
        let space = Space::Macro(MacroSpace::default());
        let history = History::from_records(space, policy, records.clone());
        assert!(Budget::spent_by(&history).is_spent(&history));
        let distinct = history.distinct().len();
        assert!(distinct <= records.len());
        if let Some(deepest) = history.deepest() {
            assert!((1..=distinct).contains(&history.best(distinct, deepest).len()));
        }
        let predicted = records
            .iter()
            .any(|r| r.predicted.is_some() && r.estimate.is_some());
        assert_eq!(Diagnostics::of(&history).is_some(), predicted);
    }
    some
}

/// Records as a search writes them.
fn lines(records: &[Record]) -> String {
    let line = |record| seal::json_line(record).expect("JSON").content + "\n";
    records.iter().map(line).collect()
}

/// `state.json`, less its checksum, of a search that is taken up again, after a byte that says which: what the state says has to be true of
/// the search, or be refused.
pub fn checkpoint(data: &[u8]) -> bool {
    let Some((&kind, state)) = data.split_first() else {
        return false;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("checkpoint");
    fs::create_dir(&inside).expect("a folder");
    let state = match str::from_utf8(state) {
        Ok(text) => seal::object_line(text).content.into_bytes(),
        Err(_) => state.to_vec(),
    };
    fs::write(inside.join("state.json"), state).expect("a file");
    fs::write(inside.join("weights-2.bin"), []).expect("a file");
    fs::write(inside.join("surrogate-1.bin"), []).expect("a file");
    let known = [record(0, &[0, 1, 0], 0.5), record(1, &[1, 1, 1], 0.75)];
    fs::write(folder.path().join("history.jsonl"), lines(&known)).expect("a file");
    let peeked = elapsed_seconds(folder.path());
    if let Err(error) = &peeked {
        shown(error);
    }
    let space = small().space().clone();
    let mut strategy: Box<dyn Strategy> = match kind % 4 {
        0 => Box::new(LocalSearch::new(space, 1)),
        1 => Box::new(Evolution::new(space, EvolutionConfig::default(), 1)),
        2 => Box::new(Progressive::new(space, SearchConfig::default(), Even, 1)),
        _ => Box::new(Enas::new(space, EnasConfig::default(), 1)),
    };
    let before = match proceed(folder.path(), strategy.as_mut(), 0) {
        Ok(history) => history,
        Err(error) => {
            shown(&error);
            return false;
        }
    };
    assert!(peeked.is_ok(), "the time of what can be taken up is known");
    assert!(known.starts_with(&before));
    // From here on it is a search as any other; two more children tell.
    match proceed(folder.path(), strategy.as_mut(), before.len() + 2) {
        Ok(after) => assert_eq!(after[..before.len()], before[..]),
        Err(error) => shown(&error),
    }
    true
}

/// Takes the search in a folder up and goes on until it has some children.
fn proceed(
    folder: &Path,
    strategy: &mut dyn Strategy,
    children: usize,
) -> Result<Vec<Record>, SearchError> {
    let table = small();
    let driver = Driver {
        folder: Some(folder.to_owned()),
        space: table.space().clone(),
        policy: HistoryPolicy::Latest,
        seed: 1,
        settings: String::new(),
        budget: Budget::children(children as u64),
        stop: None,
    };
    let mut evaluator = TableEvaluator::new(table, 0);
    let outcome = driver.run(&mut evaluator, strategy, &mut Silent)?;
    Ok(outcome.history.records().to_vec())
}

/// A surrogate to which all are the same, whatever it is given.
struct Even;

impl Surrogate for Even {
    fn predict(
        &self,
        candidates: &Candidates,
        range: Range<u64>,
    ) -> Result<Vec<f32>, SurrogateError> {
        assert!(range.end <= candidates.len());
        Ok(range.map(|_| 0.5).collect())
    }

    fn fit(&mut self, records: &[(Arch, f64)], _: u64) -> Result<FitReport, SurrogateError> {
        Ok(FitReport {
            loss: 0.0,
            epochs: 1,
            records: records.len(),
            saturation: 0.0,
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>, SurrogateError> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), SurrogateError> {
        Ok(())
    }
}

/// Three levels of two choices.
fn small() -> Arc<Table> {
    let row = |index: u16| {
        let choices = vec![index / 4, index / 2 % 2, index % 2];
        let accuracies = vec![f64::from(index) / 8.0];
        let row = Row {
            accuracies,
            cost: None,
        };
        (Arch::Choices(ChoiceArch { choices }), row)
    };
    let space = Space::Choices(ChoiceSpace {
        sizes: vec![2, 2, 2],
    });
    Arc::new(Table::new("small", space, None, (0..8).map(row)).expect("a table"))
}

fn record(index: u64, choices: &[u16], estimate: f64) -> Record {
    let arch = Arch::Choices(ChoiceArch {
        choices: choices.to_vec(),
    });
    let record = json!({
        "index": index, "iteration": 0, "step": 3, "arch": arch.to_string(), "estimate": estimate, "status": "ok",
        "reason": null, "seconds": 0.0, "params": 0, "macs": 0, "images": 0, "predicted": null, "probability": null,
        "temperature": null, "epochs": [],
    });
    serde_json::from_value(record).expect("a record")
}

/// A table of known accuracies: JSON of one's own, NAS-Bench-Macro's, or CSV.
pub fn table(data: &[u8]) -> bool {
    let read = ["t.json", "t.csv"].map(|name| match Table::parse(Path::new(name), data) {
        Ok(table) => {
            agrees(table);
            true
        }
        Err(error) => {
            shown(&error);
            false
        }
    });
    read.contains(&true)
}

/// Every row is found, and the table's JSON gives the same rows.
fn agrees(table: Table) {
    let table = Arc::new(table);
    let rows: BTreeMap<&Arch, &Row> = table.rows().collect();
    assert_eq!(rows.len(), table.len());
    let evaluator = TableEvaluator::new(Arc::clone(&table), 0);
    let mut best = f64::MIN;
    for (&arch, &row) in &rows {
        table.space().check(arch).expect("a row of the space");
        assert_eq!(table.get(arch), Some(row));
        assert_eq!(evaluator.cost(arch), row.cost);
        assert!(row.accuracies.iter().all(|a| (0.0..=1.0).contains(a)));
        let prefix = arch.prefix(arch.len() - 1);
        if table.get(&prefix).is_some() && !rows.contains_key(&prefix) {
            assert!(table.knows_prefixes(), "{prefix} is not a row");
        }
        if arch.len() == table.space().levels() {
            best = best.max(row.mean());
        }
    }
    assert_eq!(table.best(), best);
    let entry = |(arch, row): (&&Arch, &&Row)| {
        let mut entry = json!({"arch": arch.to_string(), "accuracy": row.accuracies});
        if let Some(Cost { params, macs }) = row.cost {
            entry["params"] = params.into();
            entry["macs"] = macs.into();
        }
        entry
    };
    let mut document = json!({"rows": rows.iter().map(entry).collect::<Vec<_>>()});
    if !matches!(table.space(), Space::Choices(_)) {
        document["space"] = serde_json::to_value(table.space()).expect("JSON");
    }
    let bytes = serde_json::to_vec(&document).expect("JSON");
    let again = Table::parse(Path::new("t.json"), &bytes).expect("its own JSON");
    assert_eq!(again.rows().collect::<BTreeMap<_, _>>(), rows);
}
