//! Who may be proposed: strategies ask [`Admission`] before they draw, and never propose what is beyond a limit.
//!
//! Parameters and multiply-accumulates are counted. Latency is measured, and so differs from time to time: each
//! measurement is on disk before it decides anything, and is taken from there ever after, so that a search that goes on
//! decides as it did before.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use epnas_arch::{Arch, Cost, EvaluateError, Space};
use serde::{Deserialize, Serialize};

use crate::error::SearchError;
use crate::limits::{Limits, Quantity, Shortfall};
use crate::strategy::StrategyError;
use epnas_disk::Lines;

/// Draws in a row that may be refused before a strategy gives up.
const DRAWS: u64 = 10_000;
/// New measurements in a row that may be too slow before a strategy gives up.
const MEASUREMENTS: u64 = 1000;

/// Says what an architecture costs, without training it.
pub trait Meter {
    /// Counted; `None` when unknown, which is within no limit.
    fn cost(&self, arch: &Arch) -> Option<Cost>;

    /// Measured: seconds of one image.
    ///
    /// # Errors
    /// When it cannot be measured, which ends the search.
    fn latency(&self, arch: &Arch) -> Result<f64, EvaluateError>;

    /// A full-length architecture that a shorter one can grow to and that costs little, so that nothing is grown that can
    /// only end beyond a limit; `None` for full-length ones, and where it is not known.
    fn completion(&self, _arch: &Arch) -> Option<Arch> {
        None
    }
}

/// A measured latency: a line of `latency.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyRecord {
    /// The architecture, in canonical text form.
    pub arch: String,
    /// Seconds of one image.
    pub seconds: f64,
}

/// Decides whether an architecture may be proposed. The default admits all; clones share what was measured.
#[derive(Clone, Default)]
pub struct Admission(Option<Rc<Limited>>);

struct Limited {
    space: Space,
    limits: Limits,
    meter: Box<dyn Meter>,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Latencies by key of the space.
    known: BTreeMap<String, f64>,
    lines: Option<Lines>,
    smallest: BTreeMap<Quantity, f64>,
    refused_in_a_row: u64,
    slow_in_a_row: u64,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = self.0.as_ref().map(|limited| limited.limits);
        f.debug_tuple("Admission").field(&limits).finish()
    }
}

impl Admission {
    /// Admits what is within `limits` by `meter`. Latencies are read from the file `latencies` and added to it; without
    /// one they are forgotten in the end.
    ///
    /// # Errors
    /// [`SearchError`] when the file cannot be read or holds something else.
    pub fn new(
        space: &Space,
        limits: Limits,
        meter: impl Meter + 'static,
        latencies: Option<&Path>,
    ) -> Result<Self, SearchError> {
        if limits.is_unlimited() {
            return Ok(Self::default());
        }
        let mut seen = Seen::default();
        if let Some(path) = latencies.filter(|_| limits.latency.is_some()) {
            let (lines, records) = Lines::open::<LatencyRecord>(path)?;
            let pairs = records.into_iter();
            seen.known = pairs.map(|record| (record.arch, record.seconds)).collect();
            seen.lines = Some(lines);
        }
        Ok(Self(Some(Rc::new(Limited {
            space: space.clone(),
            limits,
            meter: Box::new(meter),
            seen: RefCell::new(seen),
        }))))
    }

    /// Whether an architecture may be proposed. It is measured only when it is within all other limits.
    ///
    /// # Errors
    /// [`StrategyError::Latency`] when it cannot be measured, [`StrategyError::Limits`] when very many in a row were
    /// too slow.
    pub fn admits(&self, arch: &Arch) -> Result<bool, StrategyError> {
        let Some(limited) = &self.0 else {
            return Ok(true);
        };
        let admitted = limited.admits(arch)?;
        let mut seen = limited.seen.borrow_mut();
        seen.refused_in_a_row = if admitted {
            0
        } else {
            seen.refused_in_a_row + 1
        };
        let too_slow = seen.slow_in_a_row >= MEASUREMENTS;
        drop(seen);
        if too_slow {
            return Err(limited.shortfall());
        }
        Ok(admitted)
    }

