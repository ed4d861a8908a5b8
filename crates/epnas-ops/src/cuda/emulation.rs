//! The kernels on the CPU: slow, and the same source as on a GPU, tensor cores imitated.
//!
//! A tool for tests. Operators on CPU tensors run through the kernels while [`run`] is on the stack.

use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::Arc;

use super::memory::Pointer;
use super::queue::{Driver, Launch, Queue, Structure};

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static ORDER: Cell<Order> = const { Cell::new(Order::FirstToLast) };
    static WORKSPACE: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// Which blocks, and which threads of a block between two barriers, run first. A GPU promises nothing: a kernel whose
/// result depends on it has a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they are numbered.
    #[default]
    FirstToLast,
    /// The other way round.
    LastToFirst,
}

/// Whether the kernels were built: they need a C++ compiler.
pub const AVAILABLE: bool = cfg!(host_kernels);

/// From here on, operators on CPU tensors that this thread calls go through the CUDA kernels.
pub fn enter() {
    RUNNING.set(true);
}

/// From here on, kernels that this thread launches run in this order.
pub fn set_order(order: Order) {
    ORDER.set(order);
}

/// Runs `body`, whose operators on CPU tensors go through the CUDA kernels.
/// Without [`AVAILABLE`] kernels every launch is an error.
pub fn run<R>(body: impl FnOnce() -> R) -> R {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            RUNNING.set(self.0);
        }
    }
    let _reset = Reset(RUNNING.replace(true));
    body()
}

#[cfg(host_kernels)]
unsafe extern "C" {
    fn epnas_host_launch(
        name: *const c_char,
        grid: *const u32,
        threads: *const u32,
        shared: usize,
        params: *const c_void,
        size: usize,
        backwards: c_int,
    ) -> c_int;
}

/// Stands in for kernels that were not built: there is none of any name.
#[cfg(not(host_kernels))]
unsafe fn epnas_host_launch(
    _: *const c_char,
    _: *const u32,
    _: *const u32,
    _: usize,
    _: *const c_void,
    _: usize,
    _: c_int,
) -> c_int {
    1
}

/// The CPU in the place of a GPU.
#[derive(Debug)]
struct Host;

/// The device while [`run`] is on the stack.
pub(crate) fn queue() -> Option<Queue> {
    RUNNING.get().then(|| Arc::new(Host) as Queue)
}

impl Driver for Host {
    fn launch(&self, kernel: &str, launch: Launch, params: Structure) -> Result<(), String> {
        let wide = |extent: usize| {
            u32::try_from(extent).map_err(|_| format!("{kernel}: {extent} blocks or threads"))
        };
        let [x, y, z] = launch.blocks;
        let grid = [wide(x)?, wide(y)?, wide(z)?];
        let [across, down] = launch.threads;
        let threads = [wide(across)?, wide(down)?, 1];
        let name = CString::new(kernel).map_err(|error| error.to_string())?;
        // SAFETY: the name ends with a zero, both extents have three numbers, and `Params` promises that the kernel of
        // this name takes what `params` is, whose size is compared. The addresses in there are of tensors that the caller holds.
        let outcome = unsafe {
            epnas_host_launch(
                name.as_ptr(),
                grid.as_ptr(),
                threads.as_ptr(),
                launch.shared,
                params.at,
                params.size,
                c_int::from(ORDER.get() == Order::LastToFirst),
            )
        };
        match outcome {
            0 => Ok(()),
            3 => Err(format!("{kernel}: takes parameters of another size")),
            2 => Err(format!("{kernel}: its threads wait for each other forever")),
            _ => Err(format!("{kernel}: no such kernel, or too many threads")),
        }
    }

    fn workspace(&self, bytes: usize) -> Result<Pointer, String> {
        Ok(WORKSPACE.with_borrow_mut(|memory| {
            // Filled anew, so that nothing left from before is taken for a result.
            memory.clear();
            memory.resize(bytes.div_ceil(size_of::<f64>()), f64::NAN);
            Pointer(memory.as_mut_ptr().addr() as u64)
        }))
    }

    fn write(&self, to: Pointer, bytes: &[u8]) -> Result<(), String> {
        within(to, bytes.len(), |at| {
            // SAFETY: the workspace reaches as far as the bytes.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
        })
    }

    fn read(&self, from: Pointer, bytes: &mut [u8]) -> Result<(), String> {
        within(from, bytes.len(), |at| {
            // SAFETY: the workspace reaches as far as the bytes.
            unsafe { at.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) }
        })
    }
}

/// Hands out the place of an address in the workspace, behind which `len` bytes lie.
fn within(at: Pointer, len: usize, body: impl FnOnce(*mut u8)) -> Result<(), String> {
    WORKSPACE.with_borrow_mut(|memory| {
        let all = size_of_val(&memory[..]);
        let start = memory.as_mut_ptr().cast::<u8>();
        let first = (at.0 as usize).wrapping_sub(start.addr());
        match first.checked_add(len) {
            Some(end) if end <= all => {
                body(start.wrapping_add(first));
                Ok(())
            }
            _ => Err("an address outside of the workspace".to_string()),
        }
    })
}

#[cfg(all(test, host_kernels))]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    #[repr(C)]
    struct HostTestParams {
        to: Pointer,
        what: i32,
    }

    fn test(what: i32, threads: usize) -> Result<Vec<f32>, String> {
        let mut to = vec![-1.0f32; threads];
        let params = HostTestParams {
            to: Pointer(to.as_mut_ptr().addr() as u64),
            what,
        };
        let launch = Launch {
            blocks: [1, 1, 1],
            threads: [threads, 1],
            shared: size_of::<f32>() * threads,
        };
        let structure = Structure {
            at: std::ptr::from_ref(&params).cast(),
            size: size_of::<HostTestParams>(),
        };
        Host.launch("host_test_plain", launch, structure)?;
        Ok(to)
    }

    #[test]
    fn threads_see_what_others_wrote_before_a_barrier() {
        let mirrored: Vec<f32> = (0..96).rev().map(|i| i as f32).collect();
        assert_eq!(test(0, 96).unwrap(), mirrored);
    }

    #[test]
    fn a_warp_sums_up() {
        let sums = test(1, 64).unwrap();
        assert_eq!(sums[..32], [496.0; 32]);
        assert_eq!(sums[32..], [1520.0; 32]);
    }

    #[test]
    fn a_barrier_that_some_never_reach_is_an_error_and_the_next_launch_is_not() {
        for what in [2, 3] {
            let error = test(what, 64).unwrap_err();
            assert!(error.contains("wait for each other"), "{error}");
            assert!(test(0, 64).is_ok());
        }
    }

    #[test]
    fn a_kernel_that_is_not_there_or_takes_something_else_is_an_error() {
        let launch = Launch::elements(1);
        let structure = |size| Structure {
            at: std::ptr::null(),
            size,
        };
        let unknown = Host.launch("nothing", launch, structure(0)).unwrap_err();
        assert!(unknown.contains("no such kernel"), "{unknown}");
        let other = Host.launch("host_test_plain", launch, structure(1));
        assert!(other.unwrap_err().contains("another size"));
    }
}
