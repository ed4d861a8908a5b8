//! Children that share no weights: each starts from its own.

use epnas_arch::seed::split;
use epnas_arch::{Arch, Cost, EvaluateError, Evaluator, Job, Measurement};

/// An evaluator that forgets everything before each child.
#[derive(Debug)]
pub(super) struct FreshWeights<E>(pub(super) E);

impl<E: Evaluator> Evaluator for FreshWeights<E> {
    fn evaluate(&mut self, job: Job<'_>) -> Result<Measurement, EvaluateError> {
        self.0.reset(split(job.seed, "weights"))?;
        self.0.evaluate(job)
    }

    fn cost(&self, arch: &Arch) -> Option<Cost> {
        self.0.cost(arch)
    }

    fn snapshot(&self) -> Result<Vec<u8>, EvaluateError> {
        // Nothing that the next child could see.
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), EvaluateError> {
        Ok(())
    }

    fn reset(&mut self, seed: u64) -> Result<(), EvaluateError> {
        self.0.reset(seed)
    }
}
