//! Softmax cross-entropy.

use candle_core::{DType, Tensor};

use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::error::{Error, Result};
use crate::loss::{LossReport, LossSums, SoftmaxCrossEntropy, Targets};

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct LossParams {
    logits: Pointer,
    labels: Pointer,
    share: Pointer,
    dlogits: Pointer,
    rows: Pointer,
    report: Pointer,
    smoothing: f64,
    weight: f64,
    n: i32,
    classes: i32,
    add: i32,
}

// SAFETY: laid out as in `loss.cu`.
unsafe impl Params for LossParams {}

/// Sums of a report.
const SUMS: usize = 3;

/// Loss and hits of a batch, read back, and the gradient if wanted.
pub(crate) fn rows(
    queue: &Queue,
    op: &'static str,
    loss: &SoftmaxCrossEntropy,
    (logits, targets): (&Tensor, Targets),
    dlogits: Option<&Tensor>,
) -> Result<LossReport> {
    let call = Call::plain(op, queue);
    let report = call.workspace(size_of::<f64>() * (SUMS + SUMS * logits.dims()[0]))?;
    let rows = report.after(size_of::<f64>() * SUMS);
    let params = LossParams {
        rows,
        report,
        ..params(&call, loss, (logits, targets), dlogits)?
    };
    launch(&call, &params)?;
    let [loss_sum, correct, unknown] = call.download::<SUMS>(report)?;
    if unknown > 0.0 {
        let position = unknown as usize - 1;
        let label = targets.labels.get(position)?.to_scalar::<u32>()?;
        return Err(Error::Label {
            op,
            position,
            label,
            classes: logits.dims()[1],
        });
    }
    Ok(LossReport {
        loss_sum,
        correct: correct as usize,
    })
}

/// Adds loss and hits of a batch to the sums; the gradient if wanted. Nothing is read back.
pub(crate) fn add_rows(
    queue: &Queue,
    op: &'static str,
    loss: &SoftmaxCrossEntropy,
    (logits, targets): (&Tensor, Targets),
    dlogits: Option<&Tensor>,
    sums: &LossSums,
) -> Result<()> {
    let call = Call::plain(op, queue);
    let params = LossParams {
        rows: call.workspace(size_of::<f64>() * SUMS * logits.dims()[0])?,
        report: call.doubles(("sums", &sums.sums))?,
        add: 1,
        ..params(&call, loss, (logits, targets), dlogits)?
    };
    launch(&call, &params)
}

fn params(
    call: &Call,
    loss: &SoftmaxCrossEntropy,
    (logits, targets): (&Tensor, Targets),
    dlogits: Option<&Tensor>,
) -> Result<LossParams> {
    let dlogits = dlogits.map(|dlogits| call.floats(("dlogits", dlogits)));
    let share = targets.share.map(|share| call.floats(("share", share)));
    Ok(LossParams {
        logits: call.floats(("logits", logits))?,
        labels: call.typed(("labels", targets.labels), DType::U32)?,
        share: share.transpose()?.unwrap_or_default(),
        dlogits: dlogits.transpose()?.unwrap_or_default(),
        rows: Pointer::NONE,
        report: Pointer::NONE,
        smoothing: loss.label_smoothing,
        weight: loss.weight,
        n: logits.dims()[0] as i32,
        classes: logits.dims()[1] as i32,
        add: 0,
    })
}

fn launch(call: &Call, params: &LossParams) -> Result<()> {
    call.launch_plain("loss_rows", Launch::elements(params.n as usize), params)?;
    call.launch_plain("loss_report", Launch::elements(1), params)
}
