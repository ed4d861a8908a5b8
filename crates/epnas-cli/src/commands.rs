//! One module per command: its flags and what it prints.

pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod devices;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod fleet;
pub(crate) mod man;
pub(crate) mod predict;
pub(crate) mod rank;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod select;
pub(crate) mod show;
pub(crate) mod space;
pub(crate) mod train;
pub(crate) mod watch;
