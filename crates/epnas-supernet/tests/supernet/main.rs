//! One test binary for the crate.

mod children;
mod cuda;
mod models;
mod plans;
mod precision;
mod reference;
mod samples;
mod trainers;
mod weights;
