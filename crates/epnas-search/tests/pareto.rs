//! Pareto fronts.

use epnas_arch::{Arch, ChoiceArch};
use epnas_search::{Record, Status, pareto};
use proptest::prelude::*;

fn record(index: u64, params: Option<u64>, estimate: Option<f64>) -> Record {
    let choices = vec![u16::try_from(index).expect("few")];
    Record {
        index,
        iteration: 0,
        step: 1,
        arch: Arch::Choices(ChoiceArch { choices }),
        estimate,
        status: match estimate {
            Some(_) => Status::Ok,
            None => Status::Failed,
        },
        reason: None,
        seconds: 0.0,
        params,
        macs: None,
        images: 0,
        predicted: None,
        probability: None,
        temperature: None,
        epochs: Vec::new(),
    }
}

fn front(records: &[Record]) -> Vec<&Record> {
    pareto(&records.iter().collect::<Vec<_>>(), |record| record.params)
}

#[test]
fn a_front_has_what_nothing_cheaper_reaches() {
    let records = [
        record(0, Some(30), Some(0.7)),
        record(1, Some(10), Some(0.5)),
        // As dear as the first and worse.
        record(2, Some(30), Some(0.6)),
        // Dearer than the first and no better.
        record(3, Some(40), Some(0.7)),
        // The second again.
        record(4, Some(10), Some(0.5)),
        record(5, Some(50), Some(0.8)),
        record(6, Some(20), None),
        record(7, None, Some(0.9)),
    ];
    let found: Vec<u64> = front(&records).iter().map(|record| record.index).collect();
    assert_eq!(found, [1, 0, 5]);
    let none = pareto(&records.iter().collect::<Vec<_>>(), |record| record.macs);
    assert!(none.is_empty());
}

proptest! {
    #[test]
    fn nothing_on_a_front_is_dominated_and_all_else_is(pairs in prop::collection::vec((0_u64..20, 0_u32..20), 0..40)) {
        let records: Vec<Record> = (0..)
            .zip(&pairs)
            .map(|(index, &(params, estimate))| record(index, Some(params), Some(f64::from(estimate) / 20.0)))
            .collect();
        let front = front(&records);
        let reaches = |a: &Record, b: &Record| a.params <= b.params && a.estimate >= b.estimate;
        let is_same = |a: &Record, b: &Record| a.params == b.params && a.estimate == b.estimate;
        for found in &front {
            prop_assert!(!records.iter().any(|other| reaches(other, found) && !is_same(other, found)));
        }
        for record in &records {
            prop_assert!(front.iter().any(|found| reaches(found, record)));
        }
        for pair in front.windows(2) {
            prop_assert!(pair[0].params < pair[1].params && pair[0].estimate < pair[1].estimate);
        }
    }
}
