//! The learning rates of steps to come, where a GPU finds them.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::optimizer::Rates;

/// Learning rates of the steps to come and how far they have come, in the memory of a GPU: a step that was recorded takes
/// the next rate by itself.
#[derive(Debug, Clone)]
pub struct Course {
    /// `f32`, `[steps, 2]`: [`Rates`].
    pub(crate) rates: Tensor,
    /// `f64`, `[4]`: steps taken; 1 + the step that failed, or 0; 1 where its loss failed, 2 for the norm; the value.
    pub(crate) state: Tensor,
}

/// How far a course has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CourseReport {
    /// Steps taken.
    pub steps: usize,
    /// The first step whose numbers were not finite. It changed no parameter, nor did any after it.
    pub failure: Option<CourseFailure>,
}

/// A step whose loss or gradients are not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CourseFailure {
    /// Which step of the course, counted from 0.
    pub step: usize,
    /// What is not finite.
    pub what: CourseNumber,
    /// Its value: of the loss the batch's sum, up to finite losses before.
    pub value: f64,
}

/// What must be finite for a step to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CourseNumber {
    /// The loss.
    Loss,
    /// The norm of all gradients together.
    Norm,
}

impl Course {
    /// Room for the rates of at most so many steps; at least 1.
    ///
    /// # Errors
    /// No memory on the device.
    pub fn new(steps: usize, device: &Device) -> Result<Self> {
        Ok(Course {
            rates: Tensor::zeros((steps.max(1), 2), DType::F32, device)?,
            state: Tensor::zeros(4, DType::F64, device)?,
        })
    }

    /// Begins anew: the next step is the first, and takes the first of these rates. Steps beyond them change nothing.
    ///
    /// # Errors
    /// More rates than there is room for; when the device fails.
    pub fn start(&self, rates: &[Rates]) -> Result<()> {
        let numbers: Vec<f32> = rates.iter().flat_map(|rates| rates.0).collect();
        let device = self.rates.device();
        self.state.slice_set(&self.state.zeros_like()?, 0, 0)?;
        if rates.is_empty() {
            return Ok(());
        }
        let numbers = Tensor::from_vec(numbers, (rates.len(), 2), device)?;
        Ok(self.rates.slice_set(&numbers, 0, 0)?)
    }

    /// Waits for all steps so far and reads how far they have come.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(&self) -> Result<CourseReport> {
        let state: Vec<f64> = self.state.to_vec1()?;
        let failed = state[1] as usize;
        Ok(CourseReport {
            steps: state[0] as usize,
            failure: failed.checked_sub(1).map(|step| CourseFailure {
                step,
                what: match state[2] {
                    1.0 => CourseNumber::Loss,
                    _ => CourseNumber::Norm,
                },
                value: state[3],
            }),
        })
    }
}
