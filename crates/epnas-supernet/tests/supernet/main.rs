//! One test binary for the crate.

mod children;
mod models;
mod plans;
mod precision;
mod reference;
mod samples;
mod trainers;
mod weights;
