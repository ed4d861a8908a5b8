//! Temperature-cooled weighted sampling without replacement, over a stream of scores.
//!
//! EPNAS does not train the best predicted candidates but draws them: candidate `i` with the
//! predicted accuracy `s_i` has the probability `p_i = s_i / sum s`, cooled to
//! `q_i ~ p_i^(1/tau)` (Perez-Rua et al., 2018, section 3). This crate holds
//!
//! - [`TemperatureSchedule`]: `tau` as a function of the search step,
//! - [`StreamingSampler`]: draws `k` distinct items in one pass with memory for `k` items,
//! - [`draw`] and [`probabilities`]: the same for scores that lie in one slice.
//!
//! The crate knows nothing of architectures: an item is an index and a score.
//!
//! ```
//! use epnas_sampler::{Selection, StreamingSampler};
//! use rand::SeedableRng;
//!
//! let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
//! let mut sampler = StreamingSampler::new(Selection::Sample, 2, 1.0, &mut rng)?;
//! sampler.extend(0, &[0.9, 0.6])?; // scores of the items 0 and 1
//! sampler.extend(2, &[0.3])?; //      and of item 2
//! let draws = sampler.finish();
//! assert_eq!(draws.len(), 2);
//! assert_ne!(draws[0].index, draws[1].index);
//! # Ok::<(), epnas_sampler::SampleError>(())
//! ```

mod error;
mod noise;
mod sampler;
mod temperature;
mod weight;

pub use error::{SampleError, TemperatureError};
pub use sampler::{Draw, Selection, StreamingSampler, draw};
pub use temperature::TemperatureSchedule;
pub use weight::{MIN_SCORE, MIN_TEMPERATURE, probabilities};
