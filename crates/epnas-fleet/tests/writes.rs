//! How often a search touches the disk for a child: the number that a shared file system has to bear. It must not depend on how
//! many children, or replicas, there are.
#![cfg(debug_assertions)]

use std::path::Path;
use std::sync::Arc;

use epnas_arch::{Arch, ChoiceArch, ChoiceSpace, Space};
use epnas_disk::fault::{die_at, points_passed};
use epnas_search::{
    Admission, Budget, Driver, HistoryPolicy, RandomSearch, Row, Silent, Table, TableEvaluator,
};

/// Steps of writes per child: an appended line, a file of weights, the checkpoint's two renames and what is removed, each with
/// the points at which it can be made to fail.
const MOST: usize = 24;

fn table() -> Arc<Table> {
    let space = Space::Choices(ChoiceSpace { sizes: vec![6; 4] });
    let rows = (0..6_u16.pow(4)).map(|number| {
        let choices = (0..4).map(|level| number / 6_u16.pow(level) % 6).collect();
        let row = Row {
            accuracies: vec![f64::from(number) / 1296.0],
            cost: None,
        };
        (Arch::Choices(ChoiceArch { choices }), row)
    });
    Arc::new(Table::new("all", space, None, rows).expect("a table"))
}

/// Steps of writes of a search with so many children.
fn writes(dir: &Path, children: u64) -> usize {
    let table = table();
    let mut strategy = RandomSearch::new(table.space().clone(), 1).limited(Admission::default());
    let mut evaluator = TableEvaluator::new(Arc::clone(&table), 1);
    let driver = Driver {
        folder: Some(dir.to_owned()),
        space: table.space().clone(),
        policy: HistoryPolicy::Best,
        seed: 1,
        settings: String::new(),
        budget: Budget::children(children),
        stop: None,
    };
    die_at(None);
    driver
        .run(&mut evaluator, &mut strategy, &mut Silent)
        .expect("a search");
    points_passed()
}

#[test]
fn a_child_costs_as_many_writes_at_the_end_as_at_the_beginning() {
    let dir = tempfile::tempdir().expect("a folder");
    let of = |children: u64| writes(&dir.path().join(children.to_string()), children);
    let (first, second, third) = (of(20), of(40), of(60));
    assert_eq!(second - first, third - second, "{first}, {second}, {third}");
    let each = (second - first) / 20;
    assert!(
        (1..=MOST).contains(&each),
        "{each} steps of writes for each child"
    );
}
