//! Whole training steps of the networks that searches train, without augmentation: images a second as elements.
//!
//! `cargo bench -p epnas-supernet`; `cargo xtask bench --peer` compares these networks and others with PyTorch.

// The macros of criterion make public functions without documentation.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use epnas_arch::{Arch, Network, NetworkConfig, Shape};
use epnas_supernet::{Mode, Optimizer, Plan, TrainConfig, WeightStore};

const BATCH: usize = 64;

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, text) in [
        ("macro-L4", "macro:c3.0/d3.1/c5.1+2/mp.0+3"),
        (
            "macro-L8",
            "macro:c3.0/c5.1/d3.0+2/mp.1+3/c3.0+3+4/d5.2+5/ap.1+5+6/c5.3+4+7",
        ),
        (
            "micro-B5",
            "micro:d5.-2+mp.-2/c3.-1+id.-1/d3.0+c3.-1/ap.-1+d5.1/c5.2+id.-2",
        ),
    ] {
        let arch: Arch = text.parse().expect("an architecture");
        let config = NetworkConfig::default();
        let network = Network::build(&arch, arch.len(), &config, Shape::new(32, 32, 3), 10)
            .expect("a network");
        let mut weights = WeightStore::new(1);
        let mut plan = Plan::compile(&network, &mut weights, BATCH, Mode::Train).expect("a plan");
        let mut optimizer =
            Optimizer::new(&TrainConfig::fast(), plan.parameters()).expect("an optimizer");
        plan.fill(|pixels, labels| {
            for (i, pixel) in pixels.iter_mut().enumerate() {
                *pixel = (i * 7919 % 257) as f32 / 128.0 - 1.0;
            }
            for (i, label) in labels.iter_mut().enumerate() {
                *label = i as u32 % 10;
            }
        })
        .expect("a batch");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                plan.forward().expect("forward");
                plan.loss().expect("loss");
                plan.backward().expect("backward");
                optimizer.step(1e-6).expect("update")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
