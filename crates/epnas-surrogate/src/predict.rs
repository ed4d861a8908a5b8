//! Scoring candidates that share what they have in common.
//!
//! The candidates of one step are a product: parents x elements of one level. All that depends on
//! a parent alone (the LSTM's state before that level) is computed once per parent, all that
//! depends on an element alone (its embedding and input projection) once per element. What is
//! left per candidate is one addition per gate, the nonlinearities and the output layer: the last
//! macro step scores 25 x 12,288 candidates for the price of 12,288 short products. Where a level
//! within the parents is replaced, the steps after it follow, with the parents' own projections.

use std::ops::Range;

use epnas_arch::{Candidates, Encoding};
use rayon::prelude::*;

use crate::cell::{State, embed, logit, project_hidden, project_input};
use crate::lanes::{LANES, Lane, ZERO, vectorized};
use crate::layout::{Sizes, Weights};
use crate::nonlinear::sigmoid;

/// Elements per task, a multiple of [`LANES`].
const TASK: u64 = 128;

/// What the candidates of one parent share.
struct Parent {
    /// Cell state before the level.
    c: Vec<f32>,
    /// Hidden projection before the level.
    hidden: Vec<f32>,
    /// Input projections of the levels after it, `[level][4 H]`.
    after: Vec<Vec<f32>>,
}

/// Scores of the candidates in `range`, which must lie within them.
pub(crate) fn predict(
    sizes: Sizes,
    weights: &Weights,
    encoding: Encoding,
    candidates: &Candidates,
    range: Range<u64>,
) -> Vec<f32> {
    if range.is_empty() {
        return Vec::new();
    }
    let level_len = candidates.level_len();
    let first = range.start / level_len;
    let parents = shared(
        sizes,
        weights,
        encoding,
        candidates,
        first..range.end.div_ceil(level_len),
    );
    let tasks = tasks(level_len, first..first + parents.len() as u64, &range);
    let scores: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|task| {
            let own = &parents
                [(task.parents.start - first) as usize..(task.parents.end - first) as usize];
            score(
                sizes,
                weights,
                encoding,
                candidates,
                own,
                task.elements.clone(),
            )
        })
        .collect();

    let mut out = vec![0.0; (range.end - range.start) as usize];
    for (task, scores) in tasks.iter().zip(&scores) {
        let width = task.elements.end - task.elements.start;
        for (parent, scores) in task.parents.clone().zip(scores.chunks(width as usize)) {
            // Within the first and the last parent the range may begin and end anywhere.
            let start = parent * level_len + task.elements.start;
            let (from, to) = (start.max(range.start), (start + width).min(range.end));
            let scores = &scores[(from - start) as usize..(to - start) as usize];
            out[(from - range.start) as usize..(to - range.start) as usize].copy_from_slice(scores);
        }
    }
    out
}

/// Elements of the level, with all parents that a range of candidates has with them.
struct Task {
    elements: Range<u64>,
    parents: Range<u64>,
}

/// The tasks that make up a range of candidates; `parents` are those of the range.
fn tasks(level_len: u64, parents: Range<u64>, range: &Range<u64>) -> Vec<Task> {
    (0..level_len)
        .step_by(TASK as usize)
        .map(|start| start..(start + TASK).min(level_len))
        .filter_map(|elements| {
            // Only the first parent can end before the range begins, only the last begin after it.
            let mut parents = parents.clone();
            if parents.start * level_len + elements.end <= range.start {
                parents.start += 1;
            }
            if !parents.is_empty() && (parents.end - 1) * level_len + elements.start >= range.end {
                parents.end -= 1;
            }
            (!parents.is_empty()).then_some(Task { elements, parents })
        })
        .collect()
}

/// What the candidates of each of these parents share, 16 parents at a time.
fn shared(
    sizes: Sizes,
    weights: &Weights,
    encoding: Encoding,
    candidates: &Candidates,
    range: Range<u64>,
) -> Vec<Parent> {
    let (space, level) = (candidates.space(), candidates.level());
    if candidates.parents().is_empty() {
        // Level 1: the state before it is zero.
        return vec![Parent {
            c: vec![0.0; sizes.hidden],
            hidden: vec![0.0; sizes.gates()],
            after: Vec::new(),
        }];
    }
    let parents = &candidates.parents()[range.start as usize..range.end as usize];
    let column =
        |rows: &[Lane], lane: usize| -> Vec<f32> { rows.iter().map(|r| r[lane]).collect() };
    let groups: Vec<Vec<Parent>> = parents
        .par_chunks(LANES)
        .map(|group| {
            let encoded: Vec<Vec<Vec<f32>>> = group
                .iter()
                .map(|arch| space.encode(arch, encoding))
                .collect();
            let length = encoded[0].len();
            let mut state = State::new(sizes);
            let mut features = vec![ZERO; sizes.features];
            let mut embedded = vec![ZERO; sizes.embedding];
            let mut projected = vec![ZERO; sizes.gates()];
            let mut after = vec![Vec::new(); group.len()];
            for step in (0..length).filter(|&step| step + 1 != level) {
                for (lane, rows) in encoded.iter().enumerate() {
                    for (to, &from) in features.iter_mut().zip(&rows[step]) {
                        to[lane] = from;
                    }
                }
                embed(weights, &features, &mut embedded);
                project_input(weights, &embedded, &mut projected);
                if step + 1 < level {
                    state.advance(weights, &projected);
                } else {
                    for (lane, after) in after.iter_mut().enumerate() {
                        after.push(column(&projected, lane));
                    }
                }
            }
            let mut hidden = projected;
            project_hidden(weights, &state.h, &mut hidden);
            after
                .into_iter()
                .enumerate()
                .map(|(lane, after)| Parent {
                    c: column(&state.c, lane),
                    hidden: column(&hidden, lane),
                    after,
                })
                .collect()
        })
        .collect();
    groups.into_iter().flatten().collect()
}

/// Scores `[parent][element]` of all parents with some elements.
fn score(
    sizes: Sizes,
    weights: &Weights,
    encoding: Encoding,
    candidates: &Candidates,
    parents: &[Parent],
    elements: Range<u64>,
) -> Vec<f32> {
    let (space, level) = (candidates.space(), candidates.level());
    let width = (elements.end - elements.start) as usize;
    let mut out = vec![0.0; parents.len() * width];
    let mut row = vec![0.0; sizes.features];
    let mut features = vec![ZERO; sizes.features];
    let mut embedded = vec![ZERO; sizes.embedding];
    let mut projected = vec![ZERO; sizes.gates()];
    let mut after = vec![ZERO; sizes.gates()];
    let mut state = State::new(sizes);
    for start in elements.clone().step_by(LANES) {
        let count = LANES.min((elements.end - start) as usize);
        for lane in 0..count {
            space.encode_element(level, start + lane as u64, encoding, &mut row);
            for (to, &from) in features.iter_mut().zip(&row) {
                to[lane] = from;
            }
        }
        embed(weights, &features, &mut embedded);
        project_input(weights, &embedded, &mut projected);
        let offset = (start - elements.start) as usize;
        for (parent, out) in parents.iter().zip(out.chunks_exact_mut(width)) {
            vectorized(
                #[inline(always)]
                || state.advance_shared(&projected, &parent.c, &parent.hidden),
            );
            for step in &parent.after {
                for (to, &from) in after.iter_mut().zip(step) {
                    *to = [from; LANES];
                }
                state.advance(weights, &after);
            }
            let logits = logit(weights, &state.h);
            for (out, z) in out[offset..offset + count].iter_mut().zip(logits) {
                *out = sigmoid(z);
            }
        }
    }
    out
}
