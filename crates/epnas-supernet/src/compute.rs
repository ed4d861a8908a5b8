//! Where networks are trained.

use std::fmt;

use candle_core::Device;
use epnas_ops::Recording;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::SupernetError;

/// The CPU, or a GPU.
#[derive(Debug, Clone)]
pub struct Compute {
    device: Device,
    /// As people call it.
    name: String,
    steps: Steps,
}

/// How a GPU gets the operators of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Steps {
    /// Recorded after the first step and from then on repeated by the GPU on its own: one launch a step.
    #[default]
    Recorded,
    /// One by one. Results are the same bit for bit, and steps take longer: for measurements.
    Called,
}

/// A kind of device. Results repeat bit for bit on the same model of device with the same build and libraries; others differ
/// in rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The CPU.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

/// As in records and on the command line.
impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Cuda => "cuda",
        })
    }
}

impl Default for Compute {
    fn default() -> Self {
        Compute::cpu()
    }
}

impl Compute {
    /// The CPU.
    #[must_use]
    pub fn cpu() -> Self {
        Compute {
            device: Device::Cpu,
            name: "cpu".to_owned(),
            steps: Steps::default(),
        }
    }

    /// A GPU by its number, from 0.
    ///
    /// # Errors
    /// No GPU, or none that can be used: one line that says what was looked for and what helps.
    pub fn gpu(ordinal: usize) -> Result<Self, SupernetError> {
        let device = epnas_ops::gpu(ordinal)?;
        let name = epnas_ops::gpus()?.swap_remove(ordinal).name;
        Ok(Compute {
            device,
            name,
            steps: Steps::default(),
        })
    }

    /// The same with steps done in another way.
    #[must_use]
    pub fn with_steps(self, steps: Steps) -> Self {
        Compute { steps, ..self }
    }

    /// Where tensors lie.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What it is called: `cpu`, or the GPU's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How a GPU gets the operators of a step.
    #[must_use]
    pub fn steps(&self) -> Steps {
        self.steps
    }

    /// What kind of device it is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match Recording::is_possible(&self.device) {
            true => DeviceKind::Cuda,
            false => DeviceKind::Cpu,
        }
    }
}
