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
