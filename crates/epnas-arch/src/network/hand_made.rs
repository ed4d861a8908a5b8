//! Networks made by hand, to compare found ones with (the first rows of table 1 of Perez-Rua et al., 2018).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::build::{Builder, check_classes, check_input};
use super::config::check_range;
use super::{Network, NetworkConfig, NetworkError, NodeId, Shape, densenet, resnet};

/// A network for small images that somebody designed.
///
/// Its text form is `resnet:20`, `resnet:20x4` (four times the channels), `densenet:40k12` or `densenet-bc:100k12`;
/// so it is written in JSON too.
///
/// ```
/// use epnas_arch::{HandMade, Network, Shape};
///
/// let resnet: HandMade = "resnet:20".parse()?;
/// let network = Network::hand_made(&resnet, Shape::new(32, 32, 3), 10)?;
/// assert_eq!(network.params(), 272_474);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HandMade {
    /// A residual network (He et al., 2016, section 4.2).
    ///
    /// A convolution 3x3 of 16 channels; 3 stages of n blocks with 16, 32 and 64 channels, each half as large as the one
    /// before; head. A block is two convolutions 3x3, each with batch norm, to which its input is added; ReLU after the
    /// first and after the sum. Where size and channels change, the shortcut is a 1x1 convolution of stride 2 with batch
    /// norm (their option B); CIFAR networks in that paper have option A, zeros for the new channels, which
    /// saves 2,752 parameters.
    ResNet {
        /// Layers with weights on the longest path: 6 n + 2, from 8 to 1202.
        depth: usize,
        /// What the channels are multiplied by, 1 to 64.
        width: usize,
    },
    /// A densely connected network (Huang et al., 2017, section 3).
    ///
    /// A convolution 3x3; 3 blocks of layers, each of which reads what all layers before it in the block gave and gives
    /// `growth` channels; transitions between blocks; batch norm, ReLU and head. Every convolution but the first comes
    /// after a batch norm and a ReLU of its own. Average pooling in transitions is over 3x3 with stride 2, where that paper
    /// has 2x2; there is no dropout.
    DenseNet {
        /// Layers with weights on the longest path: 3 n + 4 from 7 to 304, or 6 n + 4 with bottlenecks, from 10 to 604.
        depth: usize,
        /// Channels that a layer adds, 1 to 256.
        growth: usize,
        /// What layers and transitions are.
        form: DenseForm,
    },
}

/// The two forms of a DenseNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenseForm {
    /// A layer is a convolution 3x3; transitions keep the channels; the first convolution gives 16.
    Plain,
    /// DenseNet-BC: before it a 1x1 convolution to 4 times the growth; transitions halve the channels; the
    /// first convolution gives twice the growth.
    Compressed,
}

/// A text that is no hand-made network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no hand-made network, expected for example resnet:20, resnet:20x4, densenet:40k12 or densenet-bc:100k12"
)]
pub struct ParseHandMadeError(String);

impl HandMade {
    /// Checks depth, width and growth.
    ///
    /// # Errors
    /// A size out of range or a depth that the family does not have.
    pub fn check(&self) -> Result<(), NetworkError> {
        match *self {
            HandMade::ResNet { width, .. } => check_range("ResNet width", width, 1, 64)?,
            HandMade::DenseNet { growth, .. } => check_range("DenseNet growth", growth, 1, 256)?,
        }
        self.per_stage().map(|_| ())
    }

    /// Blocks of a residual stage, or layers of a dense block.
    fn per_stage(&self) -> Result<usize, NetworkError> {
        let (family, depth, (step, rest, most), expected) = match *self {
            HandMade::ResNet { depth, .. } => {
                ("ResNet", depth, (6, 2, 200), "6 n + 2, from 8 to 1202")
            }
            HandMade::DenseNet { depth, form, .. } => match form {
                DenseForm::Plain => ("DenseNet", depth, (3, 4, 100), "3 n + 4, from 7 to 304"),
                DenseForm::Compressed => {
                    ("DenseNet-BC", depth, (6, 4, 100), "6 n + 4, from 10 to 604")
                }
            },
        };
        let found = depth.checked_sub(rest).filter(|d| d % step == 0);
        let found = found.map(|d| d / step).filter(|n| (1..=most).contains(n));
        found.ok_or(NetworkError::Depth {
            family,
            found: depth,
            expected,
        })
    }

    /// Whether a text starts as one of a hand-made network does.
    pub(crate) fn is_prefix_of(text: &str) -> bool {
        text.starts_with("resnet") || text.starts_with("densenet")
    }
}

impl fmt::Display for HandMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandMade::ResNet { depth, width: 1 } => write!(f, "resnet:{depth}"),
            HandMade::ResNet { depth, width } => write!(f, "resnet:{depth}x{width}"),
            HandMade::DenseNet {
                depth,
                growth,
                form,
            } => {
                let family = match form {
                    DenseForm::Plain => "densenet",
                    DenseForm::Compressed => "densenet-bc",
                };
                write!(f, "{family}:{depth}k{growth}")
            }
        }
    }
}

impl FromStr for HandMade {
    type Err = ParseHandMadeError;

    fn from_str(text: &str) -> Result<Self, ParseHandMadeError> {
        parse(text).ok_or_else(|| ParseHandMadeError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<HandMade> {
    let (family, sizes) = text.split_once(':')?;
    let form = match family {
        "resnet" => {
            let (depth, width) = sizes.split_once('x').unwrap_or((sizes, "1"));
            return Some(HandMade::ResNet {
                depth: depth.parse().ok()?,
                width: width.parse().ok()?,
            });
        }
        "densenet" => DenseForm::Plain,
        "densenet-bc" => DenseForm::Compressed,
        _ => return None,
    };
    let (depth, growth) = sizes.split_once('k')?;
    Some(HandMade::DenseNet {
        depth: depth.parse().ok()?,
        growth: growth.parse().ok()?,
        form,
    })
}

impl TryFrom<String> for HandMade {
    type Error = ParseHandMadeError;

    fn try_from(text: String) -> Result<Self, ParseHandMadeError> {
        text.parse()
    }
}

impl From<HandMade> for String {
    fn from(network: HandMade) -> String {
        network.to_string()
    }
}

impl Network {
    /// A network made by hand.
    ///
    /// # Errors
    /// A size out of range or a depth that the family does not have; images or classes as in [`Network::build`].
    pub fn hand_made(
        network: &HandMade,
        input: Shape,
        classes: usize,
    ) -> Result<Network, NetworkError> {
        network.check()?;
        check_input(input)?;
        check_classes(classes)?;
        let config = NetworkConfig::default();
        let (mut builder, image) = Builder::new(&config, input);
        let n = network.per_stage()?;
        let outputs = match *network {
            HandMade::ResNet { width, .. } => {
                vec![resnet::build(&mut builder, image, n, 16 * width)]
            }
            HandMade::DenseNet { growth, form, .. } => {
                densenet::build(&mut builder, image, n, growth, form)
            }
        };
        builder.head(&outputs, 0, classes);
        Ok(builder.finish(input, classes))
    }
}

/// Nodes that are read together, each with the last part of its weight's path.
pub(super) type Joined = Vec<(NodeId, String)>;
