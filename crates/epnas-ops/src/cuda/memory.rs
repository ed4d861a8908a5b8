//! Where tensors lie, as kernels are told.

use std::cell::Cell;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Tensor};

use super::queue::{Call, Element};
use crate::error::{Error, Result};
use crate::storage::Arg;

/// An address in the memory of the device; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub(crate) struct Pointer(pub(super) u64);

impl Pointer {
    pub(super) const NONE: Pointer = Pointer(0);

    /// So many bytes further.
    pub(super) fn after(self, bytes: usize) -> Pointer {
        Pointer(self.0 + bytes as u64)
    }
}

impl Call<'_> {
    /// The address of a tensor of `f32`.
    pub(super) fn floats(&self, arg: Arg) -> Result<Pointer> {
        self.typed(arg, DType::F32)
    }

    /// The address of a tensor of `f64`.
    pub(super) fn doubles(&self, arg: Arg) -> Result<Pointer> {
        self.typed(arg, DType::F64)
    }

    /// The address of images, of this call's element type.
    pub(super) fn pixels(&self, arg: Arg) -> Result<Pointer> {
        let expected = match self.element {
            Element::F32 => DType::F32,
            Element::Bf16 => DType::BF16,
        };
        self.typed(arg, expected)
    }

    /// The address of a tensor of this element type.
    pub(super) fn typed(&self, (name, tensor): Arg, expected: DType) -> Result<Pointer> {
        if tensor.dtype() != expected {
            return Err(Error::DType {
                op: self.op,
                tensor: name,
                found: tensor.dtype(),
                expected,
            });
        }
        self.queue.keep(tensor);
        address(tensor)
    }
}

/// Asks a storage where it lies, as an operation that may write it.
struct Probe(Cell<u64>);

impl InplaceOp1 for Probe {
    fn name(&self) -> &'static str {
        "address"
    }

    /// Only where the CPU stands in for a GPU: a kernel on a GPU must never see an address of the host.
    #[cfg(not(feature = "cuda-emulation"))]
    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        candle_core::bail!("a tensor on the CPU among tensors on a GPU")
    }

    #[cfg(feature = "cuda-emulation")]
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let start = layout.start_offset();
        let address = match storage {
            CpuStorage::F32(data) => data[start..].as_mut_ptr().addr(),
            CpuStorage::BF16(data) => data[start..].as_mut_ptr().addr(),
            CpuStorage::U8(data) => data[start..].as_mut_ptr().addr(),
            CpuStorage::U32(data) => data[start..].as_mut_ptr().addr(),
            CpuStorage::I64(data) => data[start..].as_mut_ptr().addr(),
            CpuStorage::F64(data) => data[start..].as_mut_ptr().addr(),
            _ => candle_core::bail!("no kernel takes elements of this type"),
        };
        self.0.set(address as u64);
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &mut candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<()> {
        self.0.set(device::address(storage, layout.start_offset())?);
        Ok(())
    }
}

#[cfg(feature = "cuda")]
mod device {
    use candle_core::CudaStorage;
    use candle_core::backend::BackendStorage;
    use candle_core::cuda_backend::CudaStorageSlice;
    use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtrMut};

    /// Where element `start` of a storage lies.
    pub(super) fn address(storage: &mut CudaStorage, start: usize) -> candle_core::Result<u64> {
        fn of<T>(slice: &mut CudaSlice<T>, start: usize) -> u64 {
            let stream = slice.stream().clone();
            let (first, _) = slice.device_ptr_mut(&stream);
            first + (start * size_of::<T>()) as u64
        }
        let dtype = storage.dtype();
        match &mut storage.slice {
            CudaStorageSlice::F32(slice) => Ok(of(slice, start)),
            CudaStorageSlice::BF16(slice) => Ok(of(slice, start)),
            CudaStorageSlice::U8(slice) => Ok(of(slice, start)),
            CudaStorageSlice::U32(slice) => Ok(of(slice, start)),
            CudaStorageSlice::I64(slice) => Ok(of(slice, start)),
            CudaStorageSlice::F64(slice) => Ok(of(slice, start)),
            _ => candle_core::bail!("no kernel takes elements of type {dtype:?}"),
        }
    }
}

fn address(tensor: &Tensor) -> Result<Pointer> {
    let probe = Probe(Cell::new(0));
    tensor.inplace_op1(&probe)?;
    Ok(Pointer(probe.0.get()))
}
