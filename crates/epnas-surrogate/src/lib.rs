//! The surrogate of EPNAS: an LSTM that predicts the accuracy of an architecture
//! (Perez-Rua et al., 2018, section 4).
//!
//! A progressive search asks it for the scores of up to 307,200 candidates per step and trains it
//! on everything measured so far, so both are written for these shapes: candidates share what
//! they have in common, and training computes 16 architectures side by side. Results do
//! not depend on the number of threads.
//!
//! ```
//! use epnas_arch::{Candidates, Space, Surrogate};
//! use epnas_surrogate::{Lstm, LstmConfig};
//!
//! let space = Space::default(); // macro, 12 layers
//! let mut surrogate = Lstm::new(&LstmConfig::default(), &space, 1)?;
//! assert_eq!(surrogate.params(), 82_701);
//! let first = Candidates::first(&space);
//! let measured: Vec<_> = first.iter().zip([0.5, 0.5, 0.6, 0.6, 0.55, 0.55]).collect();
//! let report = surrogate.fit(&measured, 2)?;
//! let second = Candidates::extend(&space, first.iter().collect())?;
//! let scores = surrogate.predict(&second, 0..second.len())?;
//! assert_eq!((report.records, scores.len()), (6, 72));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adam;
mod backward;
mod cell;
mod config;
mod error;
mod lanes;
mod layout;
mod lstm;
mod nonlinear;
mod outer;
mod predict;
mod snapshot;
mod train;

pub use config::{Loss, LstmConfig};
pub use error::LstmError;
pub use lstm::Lstm;
