//! What the networks of the search cost: counted from their graphs, and timed on the device of the run.

use std::cell::OnceCell;

use epnas_arch::{Arch, Cost, EvaluateError, Network, NetworkConfig, NetworkError, Shape, Space};
use epnas_supernet::{Compute, PrecisionKind, latency};

use super::Session;
use crate::admission::{Admission, Meter};
use crate::error::SearchError;
use crate::limits::{LimitedNetwork, Limits, Quantity};
use crate::run::RunFolder;

/// The networks of the search.
pub(super) struct NetworkMeter {
    space: Space,
    network: NetworkConfig,
    input: Shape,
    classes: usize,
    compute: Compute,
    precision: PrecisionKind,
    cheapest: OnceCell<Vec<u64>>,
    /// What the cheapest has least of.
    saves: Quantity,
}

impl NetworkMeter {
    fn network(&self, arch: &Arch) -> Result<Network, NetworkError> {
        let levels = self.space.levels();
        Network::build(arch, levels, &self.network, self.input, self.classes)
    }

    /// By level, the element that adds least to those before it.
    fn cheapest(&self) -> &[u64] {
        self.cheapest.get_or_init(|| {
            let (mut elements, mut arch) = (Vec::new(), None);
            for level in 1..=self.space.levels() {
                let extended = |element| self.space.extend(arch.as_ref(), element);
                let cost = |element: &u64| {
                    let cost = self.cost(&extended(*element));
                    cost.map_or((u64::MAX, u64::MAX), |cost| match self.saves {
                        Quantity::Params => (cost.params, cost.macs),
                        _ => (cost.macs, cost.params),
                    })
                };
                let least = (0..self.space.level_len(level)).min_by_key(cost);
                let Some(element) = least else { break };
                arch = Some(extended(element));
                elements.push(element);
            }
            elements
        })
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

    /// With the cheapest elements, each by itself.
    fn completion(&self, arch: &Arch) -> Option<Arch> {
        // Asked first: to find the cheapest elements, every element is counted.
        if arch.len() >= self.space.levels() {
            return None;
        }
        let missing = self.cheapest().get(arch.len()..)?.iter();
        let grow = |arch: Arch, &element: &u64| self.space.extend(Some(&arch), element);
        Some(missing.fold(arch.clone(), grow))
    }
}

impl Session {
    /// What the limits of the search admit. Latencies are kept in `folder`, where there is one.
    pub(super) fn admission(&self, folder: Option<&RunFolder>) -> Result<Admission, SearchError> {
        let limits = self.config.search.limits.parse()?;
        let path = folder.map(RunFolder::latency);
        Admission::new(&self.config.space, limits, self.meter()?, path.as_deref())
    }

    /// Those limits of the search that need no measurement.
    pub(super) fn counted_admission(&self) -> Result<Admission, SearchError> {
        let limits = Limits {
            latency: None,
            ..self.config.search.limits.parse()?
        };
        Admission::new(&self.config.space, limits, self.meter()?, None)
    }

    /// What the networks cost that the limits hold for.
    fn meter(&self) -> Result<NetworkMeter, SearchError> {
        match self.config.search.limits.network {
            LimitedNetwork::Search => self.meter_of(self.config.network.clone()),
            LimitedNetwork::Train => self.meter_of(self.config.final_network()),
        }
    }

    pub(super) fn meter_of(&self, network: NetworkConfig) -> Result<NetworkMeter, SearchError> {
        let config = &self.config;
        let training = self.training()?;
        Ok(NetworkMeter {
            space: config.space.clone(),
            network,
            cheapest: OnceCell::new(),
            saves: match (config.search.limits.params, config.search.limits.macs) {
                (Some(_), None) => Quantity::Params,
                _ => Quantity::Macs,
            },
            input: training.image_shape(),
            classes: training.classes.len(),
            compute: self.compute.clone(),
            precision: config.training.recipe.precision,
        })
    }
}
