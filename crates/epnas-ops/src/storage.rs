//! Access to the memory of candle tensors, for reading and for writing in place.
//!
//! candle guards every storage by a read-write lock: reading goes through `Tensor::storage_and_layout`,
//! writing through an in-place operation. [`check`] refuses argument lists that would take one lock twice,
//! so an operator can never deadlock on its own arguments.

use std::cell::Cell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, StorageRef, Tensor, WithDType};

use crate::device::Backend;
use crate::error::{Error, Result};

/// An argument: its name in messages, and the tensor.
pub(crate) type Arg<'a> = (&'static str, &'a Tensor);

/// Checks devices, contiguity and aliasing of one call; returns the backend to run it on.
pub(crate) fn check(op: &'static str, reads: &[Arg], writes: &[Arg]) -> Result<Backend> {
    let mut backend = Backend::Cpu;
    let mut first = None;
    for &(name, tensor) in reads.iter().chain(writes) {
        match first {
            None => {
                backend = Backend::of(op, name, tensor)?;
                first = Some((name, tensor));
            }
            Some(first) => same_device(op, first, (name, tensor))?,
        }
        if !tensor.is_contiguous() {
            return Err(Error::NotContiguous {
                op,
                tensor: name,
                shape: tensor.dims().to_vec(),
                strides: tensor.stride().to_vec(),
            });
        }
    }
    for (i, &(written, tensor)) in writes.iter().enumerate() {
        let key = key(tensor);
        let others = writes[..i].iter().chain(reads);
        for &(other, tensor) in others {
            if key == self::key(tensor) {
                return Err(Error::Aliased { op, written, other });
            }
        }
    }
    Ok(backend)
}

/// Refuses two tensors on different devices.
pub(crate) fn same_device(
    op: &'static str,
    (other, expected): Arg,
    (tensor, found): Arg,
) -> Result<()> {
    if found.device().same_device(expected.device()) {
        return Ok(());
    }
    Err(Error::Devices {
        op,
        tensor,
        device: found.device().location(),
        other,
        expected: expected.device().location(),
    })
}

/// Identifies the storage of a tensor: views of one allocation have equal keys.
pub(crate) fn key(tensor: &Tensor) -> usize {
    let (storage, _) = tensor.storage_and_layout();
    std::ptr::from_ref::<Storage>(&storage).addr()
}

/// Read access to several tensors, one lock for each distinct storage.
pub(crate) struct Reads<'a> {
    op: &'static str,
    guards: Vec<StorageRef<'a>>,
    views: Vec<View>,
}

struct View {
    name: &'static str,
    guard: usize,
    start: usize,
    len: usize,
}

impl<'a> Reads<'a> {
    /// Locks the arguments for reading. They have passed [`check`].
    pub(crate) fn lock(op: &'static str, args: &[Arg<'a>]) -> Self {
        let mut keys = Vec::with_capacity(args.len());
        let mut guards = Vec::with_capacity(args.len());
        let mut views = Vec::with_capacity(args.len());
        for &(name, tensor) in args {
            let key = key(tensor);
            let guard = keys.iter().position(|&k| k == key).unwrap_or_else(|| {
                keys.push(key);
                guards.push(tensor.storage_and_layout().0);
                guards.len() - 1
            });
            views.push(View {
                name,
                guard,
                start: tensor.layout().start_offset(),
                len: tensor.elem_count(),
            });
        }
        Reads { op, guards, views }
    }

    /// The elements of argument `index`.
    pub(crate) fn get<T: WithDType>(&self, index: usize) -> Result<&[T]> {
        let view = &self.views[index];
        match &*self.guards[view.guard] {
            Storage::Cpu(storage) => slice(self.op, view, storage),
            other => Err(Error::UnsupportedDevice {
                op: self.op,
                tensor: view.name,
                device: other.device().location(),
            }),
        }
    }
}

fn slice<'s, T: WithDType>(
    op: &'static str,
    view: &View,
    storage: &'s CpuStorage,
) -> Result<&'s [T]> {
    match T::cpu_storage_as_slice(storage) {
        Ok(all) => Ok(&all[view.start..view.start + view.len]),
        Err(_) => Err(Error::DType {
            op,
            tensor: view.name,
            found: candle_core::backend::BackendStorage::dtype(storage),
            expected: T::DTYPE,
        }),
    }
}

