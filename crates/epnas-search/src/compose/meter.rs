//! What the networks of the search cost: counted from their graphs, and timed on the device of the run.

use epnas_arch::{Arch, Cost, EvaluateError, Network, NetworkConfig, NetworkError, Shape};
use epnas_supernet::{Compute, PrecisionKind, latency};

use super::Session;
use crate::admission::{Admission, Meter};
use crate::error::SearchError;
use crate::run::RunFolder;

/// The networks of the search.
struct NetworkMeter {
    levels: usize,
    network: NetworkConfig,
    input: Shape,
    classes: usize,
    compute: Compute,
    precision: PrecisionKind,
}

impl NetworkMeter {
    fn network(&self, arch: &Arch) -> Result<Network, NetworkError> {
        Network::build(arch, self.levels, &self.network, self.input, self.classes)
    }
}

impl Meter for NetworkMeter {
    fn cost(&self, arch: &Arch) -> Option<Cost> {
        let network = self.network(arch).ok()?;
        Some(Cost {
            params: network.params(),
            macs: network.macs(),
        })
    }

    fn latency(&self, arch: &Arch) -> Result<f64, EvaluateError> {
        let network = self.network(arch).map_err(EvaluateError::fatal)?;
        latency(&network, &self.compute, self.precision).map_err(EvaluateError::fatal)
    }
}

impl Session {
    /// What the limits of the search admit. Latencies are kept in `folder`, where there is one.
    pub(super) fn admission(&self, folder: Option<&RunFolder>) -> Result<Admission, SearchError> {
        let config = &self.config;
        let limits = config.search.limits.parse()?;
        let training = self.training()?;
        let meter = NetworkMeter {
            levels: config.space.levels(),
            network: config.network.clone(),
            input: training.image_shape(),
            classes: training.classes.len(),
            compute: self.compute.clone(),
            precision: config.training.recipe.precision,
        };
        let path = folder.map(RunFolder::latency);
        Admission::new(&config.space, limits, meter, path.as_deref())
    }
}
