//! An auxiliary head: a second, smaller classifier in the middle of a network, for training only.

use std::collections::BTreeMap;

use super::build::Builder;
use super::{Activation, Network, NetworkConfig, NetworkError, NodeId, NodeKind, PoolKind};

/// Channels of the two convolutions, as NASNet's on CIFAR.
const CHANNELS: [usize; 2] = [128, 768];

impl Network {
    /// The network with an auxiliary head (Szegedy et al., 2015; Zoph et al., 2018) before its own, which stays last.
    ///
    /// It reads the first layer or cell after two thirds of those that the network has, at the latest the last but one:
    /// average pooling at stride 2, 1x1 convolution to 128 channels, batch norm, ReLU, 3x3 convolution at stride 2 to 768
    /// channels, batch norm, ReLU, global average, linear layer. (NASNet's has windows without padding that need images of
    /// 32 pixels; this one takes any size.) Its parameters' paths begin with `auxiliary.`.
    ///
    /// # Errors
    /// [`NetworkError::NoAuxiliaryHead`] for a hand-made network, and for one with a single layer or cell.
    pub fn with_auxiliary_head(&self) -> Result<Network, NetworkError> {
        let place = self.two_thirds().ok_or(NetworkError::NoAuxiliaryHead)?;
        let config = NetworkConfig::default();
        let mut nodes = self.nodes.clone();
        let head = nodes.pop().ok_or(NetworkError::NoAuxiliaryHead)?;
        let mut builder = Builder::of(&config, nodes);
        let pooled = builder.pool("auxiliary.pool", place, PoolKind::Avg, 2);
        let [narrow, wide] = CHANNELS;
        let first = [(pooled, "auxiliary.narrow")];
        let first = builder.conv("auxiliary.narrow", &first, 1, 1, narrow);
        let first = builder.batch_norm("auxiliary.narrow.bn", first, Activation::Relu);
        let second = [(first, "auxiliary.wide")];
        let second = builder.conv("auxiliary.wide", &second, 3, 2, wide);
        let second = builder.batch_norm("auxiliary.wide.bn", second, Activation::Relu);
        builder.head_at("auxiliary.head", &[second], self.classes);
        let mut nodes = builder.into_nodes();
        nodes.push(head);
        Ok(Network { nodes, ..*self })
    }

    /// The auxiliary head, if there is one.
    pub fn auxiliary_head(&self) -> Option<NodeId> {
        let others = 0..self.nodes.len().saturating_sub(1);
        others
            .into_iter()
            .find(|&node| matches!(self.nodes[node].kind, NodeKind::Head { .. }))
    }

    /// The output of the first layer or cell behind two thirds of them, but not the last one's.
    fn two_thirds(&self) -> Option<NodeId> {
        // By the number in the labels; the last node of a number is the layer's or cell's output.
        let mut outputs: BTreeMap<usize, NodeId> = BTreeMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            let mut parts = node.label.split('.');
            if let (Some("layer" | "cell"), Some(number)) = (parts.next(), parts.next())
                && let Ok(number) = number.parse()
            {
                outputs.insert(number, id);
            }
        }
        let count = outputs.len();
        let index = (2 * count / 3).min(count.checked_sub(2)?);
        outputs.into_values().nth(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arch, HandMade, Shape};

    const IMAGE: Shape = Shape {
        height: 32,
        width: 32,
        channels: 3,
    };

    fn network(text: &str, cells_per_stage: usize) -> Network {
        let arch: Arch = text.parse().expect("an architecture");
        let config = NetworkConfig {
            channels: 8,
            cells_per_stage,
            ..NetworkConfig::default()
        };
        Network::build(&arch, 12, &config, IMAGE, 10).expect("a network")
    }

    /// The label of the node that the auxiliary head's pooling reads.
    fn place(network: &Network) -> String {
        let with = network.with_auxiliary_head().expect("an auxiliary head");
        let pool = with.node("auxiliary.pool").expect("its pooling");
        with.nodes[pool.inputs[0]].label.clone()
    }

