//! A trained network as its parts.

use epnas_arch::{Network, Param};

use crate::ExportError;

/// Where pixel values are normalized.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Normalizing {
    /// In the exported network, which takes pixel values from 0 to 1.
    #[default]
    Inside,
    /// Before it, by whoever calls it: it takes values less the mean, divided by the deviation.
    Outside,
}

/// A trained network.
pub struct Trained<'a> {
    /// The graph.
    pub network: &'a Network,
    /// The architecture in its text form.
    pub architecture: &'a str,
    /// The names of the classes in the order of the outputs.
    pub classes: &'a [String],
    /// Mean per channel of pixel values from 0 to 1.
    pub mean: &'a [f32],
    /// Deviation per channel.
    pub std: &'a [f32],
    /// The values of a weight by its path, as [`epnas_arch::ParamKind`] lays them out; `None` where there is none.
    pub weights: &'a dyn Fn(&str) -> Option<Vec<f32>>,
}

impl Trained<'_> {
    /// The values of a parameter.
    pub(crate) fn values(&self, param: &Param) -> Result<Vec<f32>, ExportError> {
        let path = || param.path.clone();
        let values =
            (self.weights)(&param.path).ok_or_else(|| ExportError::Missing { path: path() })?;
        if values.len() != param.len() {
            return Err(ExportError::Length {
                path: path(),
                found: values.len(),
                expected: param.len(),
            });
        }
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(values),
            Some(&value) => Err(ExportError::NotFinite {
                path: path(),
                value,
            }),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ExportError> {
        let channels = self.network.input.channels;
        if self.mean.len() != channels || self.std.len() != channels {
            return Err(ExportError::Normalization {
                means: self.mean.len(),
                deviations: self.std.len(),
                channels,
            });
        }
        if self.classes.len() != self.network.classes {
            return Err(ExportError::Classes {
                found: self.classes.len(),
                expected: self.network.classes,
            });
        }
        Ok(())
    }
}
