//! How long a child will take and how much memory, measured without touching the shared weights.

use std::time::Instant;

use epnas_arch::Arch;
use serde::Serialize;

use crate::{error::SupernetError, session::Session, supernet::Supernet, weights::WeightStore};

/// What one child will cost on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// Wall-clock time of a child: all epochs and their validation, in seconds.
    pub seconds_per_child: f64,
    /// Memory of a child's buffers, optimizer and weights, in bytes; images not counted.
    pub bytes: u64,
    /// Images a second in training, augmentation included.
    pub training_images_per_second: f64,
    /// Images a second in validation.
    pub validation_images_per_second: f64,
}

/// Training steps and evaluation batches that are timed, after one of each that is not.
const TIMED: usize = 3;

impl Supernet {
    /// Measures a few training steps and validation batches of an architecture. They run on weights of their own, so
    /// the shared ones do not change; values do not matter for the time.
    ///
    /// # Errors
    /// When the network cannot be built or an operator fails.
    pub fn forecast(&self, arch: &Arch) -> Result<Forecast, SupernetError> {
        let network = self.network(arch)?;
        let mut weights = WeightStore::on(self.weights().seed(), self.weights().device().clone());
        let (config, data) = (&self.config.training, &self.source.data);
        let images = data.train.clone();
        let mut session = Session::new(&network, &mut weights, config, &self.source, images, 0)?;
        // The first touches fresh memory; a GPU records the second.
        for _ in 0..2 {
            session.train_steps(0, 1, &mut |_, _| ())?;
        }
        let (start, mut images) = (Instant::now(), 0);
        while images < TIMED * config.batch {
            images += session.train_steps(0, TIMED, &mut |_, _| ())?.images;
        }
        let train = images as f64 / start.elapsed().as_secs_f64().max(1e-9);

        let batch = config.eval_batch.min(data.validation.len());
        let first = &data.validation[..batch];
        session.evaluate(&mut weights, first)?;
        let start = Instant::now();
        for _ in 0..TIMED {
            session.evaluate(&mut weights, first)?;
        }
        let validation = (TIMED * batch) as f64 / start.elapsed().as_secs_f64().max(1e-9);

        let epoch =
            session.images_per_epoch() as f64 / train + data.validation.len() as f64 / validation;
        Ok(Forecast {
            seconds_per_child: config.epochs as f64 * epoch,
            bytes: session.bytes() + weights.bytes(),
            training_images_per_second: train,
            validation_images_per_second: validation,
        })
    }
}
