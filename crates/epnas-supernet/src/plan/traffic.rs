//! What a step has to move between memory and processor.

use candle_core::{Tensor, TensorId};
use epnas_ops::{Accumulate, Cotangent, NormGradient, Operand, Target};

use super::step::{Backward, Forward, Produced};

/// Bytes of the tensors that a step reads and writes: each once, however often the operator comes back to it.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    read: Vec<TensorId>,
    written: Vec<TensorId>,
    bytes: u64,
}

impl Traffic {
    /// That of a forward step.
    pub(super) fn of_forward(step: &Forward) -> u64 {
        let mut traffic = Traffic::default();
        match step {
            Forward::Conv { inputs, y, .. } => {
                for (x, weight) in inputs {
                    traffic.operand(x);
                    traffic.read(weight);
                }
                traffic.produced(y);
            }
            Forward::Depthwise { x, weight, y, .. } => {
                traffic.operand(x);
                traffic.read(weight);
                traffic.produced(y);
            }
            Forward::Separable { x, weights, y, .. }
            | Forward::Factorized { x, weights, y, .. } => {
                traffic.operand(x);
                weights.iter().for_each(|weight| traffic.read(weight));
                traffic.produced(y);
            }
            Forward::NormBatch { x, saved, .. } => {
                traffic.read(x);
                traffic.write(saved);
            }
            Forward::NormRunning { saved, .. } => traffic.write(saved),
            Forward::MaxPool { x, argmax, y, .. } => {
                traffic.operand(x);
                argmax.iter().for_each(|argmax| traffic.write(argmax));
                traffic.write(y);
            }
            Forward::AvgPool { x, y, .. } => {
                traffic.operand(x);
                traffic.write(y);
            }
            Forward::Add { inputs, y } => {
                inputs.iter().for_each(|(x, _)| traffic.operand(x));
                traffic.write(y);
            }
            Forward::Head { inputs, logits, .. } => {
                for (x, weight, _) in inputs {
                    traffic.operand(x);
                    traffic.read(weight);
                }
                traffic.write(logits);
            }
        }
        traffic.bytes
    }

    /// That of a backward step.
    pub(super) fn of_backward(step: &Backward) -> u64 {
        let mut traffic = Traffic::default();
        match step {
            Backward::Conv { dy, inputs, .. } => {
                traffic.cotangent(dy);
                for input in inputs {
                    traffic.operand(&input.x);
                    traffic.read(&input.w);
                    input.dw.iter().for_each(|dw| traffic.write(dw));
                    input.dx.iter().for_each(|dx| traffic.target(dx));
                }
            }
            Backward::Depthwise {
                dy,
                x,
                weight,
                dweight,
                dx,
                ..
            } => traffic.linear(dy, x, &[weight], &[dweight], dx.as_ref()),
            Backward::Separable {
                dy,
                x,
                weights: [w0, w1],
                dweights: [dw0, dw1],
                dx,
                ..
            } => traffic.linear(dy, x, &[w0, w1], &[dw0, dw1], Some(dx)),
            Backward::Factorized {
                op: _,
                dy,
                x,
                weights: [w0, w1],
                dweights: [dw0, dw1],
                dx,
            } => traffic.linear(dy, x, &[w0, w1], &[dw0, dw1], dx.as_ref()),
            Backward::NormParameters { dy, norm } => {
                traffic.read(dy);
                traffic.norm(norm);
            }
            Backward::Norm {
                dy,
                norm,
                dx: (dx, acc),
                ..
            } => {
                traffic.read(dy);
                traffic.norm(norm);
                traffic.gradient(dx, *acc);
            }
            Backward::MaxPool { dy, argmax, dx, .. } => {
                traffic.read(dy);
                traffic.read(argmax);
                traffic.target(dx);
            }
            Backward::AvgPool { dy, dx, .. } => {
                traffic.read(dy);
                traffic.target(dx);
            }
            Backward::Add { dy, dx } => {
                traffic.read(dy);
                dx.iter()
                    .for_each(|(dx, acc, _)| traffic.gradient(dx, *acc));
            }
            Backward::Head {
                dlogits, inputs, ..
            } => {
                traffic.read(dlogits);
                for input in inputs {
                    traffic.read(&input.weight);
                    traffic.write(&input.dweight);
                    traffic.gradient(&input.dx.0, input.dx.1);
                }
            }
        }
        traffic.bytes
    }

    /// The backward pass of an operator with one source.
    fn linear(
        &mut self,
        dy: &Cotangent,
        x: &Operand,
        weights: &[&Tensor],
        dweights: &[&Tensor],
        dx: Option<&Target>,
    ) {
        self.cotangent(dy);
        self.operand(x);
        weights.iter().for_each(|weight| self.read(weight));
        dweights.iter().for_each(|dweight| self.write(dweight));
        dx.into_iter().for_each(|dx| self.target(dx));
    }

    fn read(&mut self, tensor: &Tensor) {
        if !self.read.contains(&tensor.id()) {
            self.read.push(tensor.id());
            self.bytes += size(tensor);
        }
    }

    fn write(&mut self, tensor: &Tensor) {
        if !self.written.contains(&tensor.id()) {
            self.written.push(tensor.id());
            self.bytes += size(tensor);
        }
    }

    fn operand(&mut self, operand: &Operand) {
        self.read(&operand.x);
    }

    fn produced(&mut self, produced: &Produced) {
        self.write(&produced.y);
    }

    fn norm(&mut self, norm: &NormGradient) {
        self.read(&norm.x);
    }

    fn cotangent(&mut self, cotangent: &Cotangent) {
        self.read(&cotangent.dy);
        cotangent.norm.iter().for_each(|norm| self.norm(norm));
    }

    fn gradient(&mut self, dx: &Tensor, acc: Accumulate) {
        if acc == Accumulate::Add {
            self.read(dx);
        }
        self.write(dx);
    }

    fn target(&mut self, target: &Target) {
        self.gradient(&target.dx, target.acc);
        target.norms.iter().for_each(|norm| self.norm(norm));
    }
}

fn size(tensor: &Tensor) -> u64 {
    (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64
}
