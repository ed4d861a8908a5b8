//! What a vendor's library computes, in the plainest way: sums in double precision.

use candle_core::WithDType;

use crate::cuda::memory::Pointer;
use crate::cuda::queue::{Dense, DensePass, DenseTensors, Element};

/// Computes one tensor of a convolution from the other two.
///
/// # Safety
/// All three tensors are as large as `dense` says, of its element type, and nobody else uses them meanwhile.
pub(super) unsafe fn run(pass: DensePass, dense: &Dense, at: DenseTensors, add: bool) {
    match dense.element {
        // SAFETY: as promised.
        Element::F32 => unsafe { typed::<f32>(pass, dense, at, add) },
        // SAFETY: as promised.
        Element::Bf16 => unsafe { typed::<half::bf16>(pass, dense, at, add) },
    }
}

/// A tensor of four extents.
struct View<T> {
    at: *mut T,
    extents: [usize; 4],
}

impl<T: WithDType> View<T> {
    fn new(at: Pointer, extents: [i32; 4]) -> Self {
        View {
            at: std::ptr::with_exposed_provenance_mut(at.0 as usize),
            extents: extents.map(|extent| extent as usize),
        }
    }

    fn len(&self) -> usize {
        self.extents.iter().product()
    }

    fn index(&self, [a, b, c, d]: [usize; 4]) -> usize {
        let [_, second, third, fourth] = self.extents;
        ((a * second + b) * third + c) * fourth + d
    }

    /// # Safety
    /// As for [`run`].
    unsafe fn read(&self) -> Vec<f64> {
        // SAFETY: as many elements as the extents say.
        let all = unsafe { std::slice::from_raw_parts(self.at, self.len()) };
        all.iter().map(|value| value.to_f64()).collect()
    }

    /// # Safety
    /// As for [`run`].
    unsafe fn write(&self, sums: &[f64], add: bool) {
        // SAFETY: as many elements as the extents say, used by nobody else.
        let all = unsafe { std::slice::from_raw_parts_mut(self.at, self.len()) };
        for (value, sum) in all.iter_mut().zip(sums) {
            let before = if add { value.to_f64() } else { 0.0 };
            *value = T::from_f64(before + sum);
        }
    }
}

/// # Safety
/// As for [`run`].
unsafe fn typed<T: WithDType>(pass: DensePass, dense: &Dense, at: DenseTensors, add: bool) {
    let &Dense {
        n,
        h,
        w,
        ci,
        co,
        kernel,
        stride,
        ..
    } = dense;
    let [ho, wo] = [h, w].map(|extent| (extent + stride - 1) / stride);
    let x = View::<T>::new(at.x, [n, h, w, ci]);
    let weight = View::<T>::new(at.w, [co, kernel, kernel, ci]);
    let y = View::<T>::new(at.y, [n, ho, wo, co]);
    let written = match pass {
        DensePass::Forward => &y,
        DensePass::Input => &x,
        DensePass::Weight => &weight,
    };
    // SAFETY: as promised.
    let [from_x, from_w, from_y] = unsafe { [x.read(), weight.read(), y.read()] };
    let mut sums = vec![0.0; written.len()];
    let range = |end: i32| 0..end as usize;
    for (image, i) in range(n).flat_map(|image| range(ho).map(move |i| (image, i))) {
        for (j, o) in range(wo).flat_map(|j| range(co).map(move |o| (j, o))) {
            let output = y.index([image, i, j, o]);
            for (u, v) in range(kernel).flat_map(|u| range(kernel).map(move |v| (u, v))) {
                let read = |place: usize, tap: usize, extent: i32| {
                    let at = (place * stride as usize + tap).checked_sub(kernel as usize / 2)?;
                    (at < extent as usize).then_some(at)
                };
                let (Some(row), Some(column)) = (read(i, u, h), read(j, v, w)) else {
                    continue;
                };
                for c in range(ci) {
                    let input = x.index([image, row, column, c]);
                    let tap = weight.index([o, u, v, c]);
                    match pass {
                        DensePass::Forward => sums[output] += from_x[input] * from_w[tap],
                        DensePass::Input => sums[input] += from_y[output] * from_w[tap],
                        DensePass::Weight => sums[tap] += from_y[output] * from_x[input],
                    }
                }
            }
        }
    }
    // SAFETY: as promised.
    unsafe { written.write(&sums, add) };
}
