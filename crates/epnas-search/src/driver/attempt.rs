//! One evaluation, whatever comes of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use epnas_arch::{Arch, EvaluateError, Evaluator, Job, Measurement};

use crate::observer::{Event, Observer};

/// Evaluates an architecture. A panic, and numbers that are none, are that child's failure: a search of days does not end
/// with one operator's mistake. The evaluator's state is to be restored then, as after any failure.
pub(crate) fn attempt<E: Evaluator + ?Sized>(
    evaluator: &mut E,
    arch: &Arch,
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<Measurement, EvaluateError> {
    // Whoever watches may panic too; that is not the child's failure.
    let mut of_observer = None;
    let mut progress = |progress| {
        let event = AssertUnwindSafe(|| observer.event(Event::ChildProgress(progress)));
        if let Err(panic) = catch_unwind(event) {
            of_observer = Some(panic);
            resume_unwind(Box::new(()));
        }
    };
    let job = Job {
        arch,
        seed,
        progress: &mut progress,
    };
    let result = catch_unwind(AssertUnwindSafe(|| evaluator.evaluate(job)));
    if let Some(panic) = of_observer {
        resume_unwind(panic);
    }
    match result {
        Ok(result) => result.and_then(finite),
        Err(panic) => Err(EvaluateError::child(format!("panic: {}", words(&*panic)))),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

/// JSON has no infinities, and nothing can be learned from them: such a child has failed.
fn finite(measurement: Measurement) -> Result<Measurement, EvaluateError> {
    if !measurement.estimate.is_finite() {
        return Err(EvaluateError::child(format!(
            "its estimate is {}",
            measurement.estimate
        )));
    }
    match measurement
        .epochs
        .iter()
        .find(|epoch| !(epoch.loss.is_finite() && epoch.accuracy.is_finite()))
    {
        Some(epoch) => Err(EvaluateError::child(format!(
            "loss {} in epoch {}",
            epoch.loss, epoch.epoch
        ))),
        None => Ok(measurement),
    }
}
