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
/// with at least one image of every class of two or more on both sides. A class of one image is trained on and does not
/// validate. Classes without a validation image are logged as a warning.
///
/// # Errors
/// [`DataError::Config`] when the sizes do not fit the data: validation not smaller than the training set, too few
/// images for one of every class on both sides, a fixed split that leaves a class without training images, a limit
/// below one image per class. [`DataError::Label`] for a label that is not below the number of classes.
pub fn split(dataset: &Dataset, config: &DataConfig, seed: u64) -> Result<Split, DataError> {
    config.validate()?;
    let total = dataset.train.len();
    let classes = dataset.classes.len();
    let unknown = |&label: &u32| label as usize >= classes;
    if let Some(index) = dataset.train.labels.iter().position(unknown) {
        return Err(DataError::Label {
            dataset: dataset.name.clone(),
            index,
            label: dataset.train.labels[index],
            classes,
        });
    }
    let validation = config.validation.of(total);
    let bad = |expected: String| DataError::config("validation", config.validation, expected);
    let all = by_class(&dataset.train, 0..total as u32, classes);
    if validation >= total {
        return Err(bad(format!(
            "fewer images than the {total} training images of {}, or a share of them such as 0.2",
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
        SplitKind::Stratified => stratified(&all, validation, seed).map_err(|expected| {
            bad(format!(
                "{expected} training images of {}, got {validation}",
                dataset.name
            ))
        })?,
    };
    let counts: Vec<usize> = by_class(&dataset.train, validation.iter().copied(), classes)
        .iter()
        .map(Vec::len)
        .collect();
    let missing = without_images(&dataset.classes, &counts);
    if !missing.is_empty() {
        tracing::warn!(
            dataset = dataset.name,
            classes = missing,
            "classes without a validation image"
        );
    }
    if let Some(limit) = config.train_limit.filter(|&limit| limit < train.len()) {
        let groups = by_class(&dataset.train, train.iter().copied(), classes);
        train = limited(&groups, limit, mix(seed ^ LIMIT_SEED))
            .map_err(|expected| DataError::config("train_limit", limit, expected))?;
    }
    Ok(Split { train, validation })
}

/// Sets the seed of `train_limit` apart from that of the split.
const LIMIT_SEED: u64 = 0x7472_6169_6e5f_6c69; // "train_li"

/// Draws `take` images of `groups` (one per class) so that every class keeps its share, with at least one image of
/// every class of two or more on both sides; the single image of a class stays in the rest. Returns the rest and the
/// drawn, both ascending.
///
/// The error says how many may be drawn.
pub(crate) fn stratified(
    groups: &[Vec<u32>],
    take: usize,
    seed: u64,
) -> Result<(Vec<u32>, Vec<u32>), String> {
    let total: usize = groups.iter().map(Vec::len).sum();
    let divisible = groups.iter().filter(|group| group.len() > 1).count();
    let present = groups.iter().filter(|group| !group.is_empty()).count();
    if divisible == 0 {
        return Err("at least 2 images of some class to divide".to_owned());
    }
    if take < divisible || take > total - present {
        return Err(format!(
            "{divisible} to {} images, so that {} on both sides, out of the {total}",
            total - present,
            match divisible {
                1 => "the 1 class of two or more has one".to_owned(),
                n => format!("each of the {n} classes of two or more has one"),
            }
        ));
    }
    Ok(draw(groups, take, seed, |size| {
        (usize::from(size > 1), size.saturating_sub(1))
    }))
}

/// Draws `take` images of `groups` so that every class keeps its share and has at least one among them, ascending.
///
/// The error says how many may be drawn.
fn limited(groups: &[Vec<u32>], take: usize, seed: u64) -> Result<Vec<u32>, String> {
    let present = groups.iter().filter(|group| !group.is_empty()).count();
    if take < present {
        return Err(format!(
            "at least {present}, one image for each of the {present} classes"
        ));
    }
    Ok(draw(groups, take, seed, |size| (size.min(1), size)).1)
}

/// The rest and the drawn. `bounds` gives the least and the most to draw of a class of some size.
fn draw(
    groups: &[Vec<u32>],
    take: usize,
    seed: u64,
    bounds: impl Fn(usize) -> (usize, usize),
) -> (Vec<u32>, Vec<u32>) {
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let quotas = quotas(&sizes, take, bounds);
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
    (rest, drawn)
}

/// The images at `indices` by their class. Every label must be below `classes`.
pub(crate) fn by_class(
    images: &Images,
    indices: impl Iterator<Item = u32>,
    classes: usize,
) -> Vec<Vec<u32>> {
    let mut groups = vec![Vec::new(); classes];
    for index in indices {
        groups[images.labels[index as usize] as usize].push(index);
    }
    groups
}

/// The names of the classes without images, in one line.
pub(crate) fn without_images(classes: &[String], counts: &[usize]) -> String {
    let named: Vec<&str> = classes
        .iter()
        .zip(counts)
        .filter(|&(_, &count)| count == 0)
        .map(|(name, _)| name.as_str())
        .collect();
    named.join(", ")
}

/// Shares `take` among groups of these sizes in proportion: largest remainders, within the `bounds` of each size. The
/// caller has made sure that such a division exists.
fn quotas(sizes: &[usize], take: usize, bounds: impl Fn(usize) -> (usize, usize)) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    let bounds: Vec<(usize, usize)> = sizes.iter().map(|&size| bounds(size)).collect();
    let mut quotas: Vec<usize> = sizes
        .iter()
        .zip(&bounds)
        .map(|(&size, &(least, most))| (size * take / total.max(1)).clamp(least, most))
        .collect();
    // Hand out (or take back) what rounding left over, one image at a time, where the exact share is missed most.
    // Integers: share * total - quota * total, ties to the first class.
    loop {
        let given: usize = quotas.iter().sum();
        let error = |i: usize| (sizes[i] * take) as i128 - (quotas[i] * total) as i128;
        let candidates = 0..sizes.len();
        let step = if given < take {
            candidates
                .filter(|&i| quotas[i] < bounds[i].1)
                .max_by_key(|&i| (error(i), std::cmp::Reverse(i)))
                .map(|i| (i, quotas[i] + 1))
        } else if given > take {
            candidates
                .filter(|&i| quotas[i] > bounds[i].0)
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
    #[test]
    fn largest_remainders() {
        let quotas = |sizes: &[usize], take| {
            super::quotas(sizes, take, |size| {
                (usize::from(size > 1), size.saturating_sub(1))
            })
        };
        // Exact shares 2.5, 1.5, 1.0 of 5 out of 10: floors 2, 1, 1; the spare one goes to the first of the equals.
        assert_eq!(quotas(&[5, 3, 2], 5), [3, 1, 1]);
        assert_eq!(quotas(&[5000; 10], 5000), [500; 10]);
        // The share of the small class is 0.2; it gets one image, the large one gives it.
        assert_eq!(quotas(&[98, 2], 10), [9, 1]);
        assert_eq!(quotas(&[98, 2], 90), [89, 1]);
        assert_eq!(quotas(&[4, 0, 4], 4), [2, 0, 2]);
        // A class of one gives none, whatever its share.
        assert_eq!(quotas(&[4, 1, 4], 6), [3, 0, 3]);
    }

    #[test]
    fn a_limit_takes_all_of_a_small_class_before_none() {
        // Shares of 8 out of 10: 7.2 and 0.8; the class of one stays, and all but two of the other.
        assert_eq!(
            super::quotas(&[9, 1], 8, |size| (size.min(1), size)),
            [7, 1]
        );
        assert_eq!(
            super::quotas(&[9, 1], 10, |size| (size.min(1), size)),
            [9, 1]
        );
    }
}
