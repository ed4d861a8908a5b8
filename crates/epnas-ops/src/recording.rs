//! Operators that were recorded once, to be repeated by a GPU on its own.

use candle_core::Device;

use crate::cuda::{Queue, Recorded};
use crate::device::Backend;
use crate::error::{Error, Result};

const OP: &str = "recording";

/// A sequence of operators on a GPU, ready to run again and again at the cost of one launch: a CUDA graph.
///
/// Every repetition works on the very same tensors, which the recording keeps.
#[derive(Debug)]
pub struct Recording(Box<dyn Recorded>);

impl Recording {
    /// Whether operators on this device can be recorded: on a GPU, not on the CPU.
    #[must_use]
    pub fn is_possible(device: &Device) -> bool {
        matches!(Backend::on(OP, "device", device), Ok(Backend::Cuda(_)))
    }

    /// Records the operators that `body` calls on tensors of `device`; none of them runs now. The same calls must have
    /// run before, so that all room they need is there. What `body` reads back, allocates or decides by a tensor's
    /// contents cannot be recorded.
    ///
    /// # Errors
    /// What `body` returns; [`Error::Cuda`] when something cannot be recorded, [`Error::UnsupportedDevice`] on the CPU.
    pub fn of<E: From<Error>>(
        device: &Device,
        body: impl FnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<Recording, E> {
        let told = |message| Error::Cuda { op: OP, message };
        let Backend::Cuda(queue) = Backend::on(OP, "device", device)? else {
            return Err(Error::UnsupportedDevice {
                op: OP,
                tensor: "device",
                device: device.location(),
            }
            .into());
        };
        /// A device that is left recording runs nothing more: ended in any case, a panic of the body among them.
        struct Ends<'a>(Option<&'a Queue>);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                if let Some(queue) = self.0.take() {
                    let _ = queue.end();
                }
            }
        }
        queue.begin().map_err(told)?;
        let mut ends = Ends(Some(&queue));
        body()?;
        ends.0 = None;
        Ok(Recording(queue.end().map_err(told)?))
    }

    /// Runs all of it, in order with other operators.
    ///
    /// # Errors
    /// [`Error::Cuda`] when the device fails.
    pub fn replay(&self) -> Result<()> {
        let told = |message| Error::Cuda { op: OP, message };
        self.0.replay().map_err(told)
    }
}
