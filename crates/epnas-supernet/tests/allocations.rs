//! A training step works in memory that was allocated before: what it still allocates are lists of a few entries.
//!
//! A binary of its own, because it counts every allocation of the process.

use epnas_arch::{Arch, Network, NetworkConfig, Shape};
use epnas_supernet::{Mode, Optimizer, Plan, TrainConfig, WeightStore};

#[global_allocator]
static COUNTED: dhat::Alloc = dhat::Alloc;

/// Bytes that a step may allocate for each image and operator on average, all added up however soon they are freed: lists
/// of a few windows. A whole activation at full resolution would add a thousand or more.
const MOST: u64 = 400;

#[test]
fn a_training_step_allocates_no_activation() {
    let profiler = dhat::Profiler::builder().testing().build();
    for text in [
        "macro:c3.0/d3.1/c5.1+2/mp.0+3",
        "micro:d5.-2+mp.-2/c3.-1+id.-1/d3.0+c3.-1/ap.-1+d5.1/c5.2+id.-2",
    ] {
        let arch: Arch = text.parse().expect("an architecture");
        let config = NetworkConfig {
            cells_per_stage: 1,
            ..NetworkConfig::default()
        };
        let shape = Shape::new(32, 32, 3);
        let network = Network::build(&arch, arch.len(), &config, shape, 10).expect("a network");
        let mut weights = WeightStore::new(1);
        let mut plan = Plan::compile(&network, &mut weights, 64, Mode::Train).expect("a plan");
        let mut optimizer =
            Optimizer::new(&TrainConfig::fast(), plan.parameters()).expect("an optimizer");
        let mut step = || {
            let filled = plan.fill(|pixels, labels| {
                pixels.fill(0.5);
                labels.fill(3);
            });
            filled.expect("a batch");
            plan.forward().expect("forward");
            plan.loss().expect("loss");
            plan.backward().expect("backward");
            optimizer.step(1e-3).expect("update");
        };
        // Scratch memory grows to what the operators need, on whichever thread they come to.
        for _ in 0..12 {
            step();
        }
        let before = dhat::HeapStats::get();
        step();
        let after = dhat::HeapStats::get();
        let operators = plan.describe().steps.len() as u64;
        let bytes = (after.total_bytes - before.total_bytes) / (64 * operators);
        println!("{text}: {bytes} bytes for each image and operator");
        assert!(
            bytes < MOST,
            "{text}: {bytes} bytes for each image and operator"
        );
    }
    drop(profiler);
}
