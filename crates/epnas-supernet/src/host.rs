//! Reading and writing the elements of preallocated candle tensors from the host.
//!
//! candle hands out read guards of a tensor's storage but no write guards; the sanctioned way to write into an
//! existing tensor is an in-place operation. The two functions here wrap both directions for contiguous tensors.

use std::cell::RefCell;

use candle_core::{
    CpuStorage, Device, InplaceOp1, Layout, Result, Storage, Tensor, WithDType, bail,
};

/// An element type that the plan's buffers use: `f32`, `u32` or `u8`.
pub(crate) trait Element: WithDType {
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Element for f32 {
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [f32]> {
        match storage {
            CpuStorage::F32(values) => Some(values),
            _ => None,
        }
    }
}

impl Element for u32 {
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [u32]> {
        match storage {
            CpuStorage::U32(values) => Some(values),
            _ => None,
        }
    }
}

struct Write<F>(RefCell<Option<F>>);

trait WriteSlice {
    fn write(self, storage: &mut CpuStorage, start: usize, end: usize) -> Result<()>;
}

struct Typed<'a, T, R, F: FnOnce(&mut [T]) -> R> {
    f: F,
    result: &'a mut Option<R>,
    marker: std::marker::PhantomData<T>,
}

impl<T: Element, R, F: FnOnce(&mut [T]) -> R> WriteSlice for Typed<'_, T, R, F> {
    fn write(self, storage: &mut CpuStorage, start: usize, end: usize) -> Result<()> {
        let Some(values) = T::slice_mut(storage) else {
            bail!("a tensor of {:?} was expected", T::DTYPE)
        };
        *self.result = Some((self.f)(&mut values[start..end]));
        Ok(())
    }
}

impl<W: WriteSlice> InplaceOp1 for Write<W> {
    fn name(&self) -> &'static str {
        "write-from-host"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("writing from the host needs a contiguous tensor, got {layout:?}")
        };
        match self.0.borrow_mut().take() {
            Some(write) => write.write(storage, start, end),
            None => bail!("a host write ran twice"),
        }
    }
}

/// Runs `f` over the elements of a contiguous tensor, in place.
///
/// # Errors
/// When the tensor is not contiguous or has another element type.
pub(crate) fn with_mut<T: Element, R>(tensor: &Tensor, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
    let mut result = None;
    if matches!(tensor.device(), Device::Cpu) {
        let write = Typed {
            f,
            result: &mut result,
            marker: std::marker::PhantomData,
        };
        tensor.inplace_op1(&Write(RefCell::new(Some(write))))?;
    } else {
        let mut values: Vec<T> = tensor.flatten_all()?.to_vec1()?;
        result = Some(f(&mut values));
        tensor.slice_set(
            &Tensor::from_vec(values, tensor.shape(), tensor.device())?,
            0,
            0,
        )?;
    }
    match result {
        Some(result) => Ok(result),
        None => bail!("a host write did not run"),
    }
}

/// Runs `f` over the elements of a contiguous tensor.
///
/// # Errors
/// When the tensor is not contiguous or has another element type.
pub(crate) fn with<T: Element, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    {
        let (storage, layout) = tensor.storage_and_layout();
        if let Storage::Cpu(storage) = &*storage {
            let Some((start, end)) = layout.contiguous_offsets() else {
                bail!("reading on the host needs a contiguous tensor, got {layout:?}")
            };
            return Ok(f(&storage.as_slice::<T>()?[start..end]));
        }
    }
    Ok(f(&tensor.flatten_all()?.to_vec1::<T>()?))
}

/// A copy of a tensor's elements.
///
/// # Errors
/// As [`with`].
pub(crate) fn read<T: Element>(tensor: &Tensor) -> Result<Vec<T>> {
    with(tensor, <[T]>::to_vec)
}

/// Overwrites a tensor's elements with those of `values`, which must be as many.
///
/// # Errors
/// As [`with_mut`], and when the counts differ.
pub(crate) fn write<T: Element>(tensor: &Tensor, values: &[T]) -> Result<()> {
    if tensor.elem_count() != values.len() {
        bail!(
            "{} values for a tensor of shape {:?}",
            values.len(),
            tensor.dims()
        )
    }
    with_mut(tensor, |out: &mut [T]| out.copy_from_slice(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_reaches_every_view_of_the_storage_and_nothing_else() {
        let storage = Tensor::zeros(6, candle_core::DType::F32, &Device::Cpu).unwrap();
        let view = storage.narrow(0, 2, 3).unwrap();
        write(&view, &[1f32, 2., 3.]).unwrap();
        assert_eq!(read::<f32>(&storage).unwrap(), [0., 0., 1., 2., 3., 0.]);
        assert_eq!(read::<f32>(&view).unwrap(), [1., 2., 3.]);
        assert!(write(&view, &[1f32]).is_err());
        assert!(write(&view, &[1u32, 2, 3]).is_err());
        let transposed = storage.reshape((2, 3)).unwrap().t().unwrap();
        assert!(with_mut(&transposed, |_: &mut [f32]| ()).is_err());
    }
}
