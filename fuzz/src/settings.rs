//! Configurations: whole documents, and single keys that are set.

use std::str::from_utf8;

use epnas_search::Config;
use epnas_search::settings::split_assignment;

use super::shown;

/// A document.
pub fn configuration(data: &[u8]) -> bool {
    let Ok(text) = from_utf8(data) else {
        return false;
    };
    match Config::from_toml(text) {
        Ok(config) => comes_back(&config),
        Err(error) => {
            shown(&error);
            false
        }
    }
}

/// A document whose last line is an assignment, `key=value`, to apply to it.
pub fn setting(data: &[u8]) -> bool {
    let Ok(text) = from_utf8(data) else {
        return false;
    };
    let (document, assignment) = text.rsplit_once('\n').unwrap_or(("", text));
    let (key, value) = match split_assignment(assignment) {
        Ok(pair) => pair,
        Err(error) => {
            shown(&error);
            return false;
        }
    };
    let Ok(before) = Config::from_toml(document) else {
        return false;
    };
    let mut config = before.clone();
    match config.set(&key, &value) {
        Ok(()) => comes_back(&config),
        Err(error) => {
            shown(&error);
            assert_eq!(config, before, "a refused setting changes nothing");
            false
        }
    }
}

/// What is valid can be written, and what was written is read as the same.
fn comes_back(config: &Config) -> bool {
    config.validate().expect("what was read is in its ranges");
    let text = config.to_toml().expect("TOML");
    let read = Config::from_toml(&text).expect("its own TOML");
    assert_eq!(read, *config);
    assert_eq!(read.to_toml().expect("TOML"), text);
    true
}
