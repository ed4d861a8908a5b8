//! The networks whose training steps are timed: three macro architectures and a cell as wide as in a search, and a
//! final network.

/// A network of the comparison.
pub(crate) struct Network {
    pub(crate) name: &'static str,
    pub(crate) arch: &'static str,
    pub(crate) channels: usize,
    pub(crate) batch: usize,
}

const FIG4: &str = "macro:c3.0/c3.1/c3.1+2/c5.0+2+3/d3.1+4/c3.2+4+5/c5.0+3+5+6/d5.4+7/mp.1+5+6+8/mp.2+7+8+9/mp.4+6+10/c5.3+5+8+10+11";
const MACRO_L4: &str = "macro:c3.0/d3.1/c5.1+2/mp.0+3";
const MACRO_L8: &str = "macro:c3.0/c5.1/d3.0+2/mp.1+3/c3.0+3+4/d5.2+5/ap.1+5+6/c5.3+4+7";
const MICRO_B5: &str = "micro:d5.-2+mp.-2/c3.-1+id.-1/d3.0+c3.-1/ap.-1+d5.1/c5.2+id.-2";

/// Children of a search: the paper's 24 channels, each network with each batch.
pub(crate) fn of_search(batches: &[usize]) -> Vec<Network> {
    let named = [
        ("macro-L4", MACRO_L4),
        ("macro-L8", MACRO_L8),
        ("fig4", FIG4),
        ("micro-B5", MICRO_B5),
    ];
    let mut networks = Vec::new();
    for (name, arch) in named {
        for &batch in batches {
            networks.push(Network {
                name,
                arch,
                channels: 24,
                batch,
            });
        }
    }
    networks
}

/// A final network, four times as wide.
pub(crate) fn wide(batch: usize) -> Network {
    Network {
        name: "macro-L8",
        arch: MACRO_L8,
        channels: 96,
        batch,
    }
}

impl Network {
    pub(crate) fn title(&self) -> String {
        format!("{} C{} B{}", self.name, self.channels, self.batch)
    }
}
