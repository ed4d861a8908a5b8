//! Properties: whatever is cut off or mistyped, nothing is misread and nothing panics.

mod fakes;

use epnas_arch::{MacroSpace, Space};
use epnas_search::settings;
use epnas_search::{
    Budget, Driver, HistoryPolicy, Progressive, Record, SearchConfig, Silent, read_history,
};
use fakes::{Landscape, Linear};
use proptest::prelude::*;

fn history() -> (String, Vec<Record>) {
    let folder = fakes::folder();
    let space = Space::Macro(MacroSpace {
        layers: 2,
        ..MacroSpace::default()
    });
    let config = SearchConfig {
        iterations: 1,
        children_per_step: 4,
        ..SearchConfig::default()
    };
    let driver = Driver {
        folder: Some(folder.path().to_owned()),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 1,
        settings: String::new(),
        budget: Budget::default(),
        stop: None,
    };
    let mut strategy = Progressive::new(space.clone(), config, Linear::new(&space), 1);
    let outcome = driver
        .run(&mut Landscape::new(&space), &mut strategy, &mut Silent)
        .expect("a search");
    let text = std::fs::read_to_string(folder.path().join("history.jsonl")).expect("text");
    (text, outcome.history.records().to_vec())
}

#[test]
fn a_history_cut_anywhere_holds_exactly_its_complete_lines() {
    let (text, records) = history();
    let folder = fakes::folder();
    let path = folder.path().join("history.jsonl");
    for cut in 0..=text.len() {
        std::fs::write(&path, &text[..cut]).expect("written");
        let complete = text[..cut].matches('\n').count();
        assert_eq!(
            read_history(&path).expect("readable"),
            records[..complete],
            "cut at byte {cut}"
        );
    }
}

proptest! {
    #[test]
    fn settings_never_panic(text in "(\\[?[a-z_.]{0,12}\\]?( = |\n)?[-0-9a-z\"\\[\\]{}.]{0,8}\n?){0,6}") {
        let _ = settings::parse::<SearchConfig>(&text, &[]);
    }

    #[test]
    fn errors_are_one_line_and_name_the_key(key in "[a-z]{1,12}(\\.[a-z]{1,8})?", value in "[-0-9a-z. \"]{0,8}") {
        if let Err(error) = settings::set(&SearchConfig::default(), &key, &value) {
            let text = error.to_string();
            prop_assert!(!text.contains('\n'), "{text}");
            let first = key.split('.').next().unwrap_or_default();
            prop_assert!(text.contains(first), "{text}");
        }
    }

    #[test]
    fn settings_round_trip(iterations in 1_usize..1000, k in 1_usize..100_000, initial in 1e-6_f64..1e6) {
        let mut config = SearchConfig { iterations, children_per_step: k, ..SearchConfig::default() };
        config.temperature.initial = initial;
        let text = settings::to_table(&config).expect("a table").to_string();
        prop_assert_eq!(settings::parse::<SearchConfig>(&text, &[]).expect("valid"), config);
    }
}
