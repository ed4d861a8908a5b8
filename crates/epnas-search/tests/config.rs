//! The configuration document: errors that help, presets, round trips and the reference of every key.
#![cfg(feature = "supernet")]

use epnas_arch::Space;
use epnas_search::{Config, FinalPreset, HistoryPolicy, Preset, SettingsError};
use epnas_supernet::{MomentumKind, Refinements, Schedule};

fn message(text: &str) -> String {
    Config::from_toml(text).expect_err(text).to_string()
}

#[test]
fn an_empty_document_is_the_default() {
    assert_eq!(Config::from_toml("").expect("defaults"), Config::default());
}

#[test]
fn unknown_keys_are_named_with_line_and_suggestion() {
    assert_eq!(
        message("seed = 1\n\n[search]\niteratons = 2\n"),
        "unknown key `search.iteratons` (line 4); did you mean `search.iterations`?"
    );
    assert_eq!(
        message("[serch]\niterations = 2\n"),
        "unknown key `serch` (line 1); did you mean `search`?"
    );
    assert_eq!(
        message("[search.temperature]\nintial = 2.0\n"),
        "unknown key `search.temperature.intial` (line 2); did you mean `search.temperature.initial`?"
    );
    // The right name in the wrong section.
    assert_eq!(
        message("[search]\nlayers = 12\n"),
        "unknown key `search.layers` (line 2); did you mean `space.layers`?"
    );
    assert_eq!(
        message("[search]\nxyzzy = 1\n"),
        "unknown key `search.xyzzy` (line 2)"
    );
}

#[test]
fn keys_of_tagged_and_flattened_sections_are_checked() {
    assert_eq!(
        message("[space]\nkind = \"micro\"\nblock = 5\n"),
        "unknown key `space.block` (line 3); did you mean `space.blocks`?"
    );
    // `layers` is of the other kind.
    assert!(
        message("[space]\nkind = \"micro\"\nlayers = 5\n")
            .starts_with("unknown key `space.layers` (line 3)")
    );
    assert_eq!(
        message("[training]\nlearning_rat = 0.1\n"),
        "unknown key `training.learning_rat` (line 2); did you mean `training.learning_rate`?"
    );
    assert_eq!(
        message("[training.augment]\npadd = 2\n"),
        "unknown key `training.augment.padd` (line 2); did you mean `training.augment.pad`?"
    );
    assert_eq!(
        message("[train]\nchanels = 20\n"),
        "unknown key `train.chanels` (line 2); did you mean `train.channels`?"
    );
}

#[test]
fn wrong_types_are_named_with_line() {
    assert_eq!(
        message("[search]\n# three\niterations = \"three\"\n"),
        "`search.iterations` (line 3) is the string \"three\", expected a whole number"
    );
    assert_eq!(
        message("[search]\niterations = 2.5\n"),
        "`search.iterations` (line 2) is 2.5, expected a whole number"
    );
    assert_eq!(
        message("search = 3\n"),
        "`search` (line 1) is 3, expected a table"
    );
    assert_eq!(
        message("[training]\nlearning_rate = true\n"),
        "`training.learning_rate` (line 2) is true, expected a number"
    );
    assert_eq!(
        message("seed = -1\n"),
        "`seed` (line 1) is -1, expected a whole number from 0 to 2^63-1"
    );
    assert_eq!(
        message("[search]\nselection = \"topk\"\n"),
        "`search.selection` (line 2) is \"topk\", expected one of \"sample\", \"top_k\", \"uniform\"; \
         did you mean `top_k`?"
    );
    assert_eq!(
        message("[space]\nkind = \"makro\"\n"),
        "`space.kind` (line 2) is \"makro\", expected one of \"macro\", \"micro\"; did you mean `macro`?"
    );
}

#[test]
fn a_section_without_its_kind_has_the_default_kind() {
    let layers = |config: &Config| match &config.space {
        Space::Macro(space) => space.layers,
        _ => 0,
    };
    let config = Config::from_toml("[space]\nlayers = 4\n").expect("a macro space");
    assert_eq!(layers(&config), 4);
    let sets = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let config =
        Config::from_toml_with("", &sets(&[("space.layers", "3")])).expect("a layer count");
    assert_eq!(layers(&config), 3);
    let named = sets(&[("space.kind", "macro")]);
    let config = Config::from_toml_with("[space]\nlayers = 4\n", &named).expect("the same kind");
    assert_eq!(layers(&config), 4, "the kind did not change");
    assert_eq!(
        message("[space]\nblocks = 4\n"),
        "unknown key `space.blocks` (line 2); did you mean `space.kind = \"micro\"`?"
    );
    // What a section means is decided first, whatever the order.
    let late = sets(&[
        ("space.blocks", "2"),
        ("space.kind", "micro"),
        ("training.epochs", "9"),
        ("training.preset", "mfas"),
    ]);
    let config = Config::from_toml_with("", &late).expect("both kinds");
    assert!(matches!(&config.space, Space::Micro(space) if space.blocks == 2));
    assert_eq!(
        (config.training.preset, config.training.recipe.epochs),
        (Preset::Mfas, 9)
    );
}

