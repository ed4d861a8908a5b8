//! What many searches found, put together: of every kind of searches that proptest comes up with.

use std::collections::BTreeSet;

use epnas_arch::{Arch, ChoiceArch, ChoiceSpace, Space};
use epnas_disk::{Lines, make_dir};
use epnas_fleet::{EndedSearch, FleetFolder, Merge, Merged, Replica, read_children, replica_seed};
use epnas_search::{Fronts, History, HistoryPolicy, Record, Status};
use proptest::prelude::*;

const LEVELS: usize = 3;

fn space() -> Space {
    Space::Choices(ChoiceSpace {
        sizes: vec![4; LEVELS],
    })
}

/// A child: choices, estimate in hundredths or a failure, cost.
type Child = (Vec<u16>, Option<u8>, u64);

fn record(index: usize, (choices, estimate, params): &Child) -> Record {
    Record {
        index: index as u64,
        iteration: 0,
        step: choices.len(),
        arch: Arch::Choices(ChoiceArch {
            choices: choices.clone(),
        }),
        estimate: estimate.map(|hundredths| f64::from(hundredths) / 100.0),
        status: if estimate.is_some() {
            Status::Ok
        } else {
            Status::Failed
        },
        reason: None,
        seconds: 1.5,
        params: Some(*params),
        macs: Some(params % 7),
        images: 10,
        predicted: None,
        probability: None,
        temperature: None,
        epochs: Vec::new(),
    }
}

/// Searches of which each has a full-length child with an estimate.
fn searches() -> impl Strategy<Value = Vec<Vec<Child>>> {
    let choices = prop::collection::vec(0..4_u16, 1..=LEVELS);
    let child = (choices, prop::option::weighted(0.9, 0..100_u8), 1..50_u64);
    let full = (
        prop::collection::vec(0..4_u16, LEVELS),
        0..100_u8,
        1..50_u64,
    );
    let search = (full, prop::collection::vec(child, 0..30));
    let search = search.prop_map(|((choices, estimate, params), mut children)| {
        children.push((choices, Some(estimate), params));
        children
    });
    prop::collection::vec(search, 1..6)
}

fn store(folder: &FleetFolder, searches: &[Vec<Child>]) -> Vec<Replica> {
    let replicas = searches.iter().enumerate().map(|(number, children)| {
        let replica = folder.replica(number);
        make_dir(replica.dir()).expect("a folder");
        let (mut lines, _) = Lines::open::<Record>(&replica.history()).expect("a history");
        for (index, child) in children.iter().enumerate() {
            lines.push(&record(index, child)).expect("written");
        }
        let ended = EndedSearch::of(&replica, false).expect("a history");
        ended.write(&folder.ended(number)).expect("written");
        Replica {
            number,
            seed: replica_seed(7, number),
        }
    });
    replicas.collect()
}

