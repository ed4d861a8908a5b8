//! How long a network takes for one image.

use std::time::Instant;

use epnas_arch::Network;

use crate::{
    compute::{Compute, DeviceKind},
    config::PrecisionKind,
    error::SupernetError,
    host,
    plan::{Arena, Mode, Plan, PlanOptions},
    routine::Routine,
    weights::WeightStore,
};

/// Passes before those that are timed: the first touches fresh memory, a GPU records the second.
const UNTIMED: usize = 3;
/// Passes that are timed.
const TIMED: usize = 15;

/// Wall time in seconds, the median of several passes, of one image through a network in evaluation mode on a device,
/// its logits read back. Weights are initial ones: values do not matter for the time.
///
/// # Errors
/// When the network does not fit the device, or an operator fails.
pub fn latency(
    network: &Network,
    compute: &Compute,
    precision: PrecisionKind,
) -> Result<f64, SupernetError> {
    let seconds = latencies(network, compute, precision, TIMED)?;
    Ok(seconds[TIMED / 2])
}

/// As [`latency`], the times of so many passes, ascending.
///
/// # Errors
/// As [`latency`].
pub fn latencies(
    network: &Network,
    compute: &Compute,
    precision: PrecisionKind,
    passes: usize,
) -> Result<Vec<f64>, SupernetError> {
    let measured = || {
        let mut weights = WeightStore::on(0, compute.device().clone());
        let precision = precision.available_on(compute.kind());
        let options = PlanOptions {
            mode: Mode::Infer,
            activations: precision.activations_on(compute.kind()),
            ..PlanOptions::default()
        };
        let mut plan = Plan::compile_with(network, &mut weights, 1, options, &mut Arena::new())?;
        let mut routine = Routine::default();
        let mut seconds = Vec::with_capacity(UNTIMED + passes);
        for _ in 0..UNTIMED + passes {
            let start = Instant::now();
            match compute.kind() {
                DeviceKind::Cpu => plan.forward()?,
                DeviceKind::Cuda => routine.run(compute, || plan.forward())?,
            }
            host::with(plan.logits(), |_: &[f32]| ())?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.drain(..UNTIMED);
        seconds.sort_by(f64::total_cmp);
        Ok(seconds)
    };
    measured().map_err(|error: SupernetError| error.of_network(network, 1))
}
