//! Numbers that change from step to step, where a device finds them.

use candle_core::{DType, Device, Tensor};

use crate::allocation::zeros;
use crate::cuda;
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::kernel;
use crate::shape;
use crate::storage::{self, Reads};

/// A row of numbers for every step to come, and how far the steps have come, in the memory of a device: a step that was
/// recorded takes the next row by itself.
#[derive(Debug, Clone)]
pub struct StepRows {
    /// `f32`, `[steps, width]`.
    pub(crate) rows: Tensor,
    /// `i64`, `[2]`: rows taken, and rows that there are.
    pub(crate) state: Tensor,
}

impl StepRows {
    /// Room for the rows of at most `most_steps` steps, at least 1, of `width` numbers each; no rows yet.
    ///
    /// # Errors
    /// A width of 0; no memory on the device.
    pub fn new(most_steps: usize, width: usize, device: &Device) -> Result<Self> {
        const OP: &str = "step_rows.new";
        if width == 0 {
            return Err(setting(OP, "width", 0, "at least 1"));
        }
        Ok(StepRows {
            rows: zeros((most_steps.max(1), width), DType::F32, device)?,
            state: zeros(2, DType::I64, device)?,
        })
    }

    /// Begins anew: the next step takes the first of these rows, which lie one after the other. They replace all rows
    /// from before.
    ///
    /// # Errors
    /// Part of a row; more rows than there is room for; when the device fails.
    pub fn start(&self, rows: &[f32]) -> Result<()> {
        const OP: &str = "step_rows.start";
        let (most_steps, width) = self.rows.dims2()?;
        if !rows.len().is_multiple_of(width) {
            let expected = "a multiple of the width";
            return Err(setting(OP, "count of numbers", rows.len(), expected));
        }
        let steps = rows.len() / width;
        if steps > most_steps {
            let expected = "no more than there is room for";
            return Err(setting(OP, "number of rows", steps, expected));
        }
        let device = self.rows.device();
        let state = Tensor::new(&[0, steps as i64], device)?;
        self.state.slice_set(&state, 0, 0)?;
        if steps == 0 {
            return Ok(());
        }
        let rows = Tensor::from_slice(rows, (steps, width), device)?;
        Ok(self.rows.slice_set(&rows, 0, 0)?)
    }

    /// Writes the next row into `current`, `f32`, `[width]`. Behind the last row `current` stays as it is.
    ///
    /// # Errors
    /// Wrong shape, type, layout or device; aliasing.
    pub fn next(&self, current: &Tensor) -> Result<()> {
        const OP: &str = "step_rows.next";
        shape::expect(OP, "current", current, &self.rows.dims()[1..])?;
        let reads = [("rows", &self.rows)];
        let writes = [("state", &self.state), ("current", current)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let rows = reads.get(0)?;
                storage::write(OP, writes[0], |state| {
                    storage::write(OP, writes[1], |current| {
                        kernel::step_rows::next(rows, state, current);
                        Ok(())
                    })
                })
            }
            Backend::Cuda(queue) => cuda::step_rows::next(&queue, OP, self, current),
        }
    }
}

fn setting(op: &'static str, setting: &'static str, found: usize, expected: &'static str) -> Error {
    Error::Setting {
        op,
        setting,
        found: found.to_string(),
        expected,
    }
}
