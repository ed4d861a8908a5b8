//! Drawing `k` distinct items in one pass: the Gumbel top-k trick.
//!
//! Successive draws without replacement, each in proportion to the weights that are left, give
//! the same distribution over ordered lists as the `k` largest of `ln w_i + g_i` with independent
//! standard Gumbel numbers `g_i` (Yellott, 1977; Kool, van Hoof, Welling, 2019). The largest comes
//! first. That needs neither the sum of the weights nor the weights of items that are gone, so
//! hundreds of thousands of candidates stream through a heap of `k`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::SampleError;
use crate::noise;
use crate::weight::{LogSumExp, check_score, check_temperature, log_weight};

/// How candidates are chosen by their scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Draw without replacement from the tempered distribution (EPNAS).
    #[default]
    Sample,
    /// Take the highest scores; of equal ones the lower index first (PNAS).
    TopK,
    /// Draw without replacement, every candidate alike; scores are ignored.
    Uniform,
}

/// An item that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Draw {
    /// Index of the item, as it was pushed.
    pub index: u64,
    /// Its score, as it was pushed.
    pub score: f32,
    /// Probability of the item in the distribution of a single draw among all items pushed, accepted or not:
    /// the tempered `q_i` for [`Selection::Sample`], and for [`Selection::TopK`] too (what
    /// sampling would have given it, so that runs compare), `1/n` for [`Selection::Uniform`].
    /// It is not the probability of being among the `k` chosen.
    pub probability: f64,
}

/// An item in the heap, ordered by its key; of equal keys the lower index is the greater.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: f64,
    index: u64,
    score: f32,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key
            .total_cmp(&other.key)
            .then_with(|| other.index.cmp(&self.index))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// Chooses `k` distinct items out of a stream of scores, with memory for `k` of them.
///
/// # Guarantees
/// - For [`Selection::Sample`] the list of [`finish`](Self::finish) is distributed as `k`
///   successive draws without replacement from the tempered distribution, first draw first.
/// - The random number of an item is a function of the generator's state at
///   [`new`](Self::new) and the item's index. Which items are chosen, and their order, does not
///   depend on how scores are batched into pushes, nor on the order of the pushes.
///   (`probability` is a running sum: another order of pushes may change its last bits,
///   another batching does not.)
/// - Where `k` is at least the number of items, all of them come back.
///
/// Every index must be pushed once; a repeated index counts as a second item.
#[derive(Debug, Clone)]
pub struct StreamingSampler {
    selection: Selection,
    k: usize,
    temperature: f64,
    /// Names the random numbers of this draw.
    key: u64,
    /// The `k` best so far, the worst of them on top.
    best: BinaryHeap<Reverse<Entry>>,
    total: LogSumExp,
    items: u64,
}

impl StreamingSampler {
    /// Starts a draw of `k` items at `temperature`. One 64-bit number is taken from `rng`,
    /// whatever the selection, so the generator's later numbers do not depend on it.
    ///
    /// # Errors
    /// [`SampleError::Temperature`] where `temperature` is not a finite number of at least
    /// [`MIN_TEMPERATURE`](crate::MIN_TEMPERATURE).
    pub fn new<R: Rng + ?Sized>(
        selection: Selection,
        k: usize,
        temperature: f64,
        rng: &mut R,
    ) -> Result<Self, SampleError> {
        check_temperature(temperature)?;
        Ok(Self {
            selection,
            k,
            temperature,
            key: rng.next_u64(),
            best: BinaryHeap::new(),
            total: LogSumExp::new(),
            items: 0,
        })
    }

    /// Number of items pushed so far.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Adds the item `index` with its score.
    ///
    /// # Errors
    /// [`SampleError::Score`] where the score is NaN, infinite or negative; the item is then not
    /// added and the sampler can go on.
    pub fn push(&mut self, index: u64, score: f32) -> Result<(), SampleError> {
        check_score(index, score)?;
        self.add(index, score, &mut |_| true);
        Ok(())
    }

    /// Adds the items `first`, `first + 1`, .. with the scores of a slice.
    ///
    /// # Errors
    /// [`SampleError::Score`] with the first offending item; nothing of the slice is then added.
    pub fn extend(&mut self, first: u64, scores: &[f32]) -> Result<(), SampleError> {
        self.extend_where(first, scores, |_| true)
    }

    /// Adds those of the items that `accept` takes: the draw is distributed as if the others had never been there. It is
    /// asked only about items that would be among the `k` best so far, about `k ln(n / k)` of `n`, so it may be slow.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn extend_where(
        &mut self,
        first: u64,
        scores: &[f32],
        mut accept: impl FnMut(u64) -> bool,
    ) -> Result<(), SampleError> {
        for (index, &score) in (first..).zip(scores) {
            check_score(index, score)?;
        }
        for (index, &score) in (first..).zip(scores) {
            self.add(index, score, &mut accept);
        }
        Ok(())
    }

    /// Ends the draw: at most `k` distinct items, in the order of the draw.
    #[must_use]
    pub fn finish(self) -> Vec<Draw> {
        let total = self.total.value();
        let items = self.items as f64;
        let mut best: Vec<Entry> = self.best.into_iter().map(|Reverse(entry)| entry).collect();
        best.sort_unstable_by(|a, b| b.cmp(a));
        best.into_iter()
            .map(|Entry { index, score, .. }| Draw {
                index,
                score,
                probability: match self.selection {
                    Selection::Sample | Selection::TopK => {
                        (log_weight(score, self.temperature) - total).exp()
                    }
                    Selection::Uniform => 1.0 / items,
                },
            })
            .collect()
    }

    fn add(&mut self, index: u64, score: f32, accept: &mut dyn FnMut(u64) -> bool) {
        self.items += 1;
        let key = match self.selection {
            Selection::Sample => {
                let log = log_weight(score, self.temperature);
                self.total.add(log);
                log + noise::gumbel(self.key, index)
            }
            Selection::TopK => {
                self.total.add(log_weight(score, self.temperature));
                // Without the sign of -0.0, which would order it below 0.0.
                f64::from(score.abs())
            }
            Selection::Uniform => noise::uniform(self.key, index),
        };
        let entry = Entry { key, index, score };
        if self.best.len() < self.k {
            if accept(index) {
                self.best.push(Reverse(entry));
            }
        } else if let Some(mut worst) = self.best.peek_mut()
            && entry > worst.0
            && accept(index)
        {
            worst.0 = entry;
        }
    }
}

/// Chooses at most `k` distinct items out of `scores`: [`StreamingSampler`] over one slice.
///
/// # Errors
/// [`SampleError`] for a score or a temperature that is NaN, infinite or out of range.
///
/// ```
/// use epnas_sampler::{Selection, draw};
/// use rand::SeedableRng;
///
/// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
/// let best = draw(&[0.2, 0.9, 0.9, 0.5], 3, Selection::TopK, 1.0, &mut rng)?;
/// assert_eq!(best.iter().map(|d| d.index).collect::<Vec<_>>(), [1, 2, 3]);
/// # Ok::<(), epnas_sampler::SampleError>(())
/// ```
pub fn draw<R: Rng + ?Sized>(
    scores: &[f32],
    k: usize,
    selection: Selection,
    temperature: f64,
    rng: &mut R,
) -> Result<Vec<Draw>, SampleError> {
    let mut sampler = StreamingSampler::new(selection, k, temperature, rng)?;
    sampler.extend(0, scores)?;
    Ok(sampler.finish())
}
