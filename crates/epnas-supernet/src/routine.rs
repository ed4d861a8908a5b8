//! Work that a GPU does many times over.

use epnas_ops::Recording;

use crate::{
    compute::{Compute, Steps},
    error::SupernetError,
};

/// Operators that are called again and again with the same tensors: the first time one by one, which makes all room that
/// they need; then they are recorded, and from there on the GPU repeats them.
#[derive(Debug, Default)]
pub(crate) struct Routine {
    called: bool,
    recording: Option<Recording>,
}

impl Routine {
    pub(crate) fn run(
        &mut self,
        compute: &Compute,
        body: impl FnOnce() -> Result<(), SupernetError>,
    ) -> Result<(), SupernetError> {
        if let Some(recording) = &self.recording {
            return Ok(recording.replay()?);
        }
        if !self.called || compute.steps() == Steps::Called {
            self.called = true;
            return body();
        }
        let recording = Recording::of(compute.device(), body)?;
        recording.replay()?;
        self.recording = Some(recording);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use epnas_ops::{Accumulate, accumulate, cuda_emulation};

    use super::*;

    #[test]
    fn work_is_called_once_recorded_once_and_repeated_from_then_on() {
        if !cuda_emulation::AVAILABLE {
            println!("skipped: no C++ compiler");
            return;
        }
        let run = |steps| {
            let shape = (1, 1, 1, 2);
            let one = Tensor::ones(shape, DType::F32, &Device::Cpu).expect("a tensor");
            let sum = one.zeros_like().expect("a tensor");
            let (mut routine, mut calls) = (Routine::default(), 0);
            for _ in 0..5 {
                let work = || {
                    calls += 1;
                    Ok(accumulate(&one, &sum, Accumulate::Add)?)
                };
                let compute = Compute::cpu().with_steps(steps);
                cuda_emulation::run(|| routine.run(&compute, work)).expect("work");
            }
            let sum: Vec<f32> = sum
                .flatten_all()
                .and_then(|sum| sum.to_vec1())
                .expect("numbers");
            (sum, calls)
        };
        assert_eq!(run(Steps::Recorded), (vec![5.0; 2], 2));
        assert_eq!(run(Steps::Called), (vec![5.0; 2], 5));
    }
}
