//! Image-classification data sets for architecture search: reading, checking, splitting, normalizing and augmenting.
//!
//! Everything is held as 8-bit pixels in [`Images`] (`[image, row, column, channel]`, one flat buffer) and turned into
//! normalized `f32` batches by [`fill_batch`]. Whatever is random is a pure function of a seed and a position
//! ([`counter`]), so that a stream of batches is the same for any number of threads and any order of work.
//!
//! ```
//! use epnas_data::{AugmentConfig, BatchStream, DataConfig, Normalization, epoch_order, load, split};
//!
//! # fn main() -> Result<(), epnas_data::DataError> {
//! let mut config = DataConfig::default(); // the built-in synthetic set
//! config.synthetic.train = 200;
//! config.synthetic.test = 20;
//! let dataset = load(&config)?;
//! let parts = split(&dataset, &config, 7)?;
//! let normalization = Normalization::from_images(&dataset.train, &parts.train);
//! let augment = AugmentConfig::default();
//! let order = epoch_order(&parts.train, 1);
//! let mut stream = BatchStream::new(&dataset.train, &order, 32, &normalization, Some(&augment), 1);
//! let mut pixels = vec![0.0; 32 * dataset.train.image_len()];
//! let mut labels = vec![0; 32];
//! while let Some(images) = stream.next_into(&mut pixels, &mut labels) {
//!     assert!(images <= 32); // train on the first `images` of the batch
//! }
//! # Ok(())
//! # }
//! ```

#[doc(hidden)]
pub mod bytes;
pub mod counter;
pub mod synthetic;

mod augment;
mod batch;
mod check;
mod cifar;
mod class;
mod config;
mod decode;
mod detect;
mod error;
mod file;
mod folder;
mod hub;
mod idx;
mod images;
mod listing;
mod load;
mod normalize;
mod report;
mod resample;
mod split;

pub use augment::{AugmentConfig, Augmentation, Flip};
pub use batch::{BatchStream, epoch_order, fill_batch};
pub use check::check;
pub use class::{ClassFinding, ClassProblem};
pub use config::{Channels, DataConfig, Share, Source, SplitKind, SyntheticConfig, Unreadable};
pub use decode::{ALPHA_BACKGROUND, MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE, decode_image};
pub use detect::detect;
pub use error::{DataError, UnreadableFile};
pub use images::{Dataset, Images};
pub use listing::image_files;
pub use load::{load, load_reporting, load_undivided, set_test_apart};
pub use normalize::Normalization;
pub use report::{CheckReport, ClassCount, Duplicate, Part, SizeCount};
pub use split::{Split, split};
