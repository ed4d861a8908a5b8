//! Accuracies in one line: a column for each, an eighth to a whole block high.

/// From the lowest to the highest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where all are as high as one another.
const LEVEL: char = '▄';

/// What failed: a gap at an end could not be seen.
const FAILED: char = 'x';

/// The columns of `values`, and the lowest and highest of them; nothing where there is no value.
pub(super) fn sparkline(values: &[Option<f64>]) -> Option<(String, f64, f64)> {
    let known = || values.iter().flatten().copied();
    let lowest = known().reduce(f64::min)?;
    let highest = known().reduce(f64::max)?;
    let column = |value: f64| {
        if highest <= lowest {
            return LEVEL;
        }
        let height = (value - lowest) / (highest - lowest) * 7.0;
        BLOCKS[(height.round() as usize).min(7)]
    };
    let columns = values
        .iter()
        .map(|value| value.map_or(FAILED, column))
        .collect();
    Some((columns, lowest, highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(values: &[Option<f64>]) -> Option<String> {
        sparkline(values).map(|(columns, ..)| columns)
    }

    #[test]
    fn columns_are_scaled_between_the_lowest_and_the_highest() {
        let values: Vec<_> = (0..8).map(|n| Some(0.2 + 0.01 * f64::from(n))).collect();
        let (columns, lowest, highest) = sparkline(&values).expect("columns");
        assert_eq!(columns, "▁▂▃▄▅▆▇█");
        assert!((lowest - 0.2).abs() < 1e-9 && (highest - 0.27).abs() < 1e-9);
        assert_eq!(
            self::columns(&[Some(1.0), Some(0.0)]).as_deref(),
            Some("█▁")
        );
    }

    #[test]
    fn one_alone_and_equals_are_level() {
        assert_eq!(columns(&[Some(0.3)]).as_deref(), Some("▄"));
        assert_eq!(columns(&[Some(0.0); 3]).as_deref(), Some("▄▄▄"));
    }

    #[test]
    fn a_failure_is_marked_and_does_not_scale() {
        let values = [Some(0.5), None, Some(0.9), None];
        assert_eq!(columns(&values).as_deref(), Some("▁x█x"));
        assert_eq!(columns(&[None, None]), None);
        assert_eq!(columns(&[]), None);
    }
}
