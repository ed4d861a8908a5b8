//! Rows of steps.

use candle_core::{DType, Tensor};

use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::error::Result;
use crate::step_rows::StepRows;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct StepRowsParams {
    rows: Pointer,
    state: Pointer,
    current: Pointer,
    width: i64,
}

// SAFETY: laid out as in `step_rows.cu`.
unsafe impl Params for StepRowsParams {}

/// Copies the next row and moves on.
pub(crate) fn next(
    queue: &Queue,
    op: &'static str,
    from: &StepRows,
    current: &Tensor,
) -> Result<()> {
    let call = Call::plain(op, queue);
    let params = StepRowsParams {
        rows: call.floats(("rows", &from.rows))?,
        state: call.typed(("state", &from.state), DType::I64)?,
        current: call.floats(("current", current))?,
        width: current.elem_count() as i64,
    };
    // One block: its threads wait for each other before the position moves.
    let launch = Launch {
        blocks: [1, 1, 1],
        threads: [128, 1],
        shared: 0,
    };
    call.launch_plain("next_row", launch, &params)
}