/// Element types an operator can write.
pub(crate) trait Writable: WithDType {
    /// The elements of a storage, if it holds this type.
    fn elements(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Writable for f32 {
    fn elements(storage: &mut CpuStorage) -> Option<&mut [f32]> {
        match storage {
            CpuStorage::F32(data) => Some(data),
            _ => None,
        }
    }
}

impl Writable for u8 {
    fn elements(storage: &mut CpuStorage) -> Option<&mut [u8]> {
        match storage {
            CpuStorage::U8(data) => Some(data),
            _ => None,
        }
    }
}

impl Writable for i64 {
    fn elements(storage: &mut CpuStorage) -> Option<&mut [i64]> {
        match storage {
            CpuStorage::I64(data) => Some(data),
            _ => None,
        }
    }
}

/// Runs `body` over the elements of `tensor`, which it may change. Nest calls for several outputs.
/// The tensor has passed [`check`].
pub(crate) fn write<T: Writable, R>(
    op: &'static str,
    (name, tensor): Arg,
    body: impl FnOnce(&mut [T]) -> Result<R>,
) -> Result<R> {
    if tensor.dtype() != T::DTYPE {
        return Err(Error::DType {
            op,
            tensor: name,
            found: tensor.dtype(),
            expected: T::DTYPE,
        });
    }
    let call = InPlace {
        op,
        body: Cell::new(Some(body)),
        result: Cell::new(None),
        element: std::marker::PhantomData::<T>,
    };
    tensor.inplace_op1(&call)?;
    call.result.into_inner().unwrap_or_else(|| {
        Err(Error::UnsupportedDevice {
            op,
            tensor: name,
            device: tensor.device().location(),
        })
    })
}

/// Runs `body` over the elements of several `f32` tensors, which it may change, in their order.
/// The tensors have passed [`check`].
pub(crate) fn write_all<R>(
    op: &'static str,
    args: &[Arg],
    body: impl FnOnce(&mut dyn Iterator<Item = &mut [f32]>) -> Result<R>,
) -> Result<R> {
    expect_dtype::<f32>(op, args)?;
    let mut result = None;
    let mut body = Some(body);
    nest(op, args, Vec::with_capacity(args.len()), &mut |slices| {
        if let Some(body) = body.take() {
            result = Some(body(&mut slices.into_iter())?);
        }
        Ok(())
    })?;
    result.ok_or_else(|| Error::Setting {
        op,
        setting: "outputs",
        found: "none".to_string(),
        expected: "memory to write to",
    })
}

/// Takes one lock after the other, then calls `body` with all slices.
fn nest<'a>(
    op: &'static str,
    args: &[Arg],
    mut slices: Vec<&'a mut [f32]>,
    body: &mut dyn FnMut(Vec<&mut [f32]>) -> Result<()>,
) -> Result<()> {
    match args.split_first() {
        None => body(slices),
        Some((&first, rest)) => write(op, first, |slice: &mut [f32]| {
            let mut all: Vec<&mut [f32]> = Vec::with_capacity(slices.capacity());
            all.append(&mut slices.iter_mut().map(|slice| &mut **slice).collect());
            all.push(slice);
            nest(op, rest, all, body)
        }),
    }
}

/// Checks element types of all arguments before anything is written.
pub(crate) fn expect_dtype<T: WithDType>(op: &'static str, args: &[Arg]) -> Result<()> {
    for &(tensor, t) in args {
        if t.dtype() != T::DTYPE {
            return Err(Error::DType {
                op,
                tensor,
                found: t.dtype(),
                expected: T::DTYPE,
            });
        }
    }
    Ok(())
}

/// A closure as an in-place operation.
struct InPlace<T, F, R> {
    op: &'static str,
    body: Cell<Option<F>>,
    result: Cell<Option<Result<R>>>,
    element: std::marker::PhantomData<T>,
}

impl<T: Writable, R, F: FnOnce(&mut [T]) -> Result<R>> InplaceOp1 for InPlace<T, F, R> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let start = layout.start_offset();
        let end = start + layout.shape().elem_count();
        if let (Some(body), Some(data)) = (self.body.take(), T::elements(storage)) {
            self.result.set(Some(body(&mut data[start..end])));
        }
        Ok(())
    }
}