    #[test]
    fn it_stands_behind_two_thirds_and_the_network_stays_as_it_is() {
        // 11 cells: the eighth is the second reduction, as in DARTS (2 * 11 / 3 = 7, counted from 0).
        let micro = network("micro:c3.-1+id.-1", 3);
        assert_eq!(place(&micro), "cell.7.out.bn");
        let twelve = "macro:c3.0/c3.1/c3.2/c3.3/c3.4/c3.5/c3.6/c3.7/c3.8/c3.9/c3.10/mp.11";
        assert_eq!(place(&network(twelve, 1)), "layer.9.conv_3x3.bn");
        // The last layer is never it; layers that nobody reads do not count.
        assert_eq!(place(&network("macro:c3.0/mp.1", 1)), "layer.1.conv_3x3.bn");
        assert_eq!(
            place(&network("macro:c3.0/mp.0/mp.1", 1)),
            "layer.1.conv_3x3.bn"
        );

        let with = micro.with_auxiliary_head().expect("an auxiliary head");
        let own = |node: &&crate::Node| !node.label.starts_with("auxiliary.");
        assert!(
            with.nodes
                .iter()
                .filter(own)
                .zip(&micro.nodes)
                .all(|(a, b)| a == b)
        );
        let head = with.auxiliary_head().expect("it is there");
        assert_eq!(with.nodes[head].label, "auxiliary.head");
        assert_eq!(with.nodes.len(), micro.nodes.len() + 6);
        assert_eq!(micro.auxiliary_head(), None);
        // 8 * 128 + 2 * 128 + 9 * 128 * 768 + 2 * 768 + 768 * 10 + 10.
        assert_eq!(with.params() - micro.params(), 895_242);
    }

    /// Which inputs of sums drop-path may leave out.
    #[test]
    fn branches_are_all_but_identities_and_shortcuts() {
        let labels = |network: &Network| -> Vec<String> {
            let input = |(sum, place): (NodeId, usize)| {
                let node = &network.nodes[network.nodes[sum].inputs[place]];
                node.label.clone()
            };
            network.branches().into_iter().map(input).collect()
        };
        let cells = labels(&network("micro:c3.-1+id.-1/id.0+mp.-1", 1));
        let first: Vec<&String> = cells.iter().filter(|l| l.starts_with("cell.0.")).collect();
        assert_eq!(
            first,
            [
                "cell.0.block.0.0.conv_3x3.bn",
                "cell.0.block.1.1.max_pool_3x3"
            ]
        );
        // At stride 2 an identity is a factorized reduction, but not within the cell.
        let second: Vec<&String> = cells.iter().filter(|l| l.starts_with("cell.1.")).collect();
        assert_eq!(
            second,
            [
                "cell.1.block.0.0.conv_3x3.bn",
                "cell.1.block.0.1.identity.bn",
                "cell.1.block.1.1.max_pool_3x3"
            ]
        );
        let resnet: HandMade = "resnet:8".parse().expect("a network made by hand");
        let resnet = Network::hand_made(&resnet, IMAGE, 10).expect("a network");
        let blocks = [0, 1, 2].map(|stage| format!("stage.{stage}.block.0.2.bn"));
        assert_eq!(labels(&resnet), blocks);
        assert_eq!(labels(&network("macro:c3.0/c5.0+1", 1)), [""; 0]);
    }

    #[test]
    fn some_networks_have_no_place_for_it() {
        let single = network("macro:c3.0", 1);
        assert_eq!(
            single.with_auxiliary_head(),
            Err(NetworkError::NoAuxiliaryHead)
        );
        let resnet: HandMade = "resnet:8".parse().expect("a network made by hand");
        let resnet = Network::hand_made(&resnet, IMAGE, 10).expect("a network");
        let error = resnet
            .with_auxiliary_head()
            .expect_err("no layers or cells");
        assert!(error.to_string().contains("auxiliary"), "{error}");
    }
}