#[test]
fn abbreviations_are_understood() {
    for (text, suggestion) in [
        ("[train]\nlr = 0.1\n", "train.learning_rate"),
        ("[training]\ndecay = 0.1\n", "training.weight_decay"),
        ("[training]\nbatch_size = 1\n", "training.batch"),
        ("[space]\ncells = 2\n", "network.cells_per_stage"),
    ] {
        let error = message(text);
        assert!(
            error.ends_with(&format!("; did you mean `{suggestion}`?")),
            "{error}"
        );
    }
}

#[test]
fn errors_are_one_line() {
    let mut config = Config::default();
    for (key, value) in [
        ("seed", "1\n2"),
        ("search.selection", "top\nk"),
        ("search.budget", "so\non"),
        ("search.it\ner", "2"),
    ] {
        let error = config.set(key, value).expect_err(key).to_string();
        assert!(!error.contains('\n') && error.contains("\\n"), "{error}");
    }
}

#[test]
fn whole_numbers_end_where_those_of_toml_do() {
    let mut config = Config::default();
    config.set("seed", "9223372036854775807").expect("2^63-1");
    assert_eq!(config.seed, 9_223_372_036_854_775_807);
    for seed in [
        "9223372036854775808",
        "18446744073709551615",
        "99999999999999999999999",
    ] {
        let expected = format!("`seed` is {seed}, expected a whole number from 0 to 2^63-1");
        let error = config.set("seed", seed).expect_err(seed).to_string();
        assert_eq!(error, expected);
        let error = message(&format!("seed = {seed}\n"));
        assert_eq!(error, expected.replace("`seed` is", "`seed` (line 1) is"));
    }
}

