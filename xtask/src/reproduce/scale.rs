//! How thoroughly a reproduction runs: its searches, networks and seeds.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scale {
    /// Minutes on two cores, on few built-in images: shows that everything runs.
    Smoke,
    /// Hours on two cores, on CIFAR-10: small spaces, small networks, few epochs.
    Cpu,
    /// The paper's settings: GPU-days.
    Paper,
}

/// A search space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Macro,
    Micro,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Macro => "macro",
            Kind::Micro => "micro",
        }
    }
}

impl Scale {
    pub(super) fn name(self) -> &'static str {
        match self {
            Scale::Smoke => "smoke",
            Scale::Cpu => "cpu",
            Scale::Paper => "paper",
        }
    }

    /// Seeds by default.
    pub(super) fn seeds(self) -> u64 {
        match self {
            Scale::Smoke | Scale::Cpu => 2,
            Scale::Paper => 1,
        }
    }

    /// Iterations of the searches that compare them.
    pub(super) fn iterations(self) -> usize {
        match self {
            Scale::Smoke => 2,
            Scale::Cpu | Scale::Paper => 3,
        }
    }

    /// Epochs of a child of the macro space, as the configuration has them.
    pub(super) fn child_epochs(self) -> usize {
        match self {
            Scale::Smoke => 1,
            Scale::Cpu => 2,
            Scale::Paper => 3,
        }
    }

    /// The configuration of search and final training.
    pub(super) fn config(self, root: &Path, kind: Kind) -> PathBuf {
        let kind = kind.name();
        root.join(match self {
            Scale::Smoke => format!("xtask/src/reproduce/smoke-{kind}.toml"),
            Scale::Cpu => format!("configs/cifar10-quick-{kind}.toml"),
            Scale::Paper => format!("configs/cifar10-{kind}.toml"),
        })
    }

    /// What the pages that compare many searches set on top of the configuration, so that all of them take about an hour.
    pub(super) fn lighter(self) -> &'static [&'static str] {
        match self {
            Scale::Smoke | Scale::Paper => &[],
            Scale::Cpu => &[
                "data.train_limit=3000",
                "network.channels=8",
                "search.children_per_step=4",
                "select.epochs=10",
            ],
        }
    }

    /// What those pages do otherwise than the paper.
    pub(super) fn lighter_deviations(self) -> &'static [&'static str] {
        match self {
            Scale::Smoke | Scale::Paper => self.deviations(),
            Scale::Cpu => &[
                "A space of 6 layers instead of 12; children of 8 channels instead of 24, 4 a step instead of 25, trained \
                 on 3,000 of the 45,000 images for 2 epochs instead of 3.",
                "The best three of each search are retrained from scratch for 10 epochs on the same 3,000 images, and the best \
                 of them is told: accuracies are far below what the same networks reach in a full training.",
            ],
        }
    }

    /// Channels of the found networks: as the configuration has them, and more.
    pub(super) fn channels(self, kind: Kind) -> [usize; 2] {
        match (self, kind) {
            (Scale::Smoke, Kind::Macro) => [12, 24],
            (Scale::Smoke, Kind::Micro) => [8, 16],
            (Scale::Cpu, Kind::Macro) => [24, 48],
            (Scale::Cpu, Kind::Micro) => [16, 32],
            (Scale::Paper, Kind::Macro) => [200, 512],
            (Scale::Paper, Kind::Micro) => [96, 128],
        }
    }

    /// The networks made by hand: residual and densely connected.
    pub(super) fn hand_made(self) -> [&'static str; 2] {
        match self {
            Scale::Smoke => ["resnet:8", "densenet:13k8"],
            Scale::Cpu => ["resnet:20", "densenet:22k12"],
            Scale::Paper => ["resnet:110", "densenet-bc:190k40"],
        }
    }

    /// What this scale does otherwise than the paper.
    pub(super) fn deviations(self) -> &'static [&'static str] {
        match self {
            Scale::Smoke => &[
                "Images are the built-in synthetic ones, 4,000 of 16x16 pixels and 10 classes. The errors show that everything runs; they say \
                 nothing about CIFAR-10 and are not to be compared with the paper's.",
                "Spaces of 3 layers and 2 blocks, one iteration unless told, children trained for one epoch on 640 and 256 images, final \
                 trainings of 4 epochs, hand-made networks of 8 and 13 layers.",
            ],
            Scale::Cpu => &[
                "Spaces of 6 layers and 3 blocks instead of 12 and 5; children of 16 and 8 channels instead of 24, trained on \
                 4,500 and 6,000 of the 45,000 images, for 2 epochs and 1 instead of 3; 6 and 8 children a step instead \
                 of 25; 2 iterations of which the second refines.",
                "Final trainings of 10 epochs at batch 128 and a learning rate of 0.05 instead of NASNet's 600 epochs: errors \
                 are far above what the same networks reach.",
                "Hand-made networks of 20 and 22 layers instead of the paper's 110 and 190.",
            ],
            Scale::Paper => &[
                "Three iterations; the paper ran three to five and does not say how many gave the table.",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_exist_and_have_the_channels_that_are_told() {
        let root = crate::workspace_root();
        for scale in [Scale::Smoke, Scale::Cpu, Scale::Paper] {
            for kind in [Kind::Macro, Kind::Micro] {
                let file = scale.config(&root, kind);
                let text = std::fs::read_to_string(&file).unwrap();
                let train = text.split("[train]").nth(1).unwrap();
                let expected = format!("\nchannels = {}", scale.channels(kind)[0]);
                assert!(train.contains(&expected), "{}", file.display());
                if kind == Kind::Macro {
                    let children = text.split("[training]").nth(1).unwrap();
                    let expected = format!("\nepochs = {}", scale.child_epochs());
                    assert!(children.contains(&expected), "{}", file.display());
                }
            }
        }
    }
}
