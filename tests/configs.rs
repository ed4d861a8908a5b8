//! Every file of `configs/` is valid, and says what its name says.

use crate::command::{read, repository, run};

#[test]
fn every_config_is_valid_and_is_a_preset() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(repository().join("configs")).expect("configs/ exists") {
        let path = entry.expect("an entry").path();
        let file = path.to_str().expect("UTF-8");
        run(&["config", "check", file]).ok();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a name")
            .to_owned();
        // The preset in the binary is the file.
        assert_eq!(
            run(&["config", "presets", &name]).ok().stdout,
            read(&path),
            "{name}"
        );
        let header: String = read(&path)
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        for word in ["command:", "machine:", "time:", "accuracy:"] {
            assert!(header.contains(word), "{name} does not state its {word}");
        }
        names.push(name);
    }
    names.sort();
    assert_eq!(
        names,
        [
            "cifar10-macro",
            "cifar10-micro",
            "cifar10-quick-macro",
            "cifar10-quick-micro",
            "demo",
            "folder",
            "table"
        ]
    );
}

/// So that what is shown on a table is shown of the settings that networks are searched with.
#[test]
fn the_table_is_searched_as_the_small_presets_search() {
    let config = |name: &str| run(&["config", "--config", name, "--json"]).ok().json();
    let table = config("table");
    let search = |config: &serde_json::Value| {
        let mut search = config["search"].as_object().expect("a section").clone();
        // How much is searched.
        search.remove("children_per_step");
        search.remove("iterations");
        search
    };
    for name in ["demo", "cifar10-quick-macro", "cifar10-quick-micro"] {
        let preset = config(name);
        assert_eq!(table["surrogate"], preset["surrogate"], "{name}");
        assert_eq!(search(&table), search(&preset), "{name}");
    }
}

#[test]
fn the_paper_presets_are_the_paper() {
    // Perez-Rua et al., 2018, section 5: K = 25, three epochs, C = 24, N = 2, B = 5; then 200 channels, or N = 3, 96.
    for (name, kind, levels, channels) in [
        ("cifar10-macro", "macro", "layers", 200),
        ("cifar10-micro", "micro", "blocks", 96),
    ] {
        let config = run(&["config", "--config", name, "--json"]).ok().json();
        assert_eq!(config["space"]["kind"], kind);
        assert_eq!(
            config["space"][levels],
            if kind == "macro" { 12 } else { 5 }
        );
        assert_eq!(config["search"]["children_per_step"], 25);
        assert_eq!(config["search"]["iterations"], 3);
        assert_eq!(config["network"]["channels"], 24);
        assert_eq!(config["network"]["cells_per_stage"], 2);
        assert_eq!(config["training"]["epochs"], 3);
        assert_eq!(config["train"]["epochs"], 600);
        assert_eq!(config["train"]["batch"], 32);
        assert_eq!(config["train"]["learning_rate"], 0.025);
        assert_eq!(config["train"]["channels"], channels);
        assert_eq!(config["train"]["cells_per_stage"], 3);
        assert_eq!(config["data"]["validation"], 5000);
        assert_eq!(config["data"]["split"], "fixed");
    }
}