fn merge(folder: &FleetFolder, replicas: &[Replica], top: usize, most: usize) -> Merged {
    let merge = Merge {
        folder,
        space: &space(),
        policy: HistoryPolicy::Best,
        replicas: replicas.to_vec(),
        top,
        most,
    };
    merge.run("key".into(), Vec::new()).expect("a merge")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_and_every_searchs_best_comes_first(searches in searches(), top in 1..5_usize, most in 1..30_usize) {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = FleetFolder::new(dir.path());
        let replicas = store(&folder, &searches);
        let merged = merge(&folder, &replicas, top, most);

        // Every child, in order, as it was.
        let children = read_children(&folder.children()).expect("children");
        let expected = searches.iter().enumerate().flat_map(|(number, children)| {
            children.iter().enumerate().map(move |(index, child)| (number, record(index, child)))
        });
        let found: Vec<_> = children.into_iter().map(|child| (child.replica, child.record)).collect();
        prop_assert_eq!(found, expected.collect::<Vec<_>>());

        // Candidates: none twice, as many as asked for at most, each with its estimate, the best of each search first.
        let list = &merged.found.list.candidates;
        let names: BTreeSet<String> = list.iter().map(|candidate| candidate.arch.to_string()).collect();
        prop_assert_eq!(names.len(), list.len());
        prop_assert!(list.len() <= most);
        let histories: Vec<History> = searches.iter().map(|children| {
            let records = children.iter().enumerate().map(|(index, child)| record(index, child));
            History::from_records(space(), HistoryPolicy::Best, records.collect())
        }).collect();
        let bests: BTreeSet<String> = histories.iter().map(|history| history.best(1, LEVELS)[0].arch.to_string()).collect();
        for candidate in list.iter().take(bests.len()) {
            prop_assert!(bests.contains(&candidate.arch.to_string()), "{} is no search's best", candidate.arch);
        }
        for candidate in list {
            prop_assert!(histories.iter().any(|history| history.estimate(&candidate.arch) == Some(candidate.estimate)));
        }

        // Costs are sums, and the front is that of all children.
        let all: Vec<&Record> = histories.iter().flat_map(History::records).collect();
        prop_assert_eq!(merged.found.cost.children, all.len() as u64);
        prop_assert_eq!(merged.found.cost.macs, all.iter().map(|record| record.macs.unwrap_or(0) * record.images).sum::<u64>());
        let distinct = histories.iter().flat_map(History::distinct).filter(|record| record.arch.len() == LEVELS);
        let distinct: Vec<Record> = distinct.cloned().enumerate().map(|(index, record)| Record { index: index as u64, ..record }).collect();
        // Each architecture under its own name, so that those of several searches stay apart as they are.
        let values = |front: &[epnas_search::RankedCandidate]| -> Vec<(Option<u64>, f64)> {
            front.iter().map(|candidate| (candidate.params, candidate.estimate)).collect()
        };
        let whole = epnas_search::pareto(&distinct.iter().collect::<Vec<_>>(), |record| record.params);
        let whole: Vec<(Option<u64>, f64)> = whole.iter().filter_map(|record| Some((record.params, record.estimate?))).collect();
        prop_assert_eq!(values(&merged.found.pareto.params), whole);

        // Again, and with more replicas at a time, it is the same to the byte.
        let bytes = std::fs::read(folder.children()).expect("children");
        prop_assert_eq!(&merge(&folder, &replicas, top, most), &merged);
        prop_assert_eq!(std::fs::read(folder.children()).expect("children"), bytes);
    }

    #[test]
    fn fronts_of_one_are_its_own(search in searches()) {
        let records = search[0].iter().enumerate().map(|(index, child)| record(index, child));
        let history = History::from_records(space(), HistoryPolicy::Best, records.collect());
        let front = Fronts::of(&history);
        prop_assert_eq!(Fronts::joined(std::slice::from_ref(&front)), front);
    }
}

#[test]
fn seeds_of_replicas_stay_as_they_are() {
    // Values that `epnas_arch::seed::split(0, "replica/N") >> 1` gave when fleets were introduced: part of what makes a fleet
    // reproducible.
    assert_eq!(replica_seed(0, 0), 9_004_445_308_223_158_392);
    assert_eq!(replica_seed(0, 1), 5_319_111_708_453_490_103);
    let all: BTreeSet<u64> = (0..100_000).map(|number| replica_seed(3, number)).collect();
    assert_eq!(all.len(), 100_000);
    assert!(all.iter().all(|seed| i64::try_from(*seed).is_ok()));
}

#[test]
fn a_changed_history_is_refused_and_the_merge_before_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = FleetFolder::new(dir.path());
    let child = |choice, estimate| (vec![choice; LEVELS], Some(estimate), 5);
    let replicas = store(&folder, &[vec![child(0, 50)], vec![child(1, 60)]]);
    merge(&folder, &replicas, 1, 9);
    let before = std::fs::read(folder.children()).expect("children");
    let history = folder.replica(1).history();
    let text = std::fs::read_to_string(&history).expect("a history");
    std::fs::write(&history, text.replace("0.6", "0.9")).expect("written");
    let space = space();
    let again = Merge {
        folder: &folder,
        space: &space,
        policy: HistoryPolicy::Best,
        replicas,
        top: 1,
        most: 9,
    };
    let error = again
        .run("key".into(), Vec::new())
        .expect_err("a changed line")
        .to_string();
    assert!(
        error.contains("replica-0001") && error.contains("line 1") && error.contains("CRC-32"),
        "{error}"
    );
    assert_eq!(std::fs::read(folder.children()).expect("children"), before);
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().ends_with(".tmp")),
        "{left:?}"
    );
}
