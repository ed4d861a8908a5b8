//! What a network may cost: the `[search.limits]` section, and what a network within it is compared with.

use std::fmt;
use std::time::Duration;

use epnas_arch::Cost;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::SettingsError;

/// The network of an architecture that limits hold for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitedNetwork {
    /// That of the search (`[network]`), as the child's line of `history.jsonl` has it.
    #[default]
    Search,
    /// That of the final training (`[train]`).
    Train,
}

/// The `[search.limits]` section: what every child may cost at most. Candidates beyond a limit are taken out before
/// children are drawn, and so are those that can only grow beyond a limit of parameters or multiply-accumulates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Trainable parameters at most. Default none; at least 1.
    pub params: Option<u64>,
    /// Multiply-accumulates per image at most. Default none; at least 1.
    pub macs: Option<u64>,
    /// Time of one image through the network at most, such as "20ms" or "800us": batches of one, in evaluation mode,
    /// measured on the device of the run as a median. Measurements differ from run to run: what was measured is kept in
    /// `latency.jsonl`, and the same search comes out of the same file only. Default none; above zero.
    pub latency: Option<String>,
    /// Which network of an architecture is within the limits: "search" (default), with the channels and cells of children,
    /// or "train", with those of the final training.
    pub network: LimitedNetwork,
}

impl LimitsConfig {
    /// The limits as numbers.
    ///
    /// # Errors
    /// [`SettingsError::Value`] for one that is not above zero.
    pub fn parse(&self) -> Result<Limits, SettingsError> {
        for (quantity, limit) in [(Quantity::Params, self.params), (Quantity::Macs, self.macs)] {
            if limit == Some(0) {
                return Err(SettingsError::value(quantity.key(), 0, "at least 1"));
            }
        }
        let latency = |text: &String| match humantime::parse_duration(text) {
            Ok(limit) if !limit.is_zero() => Ok(limit.as_secs_f64()),
            _ => Err(SettingsError::value(
                Quantity::Latency.key(),
                format!("\"{text}\""),
                "a duration above zero such as \"20ms\" or \"800us\"",
            )),
        };
        Ok(Limits {
            params: self.params,
            macs: self.macs,
            latency: self.latency.as_ref().map(latency).transpose()?,
        })
    }
}

/// Something that a network needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    /// Trainable parameters.
    Params,
    /// Multiply-accumulates per image.
    Macs,
    /// Seconds of one image.
    Latency,
}

impl Quantity {
    /// The key of its limit.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Quantity::Params => "search.limits.params",
            Quantity::Macs => "search.limits.macs",
            Quantity::Latency => "search.limits.latency",
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Quantity::Latency => {
                let microseconds = Duration::from_micros((1e6 * value).round() as u64);
                humantime::format_duration(microseconds).to_string()
            }
            _ => value.to_string(),
        }
    }
}

/// What a network may need at most; the default has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Trainable parameters.
    pub params: Option<u64>,
    /// Multiply-accumulates per image.
    pub macs: Option<u64>,
    /// Seconds of one image.
    pub latency: Option<f64>,
}

impl Limits {
    /// Whether everything is within them.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// The limits that a count decides, each with what a network of this cost has.
    pub(crate) fn counted(&self, cost: Cost) -> impl Iterator<Item = (Quantity, f64, f64)> {
        let pairs = [
            (Quantity::Params, self.params, cost.params),
            (Quantity::Macs, self.macs, cost.macs),
        ];
        let limited = |(quantity, limit, value): (_, Option<u64>, u64)| {
            Some((quantity, limit? as f64, value as f64))
        };
        pairs.into_iter().filter_map(limited)
    }
}

/// A limit, and how near to it the candidates came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shortfall {
    /// What is limited.
    pub quantity: Quantity,
    /// The limit.
    pub limit: f64,
    /// The smallest that was seen; `None` when none is known.
    pub smallest: Option<f64>,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            quantity,
            limit,
            smallest,
        } = *self;
        write!(f, "{} = {}, ", quantity.key(), quantity.text(limit))?;
        match smallest {
            Some(smallest) => write!(f, "the smallest seen is {}", quantity.text(smallest)),
            None => f.write_str("none is known"),
        }
    }
}
