//! Histograms as TensorBoard makes them itself.

use super::plottable;
use super::proto::Histogram;

/// Buckets of a histogram of different values.
const BUCKETS: usize = 30;

/// The histogram of the finite ones among some values: 30 buckets of equal width from the smallest to the largest, closed
/// on the left, the last one on both sides; one bucket when all are the same. `None` when there is none.
pub(super) fn histogram(values: &[f64]) -> Option<Histogram> {
    let values: Vec<f64> = values
        .iter()
        .copied()
        .filter(|&value| plottable(value).is_some())
        .collect();
    let min = values.iter().copied().reduce(f64::min)?;
    let max = values.iter().copied().reduce(f64::max)?;
    let buckets = if min < max { BUCKETS } else { 1 };
    let last = buckets - 1;
    let width = max - min;
    let mut bucket = vec![0.0; buckets];
    for value in &values {
        // One that rounding, or being the largest, puts behind the last belongs to it.
        let place = match width > 0.0 {
            true => ((value - min) / width * buckets as f64) as usize,
            false => 0,
        };
        bucket[place.min(last)] += 1.0;
    }
    let limit = |place: usize| match place == last {
        true => max,
        false => min + width * (place + 1) as f64 / buckets as f64,
    };
    Some(Histogram {
        min,
        max,
        num: values.len() as f64,
        sum: values.iter().sum(),
        sum_squares: values.iter().map(|value| value * value).sum(),
        bucket_limit: (0..buckets).map(limit).collect(),
        bucket,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_in_even_buckets() {
        // From 0 to 3: a bucket each 0.1, so 0.25 lies in the third and 1.5 begins the sixteenth.
        let found = histogram(&[3.0, 0.0, 0.25, 1.5, 0.25, f64::NAN]).expect("values");
        let filled: Vec<_> = found
            .bucket
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0.0)
            .collect();
        assert_eq!(filled, [(0, &1.0), (2, &2.0), (15, &1.0), (29, &1.0)]);
        assert_eq!((found.min, found.max, found.num), (0.0, 3.0, 5.0));
        // 3 + 0 + 0.25 + 1.5 + 0.25, and 9 + 0 + 0.0625 + 2.25 + 0.0625.
        assert_eq!((found.sum, found.sum_squares), (5.0, 11.375));
        assert_eq!(found.bucket_limit.len(), 30);
        for (place, limit) in found.bucket_limit.iter().enumerate() {
            assert!((limit - 0.1 * (place + 1) as f64).abs() < 1e-12, "{limit}");
        }
        assert_eq!(found.bucket_limit.last(), Some(&3.0));
    }

    #[test]
    fn equal_values_share_one_bucket_and_none_have_none() {
        let found = histogram(&[0.5, 0.5]).expect("values");
        assert_eq!((found.bucket, found.bucket_limit), (vec![2.0], vec![0.5]));
        assert_eq!((found.min, found.max, found.sum), (0.5, 0.5, 1.0));
        assert_eq!(histogram(&[]), None);
        assert_eq!(histogram(&[f64::INFINITY, f64::NAN, 1e300]), None);
    }
}