    /// Those that may be proposed.
    ///
    /// # Errors
    /// As [`Admission::admits`].
    pub fn only(&self, archs: impl IntoIterator<Item = Arch>) -> Result<Vec<Arch>, StrategyError> {
        let mut admitted = Vec::new();
        for arch in archs {
            if self.admits(&arch)? {
                admitted.push(arch);
            }
        }
        Ok(admitted)
    }

    /// Draws until something may be proposed; `None` when `draw` has nothing.
    ///
    /// # Errors
    /// As [`Admission::admits`]; [`StrategyError::Limits`] when very many in a row were refused.
    pub fn first(
        &self,
        mut draw: impl FnMut() -> Option<Arch>,
    ) -> Result<Option<Arch>, StrategyError> {
        let Some(limited) = &self.0 else {
            return Ok(draw());
        };
        for _ in 0..DRAWS {
            match draw() {
                Some(arch) if !self.admits(&arch)? => {}
                drawn => return Ok(drawn),
            }
        }
        Err(limited.shortfall())
    }

    /// The error of a strategy that has nothing left to propose because of the limits; `None` without limits.
    #[must_use]
    pub fn nothing_left(&self) -> Option<StrategyError> {
        self.0.as_ref().map(|limited| limited.shortfall())
    }
}

impl Limited {
    fn admits(&self, arch: &Arch) -> Result<bool, StrategyError> {
        let completion = || self.meter.completion(arch);
        let within = self.counted(arch) && completion().is_none_or(|full| self.counted(&full));
        match self.limits.latency {
            Some(limit) if within => {
                Ok(self.compare(Quantity::Latency, limit, self.latency(arch, limit)?))
            }
            _ => Ok(within),
        }
    }

    /// Whether it is within the limits that need no measurement.
    fn counted(&self, arch: &Arch) -> bool {
        let Some(cost) = self.meter.cost(arch) else {
            return false;
        };
        let mut within = true;
        for (quantity, limit, value) in self.limits.counted(cost) {
            within &= self.compare(quantity, limit, value);
        }
        within
    }

    fn compare(&self, quantity: Quantity, limit: f64, value: f64) -> bool {
        let mut seen = self.seen.borrow_mut();
        let smallest = seen.smallest.entry(quantity).or_insert(value);
        *smallest = smallest.min(value);
        value <= limit
    }

    fn latency(&self, arch: &Arch, limit: f64) -> Result<f64, StrategyError> {
        let key = self.space.key(arch);
        if let Some(&known) = self.seen.borrow().known.get(&key) {
            return Ok(known);
        }
        let error = |source: Box<dyn std::error::Error + Send + Sync>| StrategyError::Latency {
            arch: arch.to_string(),
            source,
        };
        let seconds = self.meter.latency(arch).map_err(|e| error(e.into()))?;
        tracing::debug!(%arch, seconds, "latency measured");
        let mut seen = self.seen.borrow_mut();
        if let Some(lines) = &mut seen.lines {
            let record = LatencyRecord {
                arch: key.clone(),
                seconds,
            };
            lines.push(&record).map_err(|e| error(e.into()))?;
        }
        seen.known.insert(key, seconds);
        seen.slow_in_a_row = if seconds <= limit {
            0
        } else {
            seen.slow_in_a_row + 1
        };
        Ok(seconds)
    }

    fn shortfall(&self) -> StrategyError {
        let seen = self.seen.borrow();
        let limits = [
            (
                Quantity::Params,
                self.limits.params.map(|limit| limit as f64),
            ),
            (Quantity::Macs, self.limits.macs.map(|limit| limit as f64)),
            (Quantity::Latency, self.limits.latency),
        ];
        let limited = limits.into_iter().filter_map(|(quantity, limit)| {
            Some(Shortfall {
                quantity,
                limit: limit?,
                smallest: seen.smallest.get(&quantity).copied(),
            })
        });
        StrategyError::Limits {
            refused: seen.refused_in_a_row,
            limits: limited.collect(),
        }
    }
}
