//! The one error type of the crate.

use candle_core::{DType, DeviceLocation};

use crate::storage::Arg;

/// Result of every operator in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operator refused to run. Nothing was written when one of these is returned, except where an
/// operator says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor's shape does not fit the operator or the other tensors.
    #[error("{op}: `{tensor}` has shape {found:?}, expected {expected}")]
    Shape {
        /// Operator, for example `conv2d.forward`.
        op: &'static str,
        /// Name of the argument.
        tensor: &'static str,
        /// Shape that was given.
        found: Vec<usize>,
        /// Shape that was expected, with the names of its dimensions where they are free.
        expected: String,
    },
    /// A tensor has the wrong element type.
    #[error("{op}: `{tensor}` holds {found:?}, expected {expected:?}")]
    DType {
        /// Operator.
        op: &'static str,
        /// Name of the argument.
        tensor: &'static str,
        /// Type that was given.
        found: DType,
        /// Type that was expected.
        expected: DType,
    },
    /// A tensor is a strided view; operators need row-major contiguous memory.
    #[error(
        "{op}: `{tensor}` of shape {shape:?} is not contiguous (strides {strides:?}); call `contiguous()` first"
    )]
    NotContiguous {
        /// Operator.
        op: &'static str,
        /// Name of the argument.
        tensor: &'static str,
        /// Shape of the view.
        shape: Vec<usize>,
        /// Strides of the view, in elements.
        strides: Vec<usize>,
    },
    /// A tensor that is written shares its storage with another argument.
    #[error(
        "{op}: `{written}` is written but shares its storage with `{other}`; give it a tensor of its own"
    )]
    Aliased {
        /// Operator.
        op: &'static str,
        /// Name of the argument that is written.
        written: &'static str,
        /// Name of the other argument.
        other: &'static str,
    },
    /// Two tensors of one call lie on different devices.
    #[error(
        "{op}: `{tensor}` is on {device:?} and `{other}` on {expected:?}; move them to one device"
    )]
    Devices {
        /// Operator.
        op: &'static str,
        /// Name of the argument.
        tensor: &'static str,
        /// Where it lives.
        device: DeviceLocation,
        /// Name of the argument it was compared with.
        other: &'static str,
        /// Where that one lives.
        expected: DeviceLocation,
    },
    /// No kernel of this operator exists for the device of a tensor.
    #[error("{op}: `{tensor}` is on {device:?}, where this operator does not run in this build")]
    UnsupportedDevice {
        /// Operator.
        op: &'static str,
        /// Name of the argument.
        tensor: &'static str,
        /// Where the tensor lives.
        device: DeviceLocation,
    },
    /// An operator's own setting is out of range.
    #[error("{op}: {setting} is {found}, expected {expected}")]
    Setting {
        /// Operator.
        op: &'static str,
        /// Name of the setting.
        setting: &'static str,
        /// Value that was given.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A class label is not below the number of classes.
    #[error("{op}: label {label} at position {position}, expected a value below {classes}")]
    Label {
        /// Operator.
        op: &'static str,
        /// Position in the batch.
        position: usize,
        /// Label that was given.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// The environment variable `EPNAS_SIMD` asks for instructions this machine does not have.
    #[error(
        "EPNAS_SIMD is `{found}`, expected one of portable, avx2, avx512, avx512bf16 that this machine has (best: {best}); \
         unset it to choose automatically"
    )]
    Simd {
        /// Value of the variable.
        found: String,
        /// Best level of this machine.
        best: &'static str,
    },
    /// A kernel could not be launched, or the device failed.
    #[error("{op}: {message}")]
    Cuda {
        /// Operator.
        op: &'static str,
        /// What happened.
        message: String,
    },
    /// The device has no room.
    #[error("not enough memory on {device:?}: {bytes} more bytes were asked for")]
    Memory {
        /// The device.
        device: DeviceLocation,
        /// How much was asked for at once.
        bytes: u64,
    },
    /// No GPU, or none that can be used.
    #[error("{0}")]
    Gpu(String),
    /// candle refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// Whether a device had no room.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Error::Memory { .. }) || crate::allocation::is_out_of_memory(self)
    }

    /// An operator that only a GPU needs was called on the CPU.
    pub(crate) fn not_on_the_cpu(op: &'static str, (name, tensor): Arg) -> Self {
        Error::UnsupportedDevice {
            op,
            tensor: name,
            device: tensor.device().location(),
        }
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(inner) => inner,
            other => candle_core::Error::wrap(other),
        }
    }
}
