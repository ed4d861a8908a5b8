//! Rows of steps.

/// Copies the next row, if there is one. `state`: rows taken, and rows that there are.
pub(crate) fn next(rows: &[f32], state: &mut [i64], current: &mut [f32]) {
    if state[0] >= state[1] {
        return;
    }
    let first = state[0] as usize * current.len();
    current.copy_from_slice(&rows[first..first + current.len()]);
    state[0] += 1;
}
