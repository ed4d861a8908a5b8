//! Accuracy against cost: what nothing beats that costs no more.

use crate::history::Record;

/// The Pareto front of `records`, cheapest first: those than which none is at least as good in both estimate and cost,
/// and better in one. Of several with the same estimate and the same cost the earliest stands for all; records without
/// either are left out.
#[must_use]
pub fn pareto<'r>(
    records: &[&'r Record],
    cost: impl Fn(&Record) -> Option<u64>,
) -> Vec<&'r Record> {
    let priced = records
        .iter()
        .filter_map(|&record| Some((cost(record)?, record.estimate?, record)));
    let mut priced: Vec<(u64, f64, &Record)> = priced.collect();
    priced.sort_by(|a, b| {
        let by_cost = a.0.cmp(&b.0).then(b.1.total_cmp(&a.1));
        by_cost.then(a.2.index.cmp(&b.2.index))
    });
    let mut highest = f64::NEG_INFINITY;
    priced.retain(|&(_, estimate, _)| {
        let gains = estimate > highest;
        highest = highest.max(estimate);
        gains
    });
    priced.into_iter().map(|(_, _, record)| record).collect()
}
