//! Which values of a plan may share memory, decided before anything is allocated.
//!
//! A value (an activation or a gradient) is written first at one step and read last at a later one. Two values whose
//! spans do not overlap may live in the same slot. Slots are handed out first come, first served, in the order of the
//! steps; a freed slot of the best fitting size is taken before a new one is opened.

use candle_core::{DType, Device, Tensor};

use crate::{error::SupernetError, room};

/// Whether buffers are shared between values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BufferReuse {
    /// Values that are not needed at the same time share memory.
    #[default]
    ByLiveness,
    /// Every value has its own memory. For tests: results must not differ.
    Never,
}

/// The span of steps during which a value must be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The step that writes the value first.
    pub(crate) first: usize,
    /// The step that reads it last; at least `first`.
    pub(crate) last: usize,
    /// Its size in elements.
    pub(crate) elements: usize,
}

/// A slot for every value, and the size of every slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The slot of each value.
    pub(crate) slot: Vec<usize>,
    /// Elements of each slot.
    pub(crate) sizes: Vec<usize>,
}

/// Assigns slots to values.
pub(crate) fn assign(spans: &[Span], reuse: BufferReuse) -> Assignment {
    if reuse == BufferReuse::Never {
        return Assignment {
            slot: (0..spans.len()).collect(),
            sizes: spans.iter().map(|span| span.elements).collect(),
        };
    }
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|value| (spans[*value].first, *value));
    let mut slot = vec![0; spans.len()];
    let mut sizes: Vec<usize> = Vec::new();
    // The last step at which each slot is in use.
    let mut busy_until: Vec<usize> = Vec::new();
    for value in order {
        let span = spans[value];
        let free = (0..sizes.len()).filter(|slot| busy_until[*slot] < span.first);
        // The smallest that is large enough, else the largest, which then grows.
        let best = free.min_by_key(|slot| match sizes[*slot] {
            size if size >= span.elements => (0, size, *slot),
            size => (1, usize::MAX - size, *slot),
        });
        let chosen = best.unwrap_or(sizes.len());
        if chosen == sizes.len() {
            sizes.push(span.elements);
            busy_until.push(span.last);
        } else {
            sizes[chosen] = sizes[chosen].max(span.elements);
            busy_until[chosen] = span.last;
        }
        slot[value] = chosen;
    }
    Assignment { slot, sizes }
}

/// Memory that several plans of one network share, as long as they run one after the other: the training plan's
/// buffers are idle while the network is evaluated.
#[derive(Debug, Clone, Default)]
pub struct Arena {
    blocks: Vec<Tensor>,
}

impl Arena {
    /// An empty arena.
    pub fn new() -> Arena {
        Arena::default()
    }

    /// Memory of all blocks, in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks
            .iter()
            .map(|block| (block.dtype().size_in_bytes() * block.elem_count()) as u64)
            .sum()
    }

    /// One distinct block of at least the asked size (in elements) for every entry, new ones where none fits.
    pub(crate) fn take(
        &mut self,
        sizes: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Vec<Tensor>, SupernetError> {
        let mut free: Vec<usize> = (0..self.blocks.len()).collect();
        free.retain(|block| self.blocks[*block].dtype() == dtype);
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|slot| (std::cmp::Reverse(sizes[*slot]), *slot));
        // Asked for all of it: what is only reserved does not show yet.
        let held: usize = free
            .iter()
            .map(|block| self.blocks[*block].elem_count())
            .sum();
        let more = sizes.iter().sum::<usize>().saturating_sub(held);
        room::require((more * dtype.size_in_bytes()) as u64, device)?;
        let mut taken: Vec<Option<Tensor>> = vec![None; sizes.len()];
        for slot in order {
            let fitting = free
                .iter()
                .copied()
                .filter(|block| self.blocks[*block].elem_count() >= sizes[slot]);
            let block = match fitting.min_by_key(|block| (self.blocks[*block].elem_count(), *block))
            {
                Some(block) => {
                    free.retain(|other| *other != block);
                    block
                }
                None => {
                    self.blocks
                        .push(epnas_ops::zeros(sizes[slot], dtype, device)?);
                    self.blocks.len() - 1
                }
            };
            taken[slot] = Some(self.blocks[block].clone());
        }
        Ok(taken.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn overlap(a: Span, b: Span) -> bool {
        a.first <= b.last && b.first <= a.last
    }

    #[test]
    fn a_chain_needs_two_slots() {
        let spans: Vec<Span> = (0..10)
            .map(|i| Span {
                first: i,
                last: i + 1,
                elements: 8,
            })
            .collect();
        let assignment = assign(&spans, BufferReuse::ByLiveness);
        assert_eq!(assignment.sizes, [8, 8]);
        assert_eq!(assign(&spans, BufferReuse::Never).sizes, [8; 10]);
    }

    #[test]
    fn blocks_are_shared_between_plans_but_distinct_within_one() {
        let mut arena = Arena::new();
        let first = arena.take(&[4, 8, 8], DType::F32, &Device::Cpu).unwrap();
        assert_eq!(
            first.iter().map(Tensor::elem_count).collect::<Vec<_>>(),
            [4, 8, 8]
        );
        let second = arena.take(&[5, 6, 2], DType::F32, &Device::Cpu).unwrap();
        assert_eq!(
            second.iter().map(Tensor::elem_count).collect::<Vec<_>>(),
            [8, 8, 4]
        );
        assert_eq!(arena.bytes(), 80);
        arena.take(&[9], DType::F32, &Device::Cpu).unwrap();
        assert_eq!(arena.bytes(), 116);
        // Another type takes none of them.
        arena.take(&[4], DType::BF16, &Device::Cpu).unwrap();
        assert_eq!(arena.bytes(), 124);
    }

    proptest! {
        #[test]
        fn values_in_one_slot_never_overlap_and_fit(
            raw in prop::collection::vec((0usize..30, 0usize..10, 1usize..50), 0..40)
        ) {
            let spans: Vec<Span> =
                raw.iter().map(|(first, length, elements)| Span { first: *first, last: first + length, elements: *elements }).collect();
            let assignment = assign(&spans, BufferReuse::ByLiveness);
            for (a, first) in spans.iter().enumerate() {
                prop_assert!(assignment.sizes[assignment.slot[a]] >= first.elements);
                for (b, second) in spans.iter().enumerate().skip(a + 1) {
                    prop_assert!(assignment.slot[a] != assignment.slot[b] || !overlap(*first, *second));
                }
            }
            prop_assert!(assignment.sizes.iter().sum::<usize>() <= spans.iter().map(|span| span.elements).sum());
        }
    }
}
