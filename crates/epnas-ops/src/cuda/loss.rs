//! Softmax cross-entropy.

use candle_core::{DType, Tensor};

use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::error::{Error, Result};
use crate::loss::LossReport;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct LossParams {
    logits: Pointer,
    labels: Pointer,
    dlogits: Pointer,
    rows: Pointer,
    report: Pointer,
    smoothing: f64,
    n: i32,
    classes: i32,
    add: i32,
}

// SAFETY: laid out as in `loss.cu`.
unsafe impl Params for LossParams {}

/// Loss and hits of a batch, read back, and the gradient if wanted.
pub(crate) fn rows(
    queue: &Queue,
    op: &'static str,
    smoothing: f64,
    [logits, labels]: [&Tensor; 2],
    dlogits: Option<&Tensor>,
) -> Result<LossReport> {
    /// Sums of the report.
    const SUMS: usize = 3;
    let call = Call::plain(op, queue);
    let [n, classes] = [logits.dims()[0], logits.dims()[1]];
    let dlogits = dlogits.map(|dlogits| call.floats(("dlogits", dlogits)));
    let report = call.workspace(size_of::<f64>() * (SUMS + 3 * n))?;
    let params = LossParams {
        logits: call.floats(("logits", logits))?,
        labels: call.typed(("labels", labels), DType::U32)?,
        dlogits: dlogits.transpose()?.unwrap_or_default(),
        rows: report.after(size_of::<f64>() * SUMS),
        report,
        smoothing,
        n: n as i32,
        classes: classes as i32,
        add: 0,
    };
    call.launch_plain("loss_rows", Launch::elements(n), &params)?;
    call.launch_plain("loss_report", Launch::elements(1), &params)?;
    let [loss_sum, correct, unknown] = call.download::<SUMS>(report)?;
    if unknown > 0.0 {
        let position = unknown as usize - 1;
        let label = labels.get(position)?.to_scalar::<u32>()?;
        return Err(Error::Label {
            op,
            position,
            label,
            classes,
        });
    }
    Ok(LossReport {
        loss_sum,
        correct: correct as usize,
    })
}
