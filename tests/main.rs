//! One integration-test binary: drives the `epnas` command as its users do, on tiny networks and images.
//!
//! - [`cli`]: output formats, help, completions, closed pipes;
//! - [`golden`]: published and hand-derived facts, through the command line;
//! - [`configs`]: every file of `configs/`;
//! - [`search`]: the whole way from a search to a prediction;
//! - [`hostile`]: texts that would like to be code;
//! - [`levels`]: the same search with other vector instructions;
//! - [`limits`]: budgets, dry runs, progress, selections that fail;
//! - [`compare`]: strategies side by side;
//! - [`rank`]: estimates against retraining;
//! - [`run`](mod@run): from a folder of images to an exported network;
//! - [`train`]: training an architecture of one's own;
//! - [`testing`]: which images a network is tested on;
//! - [`restart`]: what `train --restart` throws away;
//! - [`resume`]: runs killed at random moments, numbers of threads;
//! - [`damage`]: files of a run that were changed, cut or lost;
//! - [`faults`]: kills at every write, full and read-only disks, flipped bits;
//! - [`interrupt`]: Ctrl-C and SIGTERM;
//! - [`bad_input`]: every mistake gets one line and the right exit code;
//! - [`precision`]: training in bfloat16, and on a CPU that cannot;
//! - [`device`]: the CPU, GPUs, and that there are none;
//! - [`export`]: trained networks for other programs;
//! - [`data`]: image folders, checks, the built-in set, CIFAR-10 where it is at hand;
//! - [`report`]: pages of runs;
//! - [`watch`]: pages that follow a run;
//! - [`event_files`]: event files for TensorBoard;
//! - [`browser`]: what Chromium makes of both, where it is at hand;
//! - [`fleet`]: many searches as one;
//! - [`fleet_jobs`]: its jobs, without a Slurm;
//! - [`fleet_pool`]: its searches that learn from one another;
//! - [`slurm`]: the same on a real Slurm, where it is asked for;
//! - [`fuzz_corpus`]: what fuzzing has found, and that everything that is read comes back as it was;
//! - [`memory`]: that hundreds of children do not add up.

mod bad_input;
mod browser;
mod cli;
mod command;
mod compare;
mod configs;
mod damage;
mod data;
mod device;
mod event_files;
mod export;
mod faults;
#[cfg(unix)]
mod fleet;
#[cfg(unix)]
mod fleet_jobs;
mod fleet_pool;
mod fuzz_corpus;
mod golden;
mod hostile;
#[cfg(unix)]
mod interrupt;
mod levels;
mod limits;
mod made_up;
mod memory;
mod precision;
mod rank;
mod report;
mod restart;
mod resume;
mod run;
mod search;
#[cfg(unix)]
mod slurm;
mod testing;
mod train;
mod watch;