#[test]
fn what_the_selection_and_the_final_training_need_is_checked_first() {
    for (text, expected) in [
        (
            "[select]\nchannels = 5000\n",
            "`select.channels` is 5000, expected a whole number from 1 to 4096",
        ),
        (
            "[select]\ncells_per_stage = 33\n",
            "`select.cells_per_stage` is 33, expected a whole number from 1 to 32",
        ),
        (
            "[train]\nchannels = 4097\n",
            "`train.channels` is 4097, expected 1 to 4096",
        ),
        (
            "[train]\ncells_per_stage = 0\n",
            "`train.cells_per_stage` is 0, expected 1 to 32",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
}

#[test]
fn syntax_errors_carry_the_line() {
    let text = message("seed = 1\n[search\niterations = 2\n");
    assert!(text.starts_with("not valid TOML (line 2): "), "{text}");
    assert!(!text.contains('\n'));
}

#[test]
fn values_out_of_range_are_named() {
    for (text, expected) in [
        (
            "[search]\niterations = 0\n",
            "`search.iterations` is 0, expected a whole number from 1 to 1000",
        ),
        (
            "[search]\nbudget = \"soon\"\n",
            "`search.budget` is \"soon\", expected a duration above zero such as \"90s\", \"45m\" or \"2h 30m\"",
        ),
        (
            "[search.temperature]\nfinal = 0.0\n",
            "`search.temperature.final` is 0, expected a finite number of at least 1e-6",
        ),
        (
            "[select]\nlearning_rate = 0.0\n",
            "`select.learning_rate` is 0, expected a finite number above 0",
        ),
        (
            "[training]\nbatch = 0\n",
            "`training.batch` is 0, expected at least 1",
        ),
        (
            "[train]\nmomentum = 1.0\n",
            "`train.momentum` is 1, expected from 0 to below 1",
        ),
        (
            "[data]\nimage_size = 2\n",
            "`data.image_size` is 2, expected 4 to 1024 pixels",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
    for (text, expected) in [
        (
            "[space]\nkind = \"macro\"\nlayers = 99\n",
            "`space.layers` is 99, expected 1 to 48",
        ),
        (
            "[network]\nchannels = 0\n",
            "`network.channels` is 0, expected 1 to 4096",
        ),
        (
            "[surrogate]\nhidden = 0\n",
            "`surrogate.hidden` is 0, expected 1 to 4096",
        ),
    ] {
        let error = Config::from_toml(text).expect_err(text);
        assert!(matches!(error, SettingsError::Value { .. }), "{error}");
        assert_eq!(error.to_string(), expected);
    }
    // A negative number is told the range that is documented.
    for (text, expected) in [
        (
            "[search]\niterations = -1\n",
            "`search.iterations` (line 2) is -1, expected a whole number from 1 to 1000",
        ),
        (
            "[network]\nchannels = -1\n",
            "`network.channels` (line 2) is -1, expected a whole number from 1 to 4096",
        ),
        (
            "[training]\nepochs = -1\n",
            "`training.epochs` (line 2) is -1, expected a whole number of at least 1",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
}

#[test]
fn presets_are_a_base_that_keys_override() {
    let config = Config::from_toml("[training]\npreset = \"mfas\"\nepochs = 5\n").expect("valid");
    assert_eq!(config.training.preset, Preset::Mfas);
    assert_eq!(
        (
            config.training.recipe.epochs,
            config.training.recipe.learning_rate
        ),
        (5, 1e-3)
    );
    let nested =
        Config::from_toml("[train]\nepochs = 7\nchannels = 20\n[train.augment]\ncutout = 3\n")
            .expect("valid");
    let fast = FinalPreset::Fast.recipe();
    assert_eq!(
        (nested.train.recipe.epochs, nested.train.recipe.batch),
        (7, fast.batch)
    );
    assert_eq!(nested.train.network.channels, Some(20));
    assert_eq!(nested.train.recipe.augment.cutout, 3);
    assert_eq!(nested.train.recipe.augment.pad, fast.augment.pad);
}

#[test]
fn final_presets_fit_the_space() {
    let read = |text: &str| Config::from_toml(text).expect("valid");
    // Zoph et al., 2018, appendix A: 600 epochs, batch 32, cosine from 0.025, auxiliary head 0.4, drop-path to 0.4.
    let paper = "[train]\npreset = \"paper\"\n";
    let cells = read(&format!("[space]\nkind = \"micro\"\n{paper}"));
    let recipe = &cells.train.recipe;
    assert_eq!(
        (recipe.epochs, recipe.batch, recipe.learning_rate),
        (600, 32, 0.025)
    );
    let expected = Refinements {
        auxiliary_head: 0.4,
        drop_path: 0.4,
        ..Refinements::default()
    };
    assert_eq!(cells.refinements(), expected);
    assert_eq!(read(paper).refinements(), Refinements::default(), "macro");
    let own = read(&format!(
        "[space]\nkind = \"micro\"\n{paper}drop_path = 0.1\nauxiliary_head = 0\nema = 0.9\nmixup = 0.2\n"
    ));
    let expected = Refinements {
        auxiliary_head: 0.0,
        drop_path: 0.1,
        ema: 0.9,
        mixup: 0.2,
    };
    assert_eq!(own.refinements(), expected);
    assert_eq!(read("").refinements().ema, 0.999, "fast");
    let fast = FinalPreset::Fast.recipe();
    assert_eq!(
        (fast.schedule, fast.momentum_kind),
        (Schedule::Cosine, MomentumKind::Nesterov)
    );
    assert!(fast.warmup_epochs > 0 && fast.label_smoothing > 0.0 && fast.augment.cutout > 0);

    let refused = |text: &str| Config::from_toml(text).expect_err(text).to_string();
    for (key, value) in [
        ("ema", "1.0"),
        ("drop_path", "-0.1"),
        ("mixup", "inf"),
        ("auxiliary_head", "-1"),
        ("seeds", "0"),
        ("preset", "\"mfas\""),
    ] {
        let message = refused(&format!("[train]\n{key} = {value}\n"));
        assert!(message.contains(&format!("train.{key}")), "{message}");
    }
    let both = refused("[train]\nbn_eval = \"recalibrated\"\n");
    assert!(both.contains("train.ema"), "{both}");
}

#[test]
fn assignments() {
    let mut config = Config::default();
    for (key, value) in [
        ("search.iterations", "2"),
        ("search.history", "latest"),
        ("search.temperature.final", "0.2"),
        ("search.budget", "2h"),
        ("data.train_limit", "500"),
        ("training.augment.pad", "2"),
        ("data.source", "\"cifar10\""),
        ("data.dir", "2024"),
    ] {
        config
            .set(key, value)
            .unwrap_or_else(|error| panic!("{key}={value}: {error}"));
    }
    assert_eq!(config.search.iterations, 2);
    assert_eq!(config.search.history, HistoryPolicy::Latest);
    assert_eq!(config.search.temperature.final_, 0.2);
    assert_eq!(config.search.budget.as_deref(), Some("2h"));
    assert_eq!(config.data.train_limit, Some(500));
    // A number where a string belongs is taken as its text.
    assert_eq!(
        config.data.dir.as_deref(),
        Some(std::path::Path::new("2024"))
    );
    config
        .set("space.kind", "micro")
        .expect("another kind starts its section afresh");
    assert!(matches!(config.space, Space::Micro(_)));
    config.set("training.preset", "nasnet").expect("a preset");
    assert_eq!(config.training.recipe, Preset::Nasnet.recipe());

    let before = config.clone();
    for (key, value, expected) in [
        (
            "search.iteration",
            "2",
            "unknown key `search.iteration`; did you mean `search.iterations`?",
        ),
        (
            "search.iterations",
            "many",
            "`search.iterations` is the string \"many\", expected a whole number",
        ),
        (
            "search.iterations",
            "0",
            "`search.iterations` is 0, expected a whole number from 1 to 1000",
        ),
        (
            "search.iterations.deep",
            "0",
            "`search.iterations` is a table, expected a whole number",
        ),
    ] {
        assert_eq!(config.set(key, value).expect_err(key).to_string(), expected);
    }
    assert_eq!(config, before);
    assert!(config.set("", "2").is_err());
}

#[test]
fn assignments_come_before_presets() {
    let sets = [("training.preset".to_owned(), "nasnet".to_owned())];
    let config = Config::from_toml_with("[training]\nepochs = 9\n", &sets).expect("valid");
    assert_eq!(
        config.training.recipe.learning_rate,
        Preset::Nasnet.recipe().learning_rate
    );
}

#[test]
fn the_effective_configuration_round_trips() {
    let text = "seed = 7\n[space]\nkind = \"micro\"\nblocks = 3\n[training]\npreset = \"mfas\"\nbatch = 64\n\
        [search]\nbudget = \"90s\"\nselection = \"top_k\"\n[train]\nchannels = 36\n";
    let config = Config::from_toml(text).expect("valid");
    let effective = config.to_toml().expect("TOML");
    assert_eq!(
        Config::from_toml(&effective).expect("valid"),
        config,
        "{effective}"
    );
    for key in [
        "iterations = 3",
        "batch = 64",
        "blocks = 3",
        "[search.temperature]",
        "kind = \"micro\"",
    ] {
        assert!(effective.contains(key), "{key} is missing in\n{effective}");
    }
}

#[test]
fn every_key_is_documented() {
    let keys = Config::reference();
    let find = |key: &str| {
        keys.iter()
            .find(|doc| doc.key == key)
            .unwrap_or_else(|| panic!("{key} is missing"))
    };
    for doc in &keys {
        assert!(doc.doc.len() > 10, "{} has no documentation", doc.key);
        assert_ne!(doc.kind, "any value", "{} has no type", doc.key);
    }
    let iterations = find("search.iterations");
    assert_eq!(
        (iterations.kind.as_str(), iterations.default.as_deref()),
        ("a whole number", Some("3"))
    );
    assert_eq!(
        find("search.selection").kind,
        "one of \"sample\", \"top_k\", \"uniform\""
    );
    assert_eq!(
        find("search.temperature.final").default.as_deref(),
        Some("1.0")
    );
    assert_eq!(find("search.budget").default, None);
    assert_eq!(find("training.preset").default.as_deref(), Some("\"fast\""));
    assert_eq!(find("train.epochs").default.as_deref(), Some("30"));
    // Both kinds of the tagged section.
    assert_eq!(find("space.layers").default.as_deref(), Some("12"));
    assert_eq!(find("space.blocks").default.as_deref(), Some("5"));
    assert_eq!(find("space.kind").kind, "one of \"macro\", \"micro\"");
    assert_eq!(find("space.kind").default.as_deref(), Some("\"macro\""));
    // Every key that a document may hold, and no other, is listed.
    let written = Config::default()
        .to_toml()
        .expect("TOML")
        .parse::<toml::Table>()
        .expect("a table");
    for key in epnas_search::settings::leaves(&written).keys() {
        find(key);
    }
}
