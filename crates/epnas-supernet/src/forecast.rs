//! How long a child will take and how much memory, measured without touching the shared weights.

use std::ops::ControlFlow;
use std::time::Instant;

use epnas_arch::{Arch, Network};
use serde::Serialize;

use crate::{
    compute::DeviceKind,
    error::SupernetError,
    session::{Session, Trained},
    supernet::Supernet,
    weights::WeightStore,
};

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

/// How fast training steps are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRates {
    /// The first step, on fresh memory, in seconds.
    pub first_step_seconds: f64,
    /// The second, which a GPU records, in seconds.
    pub second_step_seconds: f64,
    /// Images a second after those, augmentation included, window by window.
    pub images_per_second: Vec<f64>,
}

impl StepRates {
    /// The median of the windows.
    pub fn median(&self) -> f64 {
        let mut windows = self.images_per_second.clone();
        windows.sort_by(f64::total_cmp);
        windows.get(windows.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Training steps and evaluation batches that are timed, after some that are not.
const TIMED: usize = 3;

impl Supernet {
    /// Measures a few training steps and validation batches of an architecture. They run on weights of their own, so
    /// the shared ones do not change; values do not matter for the time.
    ///
    /// # Errors
    /// When the network cannot be built or an operator fails.
    pub fn forecast(&self, arch: &Arch) -> Result<Forecast, SupernetError> {
        let network = self.network(arch)?;
        self.measured(&network)
            .map_err(|error| error.of_network(&network, self.config.training.batch))
    }

    fn measured(&self, network: &Network) -> Result<Forecast, SupernetError> {
        let (mut weights, mut session) = self.trial(network)?;
        let (config, data) = (&self.config.training, &self.source.data);
        let least = TIMED * config.batch;
        let rates = rates(&mut session, 1, TIMED, |images, _| images < least)?;
        let train = rates.median();

        let batch = config.eval_batch.min(data.validation.len());
        let first = &data.validation[..batch];
        // The first touches fresh memory; a GPU records the second.
        for _ in 0..2 {
            session.evaluate(&mut weights, first)?;
        }
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

    /// Times training steps of an architecture for some windows of so many seconds, on weights of their own.
    ///
    /// # Errors
    /// As [`Supernet::forecast`].
    pub fn step_rates(
        &self,
        arch: &Arch,
        windows: usize,
        seconds: f64,
    ) -> Result<StepRates, SupernetError> {
        // Long enough on a GPU that the order's way there does not count.
        let steps = match self.source.compute.kind() {
            DeviceKind::Cpu => 1,
            DeviceKind::Cuda => 50,
        };
        let network = self.network(arch)?;
        let (_weights, mut session) = self.trial(&network)?;
        rates(&mut session, windows, steps, |_, elapsed| elapsed < seconds)
    }

    /// A training that leaves nothing behind.
    fn trial(&self, network: &Network) -> Result<(WeightStore, Session), SupernetError> {
        let mut weights = WeightStore::on(self.weights().seed(), self.weights().device().clone());
        let (recipe, images) = (&self.config.training, self.source.data.train.clone());
        let session = Session::new(network, &mut weights, recipe, &self.source, images, 0)?;
        Ok((weights, session))
    }
}

/// Times windows of so many steps at a time that last as long as `goes_on`, told their images and seconds so far, says so.
fn rates(
    session: &mut Session,
    windows: usize,
    steps: usize,
    goes_on: impl Fn(usize, f64) -> bool,
) -> Result<StepRates, SupernetError> {
    let step = |session: &mut Session| -> Result<f64, SupernetError> {
        let start = Instant::now();
        session.train_steps(0, Trained::default(), 1, &mut |_, _| {
            ControlFlow::Continue(())
        })?;
        Ok(start.elapsed().as_secs_f64())
    };
    let (first, second) = (step(session)?, step(session)?);
    let mut rates = Vec::with_capacity(windows);
    for _ in 0..windows {
        let (start, mut images) = (Instant::now(), 0);
        while images == 0 || goes_on(images, start.elapsed().as_secs_f64()) {
            let trained = session.train_steps(0, Trained::default(), steps, &mut |_, _| {
                ControlFlow::Continue(())
            })?;
            images += trained.totals.images;
        }
        rates.push(images as f64 / start.elapsed().as_secs_f64().max(1e-9));
    }
    Ok(StepRates {
        first_step_seconds: first,
        second_step_seconds: second,
        images_per_second: rates,
    })
}
