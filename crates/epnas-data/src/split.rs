//! Dividing the training images into a part to train on and a part to validate on.

use crate::counter::{STEP, mix};
use crate::{DataConfig, DataError, Dataset, Images, SplitKind, epoch_order};

/// Indices into [`Dataset::train`], both ascending, without a common one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The images to train on, at most `train_limit` of them.
    pub train: Vec<u32>,
    /// The images to validate on.
    pub validation: Vec<u32>,
}

/// Divides the training images of `dataset` as `config` says.
///
/// `fixed` takes the last images in the order of the files (CIFAR's usual 45,000 / 5,000); `seed` then matters for
/// `train_limit` only. `stratified` draws by seed so that every class keeps its share, rounded by largest remainders,
/// with at least one image of every class on both sides.
///
/// # Errors
/// [`DataError::Config`] when the sizes do not fit the data: validation not smaller than the training set, a class too
/// small for both sides, a fixed split that leaves a class without training images, a limit below one image per class.
pub fn split(dataset: &Dataset, config: &DataConfig, seed: u64) -> Result<Split, DataError> {
    config.validate()?;
    let total = dataset.train.len();
    let validation = config.validation.of(total);
    let bad = |expected: String| DataError::config("validation", config.validation, expected);
    if validation >= total {
        return Err(bad(format!(
            "fewer images than the {total} training images of {}",
            dataset.name
        )));
    }
    if validation == 0 {
        return Err(bad(format!(
            "a part of the {total} training images of {} that holds at least one image",
            dataset.name
        )));
    }
    let (mut train, validation) = match config.split {
        SplitKind::Fixed => {
            let border = (total - validation) as u32;
            let train: Vec<u32> = (0..border).collect();
            let all = by_class(&dataset.train, 0..total as u32, dataset.classes.len());
            if let Some(class) = all
                .iter()
                .position(|c| c.first().is_some_and(|&i| i >= border))
            {
                return Err(DataError::config(
                    "split",
                    "\"fixed\"",
                    format!(
                        "\"stratified\" for {}: the last {validation} images hold all of class {}",
                        dataset.name, dataset.classes[class]
                    ),
                ));
            }
            (train, (border..total as u32).collect())
        }
        SplitKind::Stratified => stratified(
            &dataset.train,
            &dataset.classes,
            &(0..total as u32).collect::<Vec<_>>(),
            validation,
            seed,
        )
        .map_err(bad)?,
    };
    if let Some(limit) = config.train_limit.filter(|&limit| limit < train.len()) {
        let seed = mix(seed ^ LIMIT_SEED);
        (_, train) = stratified(&dataset.train, &dataset.classes, &train, limit, seed)
            .map_err(|expected| DataError::config("train_limit", limit, expected))?;
    }
    Ok(Split { train, validation })
}

/// Sets the seed of `train_limit` apart from that of the split.
const LIMIT_SEED: u64 = 0x7472_6169_6e5f_6c69; // "train_li"

/// Draws `take` of `indices` so that every class keeps its share; returns the rest and the drawn, both ascending.
///
/// The error says what was expected of the number drawn.
pub(crate) fn stratified(
    images: &Images,
    classes: &[String],
    indices: &[u32],
    take: usize,
    seed: u64,
) -> Result<(Vec<u32>, Vec<u32>), String> {
    let groups = by_class(images, indices.iter().copied(), classes.len());
    let present = groups.iter().filter(|group| !group.is_empty()).count();
    if let Some(class) = groups.iter().position(|group| group.len() == 1) {
        return Err(format!(
            "at least 2 images of every class to divide: class {} has 1",
            classes[class]
        ));
    }
    let total = indices.len();
    if take < present || take > total - present {
        return Err(format!(
            "{present} to {} images, so that each of the {present} classes has one on both sides of the division of {total}",
            total - present
        ));
    }
    let quotas = quotas(&groups.iter().map(Vec::len).collect::<Vec<_>>(), take);
    let (mut rest, mut drawn) = (Vec::new(), Vec::new());
    for (class, (group, quota)) in groups.iter().zip(quotas).enumerate() {
        let order = epoch_order(
            group,
            mix(seed.wrapping_add(STEP.wrapping_mul(class as u64 + 1))),
        );
        drawn.extend_from_slice(&order[..quota]);
        rest.extend_from_slice(&order[quota..]);
    }
    rest.sort_unstable();
    drawn.sort_unstable();
    Ok((rest, drawn))
}

fn by_class(images: &Images, indices: impl Iterator<Item = u32>, classes: usize) -> Vec<Vec<u32>> {
    let mut groups = vec![Vec::new(); classes];
    for index in indices {
        groups[images.labels[index as usize] as usize].push(index);
    }
    groups
}

/// Shares `take` among groups of these sizes in proportion: largest remainders, then at least 1 and at most size - 1
/// wherever a group has two. The caller has made sure that such a division exists.
fn quotas(sizes: &[usize], take: usize) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    let mut quotas: Vec<usize> = sizes
        .iter()
        .map(|&size| size * take / total.max(1))
        .collect();
    let clamp = |size: usize, quota: usize| {
        quota.clamp(size.min(1), size.saturating_sub(1).max(size.min(1)))
    };
    for (quota, &size) in quotas.iter_mut().zip(sizes) {
        *quota = clamp(size, *quota);
    }
    // Hand out (or take back) what rounding left over, one image at a time, where the exact share is missed most.
    // Integers: share * total - quota * total, ties to the first class.
    loop {
        let given: usize = quotas.iter().sum();
        let error = |i: usize| (sizes[i] * take) as i128 - (quotas[i] * total) as i128;
        let candidates = 0..sizes.len();
        let step = if given < take {
            candidates
                .filter(|&i| quotas[i] + 1 < sizes[i])
                .max_by_key(|&i| (error(i), std::cmp::Reverse(i)))
                .map(|i| (i, quotas[i] + 1))
        } else if given > take {
            candidates
                .filter(|&i| quotas[i] > 1)
                .min_by_key(|&i| (error(i), i))
                .map(|i| (i, quotas[i] - 1))
        } else {
            None
        };
        match step {
            Some((i, quota)) => quotas[i] = quota,
            None => return quotas,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quotas;

    #[test]
    fn largest_remainders() {
        // Exact shares 2.5, 1.5, 1.0 of 5 out of 10: floors 2, 1, 1; the spare one goes to the first of the equals.
        assert_eq!(quotas(&[5, 3, 2], 5), [3, 1, 1]);
        assert_eq!(quotas(&[5000; 10], 5000), [500; 10]);
        // The share of the small class is 0.2; it gets one image, the large one gives it.
        assert_eq!(quotas(&[98, 2], 10), [9, 1]);
        assert_eq!(quotas(&[98, 2], 90), [89, 1]);
        assert_eq!(quotas(&[4, 0, 4], 4), [2, 0, 2]);
    }
}
