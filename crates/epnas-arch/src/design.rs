//! What a network is built from: an architecture of a search space, or a design made by hand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Arch, HandMade, Network, NetworkConfig, NetworkError, ParseArchError, ParseHandMadeError, Shape,
};

/// An architecture or a hand-made network, with the text and JSON forms of each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Design {
    /// Of a search space.
    Arch(Arch),
    /// By hand.
    HandMade(HandMade),
}

impl Design {
    /// Its network. `space_len` and `config` are as in [`Network::build`]; a hand-made network uses neither.
    ///
    /// # Errors
    /// As [`Network::build`] and [`Network::hand_made`].
    pub fn network(
        &self,
        space_len: usize,
        config: &NetworkConfig,
        input: Shape,
        classes: usize,
    ) -> Result<Network, NetworkError> {
        match self {
            Design::Arch(arch) => Network::build(arch, space_len, config, input, classes),
            Design::HandMade(network) => Network::hand_made(network, input, classes),
        }
    }
}

impl From<Arch> for Design {
    fn from(arch: Arch) -> Design {
        Design::Arch(arch)
    }
}

impl From<HandMade> for Design {
    fn from(network: HandMade) -> Design {
        Design::HandMade(network)
    }
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Design::Arch(arch) => arch.fmt(f),
            Design::HandMade(network) => network.fmt(f),
        }
    }
}

/// A text that is neither an architecture nor a hand-made network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseDesignError {
    /// No architecture.
    #[error(transparent)]
    Arch(#[from] ParseArchError),
    /// No hand-made network, though it starts like one.
    #[error(transparent)]
    HandMade(#[from] ParseHandMadeError),
}

impl FromStr for Design {
    type Err = ParseDesignError;

    fn from_str(text: &str) -> Result<Self, ParseDesignError> {
        if HandMade::is_prefix_of(text) {
            return Ok(Design::HandMade(text.parse()?));
        }
        Ok(Design::Arch(text.parse()?))
    }
}
