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
    let mut records = records.to_vec();
    records.sort_by_key(|record| record.index);
    let priced = records.into_iter();
    front(priced.filter_map(|record| Some((cost(record)?, record.estimate?, record))))
}

/// The same of anything with cost and accuracy; of equals the first.
pub(crate) fn front<T>(items: impl Iterator<Item = (u64, f64, T)>) -> Vec<T> {
    let mut priced: Vec<(u64, f64, T)> = items.collect();
    priced.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut highest = f64::NEG_INFINITY;
    priced.retain(|&(_, accuracy, _)| {
        let gains = accuracy > highest;
        highest = highest.max(accuracy);
        gains
    });
    priced.into_iter().map(|(_, _, item)| item).collect()
}
