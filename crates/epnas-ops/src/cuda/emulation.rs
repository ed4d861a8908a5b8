//! The kernels on the CPU: slow, and the same source as on a GPU, tensor cores imitated.
//!
//! A tool for tests. Operators on CPU tensors run through the kernels while [`run`] is on the stack.

use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{DeviceLocation, Tensor};

mod library;

use super::memory::Pointer;
use super::queue::{Dense, DensePass, DenseTensors, Driver, Launch, Queue, Recorded, Structure};
use crate::error::Error;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static ORDER: Cell<Order> = const { Cell::new(Order::FirstToLast) };
    static LARGEST: Cell<u64> = const { Cell::new(u64::MAX) };
    static LIBRARY: Cell<usize> = const { Cell::new(usize::MAX) };
    static WORKSPACE: RefCell<Option<Workspace>> = const { RefCell::new(None) };
    static RECORDING: RefCell<Option<Tape>> = const { RefCell::new(None) };
}

/// Memory for sums, which kernels change behind the compiler's back.
type Workspace = Arc<[AtomicU64]>;

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

/// From here on, this thread finds no room on the device for more bytes at once: a GPU that is nearly full.
pub fn set_largest_allocation(bytes: u64) {
    LARGEST.set(bytes);
}

/// From here on, dense convolutions of at least so many channels, of input and of output, that this thread calls go to
/// the stand-in of a vendor's library, which computes them in double precision.
pub fn set_library_channels(least: usize) {
    LIBRARY.set(least);
}

/// Refuses so many bytes at once where there is no room, and any while launches are recorded: on a GPU they would become
/// part of the graph.
pub(crate) fn allocate(device: DeviceLocation, bytes: u64) -> Result<(), Error> {
    if RUNNING.get() && is_recording() {
        return Err(Error::Cuda {
            op: "zeros",
            message: "memory cannot be allocated while recording".to_string(),
        });
    }
    match RUNNING.get() && bytes > LARGEST.get() {
        true => Err(Error::Memory { device, bytes }),
        false => Ok(()),
    }
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
        let call = Action::Launch {
            kernel: CString::new(kernel).map_err(|error| error.to_string())?,
            launch,
            // SAFETY: `Params` are plain structures, so many bytes long.
            params: unsafe { copied(params) },
            size: params.size,
        };
        recorded(call, Action::run)
    }

    fn workspace(&self, bytes: usize) -> Result<Pointer, String> {
        let words = bytes.div_ceil(size_of::<u64>());
        let workspace = WORKSPACE.with_borrow_mut(|workspace| match workspace {
            Some(workspace) if workspace.len() >= words => Ok(workspace.clone()),
            _ if is_recording() => Err("no room for sums while recording".to_string()),
            _ => {
                let larger = Workspace::from_iter((0..words).map(|_| AtomicU64::new(0)));
                Ok(workspace.insert(larger).clone())
            }
        })?;
        let pointer = Pointer(workspace.as_ptr().addr() as u64);
        recorded(Action::Spoil(workspace), Action::run)?;
        Ok(pointer)
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

    fn has_dense(&self, _: DensePass, dense: &Dense) -> Result<bool, String> {
        Ok(dense.channels() >= LIBRARY.get())
    }

    fn dense(
        &self,
        pass: DensePass,
        dense: &Dense,
        at: DenseTensors,
        add: bool,
    ) -> Result<(), String> {
        let call = Action::Dense {
            pass,
            dense: *dense,
            at,
            add,
        };
        recorded(call, Action::run)
    }

    fn begin(&self) -> Result<(), String> {
        RECORDING.with_borrow_mut(|tape| match tape {
            Some(_) => Err("recording within a recording".to_string()),
            None => {
                *tape = Some(Tape::default());
                Ok(())
            }
        })
    }

    fn keep(&self, tensor: &Tensor) {
        RECORDING.with_borrow_mut(|tape| {
            if let Some(tape) = tape {
                tape.kept.push(tensor.clone());
            }
        });
    }

    fn end(&self) -> Result<Box<dyn Recorded>, String> {
        let tape = RECORDING.take().ok_or("no recording to end")?;
        Ok(Box::new(tape))
    }
}

/// What was recorded.
#[derive(Debug, Default)]
struct Tape {
    actions: Vec<Action>,
    /// Tensors that the launches name.
    kept: Vec<Tensor>,
}

impl Recorded for Tape {
    fn replay(&self) -> Result<(), String> {
        self.actions.iter().try_for_each(Action::run)
    }
}

#[derive(Debug)]
enum Action {
    Launch {
        kernel: CString,
        launch: Launch,
        params: Vec<u64>,
        /// Of the parameters, in bytes.
        size: usize,
    },
    Dense {
        pass: DensePass,
        dense: Dense,
        at: DenseTensors,
        add: bool,
    },
    /// Fills a workspace, so that nothing left in there is taken for a result.
    Spoil(Workspace),
}

impl Action {
    fn run(&self) -> Result<(), String> {
        match self {
            Action::Launch {
                kernel,
                launch,
                params,
                size,
            } => run_kernel(kernel, *launch, params.as_ptr().cast(), *size),
            Action::Dense {
                pass,
                dense,
                at,
                add,
            } => {
                // SAFETY: the caller, or the recording, holds all three tensors, which are as large as `dense` says.
                unsafe { library::run(*pass, dense, *at, *add) };
                Ok(())
            }
            Action::Spoil(workspace) => {
                let filling = f64::NAN.to_bits();
                workspace
                    .iter()
                    .for_each(|word| word.store(filling, Ordering::Relaxed));
                Ok(())
            }
        }
    }
}

fn is_recording() -> bool {
    RECORDING.with_borrow(Option::is_some)
}

/// Records the action, or runs it where nothing is recorded.
fn recorded(action: Action, run: impl FnOnce(&Action) -> Result<(), String>) -> Result<(), String> {
    let left = RECORDING.with_borrow_mut(|tape| match tape {
        Some(tape) => {
            tape.actions.push(action);
            None
        }
        None => Some(action),
    });
    left.map_or(Ok(()), |action| run(&action))
}

/// A structure's bytes, where words may lie.
///
/// # Safety
/// As many bytes as it says can be read.
unsafe fn copied(params: Structure) -> Vec<u64> {
    let mut words = vec![0u64; params.size.div_ceil(size_of::<u64>())];
    let to = words.as_mut_ptr().cast::<u8>();
    // SAFETY: there is room for as many bytes as the caller promises.
    unsafe { to.copy_from_nonoverlapping(params.at.cast(), params.size) };
    words
}

fn run_kernel(
    kernel: &CString,
    launch: Launch,
    params: *const c_void,
    size: usize,
) -> Result<(), String> {
    let name = kernel.to_string_lossy();
    let wide = |extent: usize| {
        u32::try_from(extent).map_err(|_| format!("{name}: {extent} blocks or threads"))
    };
    let [x, y, z] = launch.blocks;
    let grid = [wide(x)?, wide(y)?, wide(z)?];
    let [across, down] = launch.threads;
    let threads = [wide(across)?, wide(down)?, 1];
    // SAFETY: the name ends with a zero, both extents have three numbers, and `Params` promises that the kernel of this
    // name takes what `params` is, whose size is compared. The addresses in there are of tensors that the caller holds, or
    // that the recording keeps.
    let outcome = unsafe {
        epnas_host_launch(
            kernel.as_ptr(),
            grid.as_ptr(),
            threads.as_ptr(),
            launch.shared,
            params,
            size,
            c_int::from(ORDER.get() == Order::LastToFirst),
        )
    };
    match outcome {
        0 => Ok(()),
        3 => Err(format!("{name}: takes parameters of another size")),
        4 => Err(format!(
            "{name}: an address is not a multiple of what lies there"
        )),
        5 => Err(format!("{name}: writes beyond its shared memory")),
        2 => Err(format!("{name}: its threads wait for each other forever")),
        _ => Err(format!("{name}: no such kernel, or too many threads")),
    }
}

/// Hands out the place of an address in the workspace, behind which `len` bytes lie.
fn within(at: Pointer, len: usize, body: impl FnOnce(*mut u8)) -> Result<(), String> {
    if is_recording() {
        return Err("copies from and to the host cannot be recorded".to_string());
    }
    let workspace = WORKSPACE.with_borrow(Option::clone);
    let words: &[AtomicU64] = workspace.as_deref().unwrap_or_default();
    let start = words.as_ptr().cast::<u8>().cast_mut();
    let first = (at.0 as usize).wrapping_sub(start.addr());
    match first.checked_add(len) {
        Some(end) if end <= size_of_val(words) => {
            body(start.wrapping_add(first));
            Ok(())
        }
        _ => Err("an address outside of the workspace".to_string()),
    }
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
    fn lanes_get_their_pairs_of_matrices() {
        for what in [4, 5] {
            let found = test(what, 128).unwrap();
            for (thread, found) in found.iter().enumerate() {
                let (matrix, group, quad) = (thread / 32, thread % 32 / 4, thread % 4);
                let (row, column, next) = match what {
                    4 => (group, 2 * quad, 1),
                    _ => (2 * quad, group, 8),
                };
                let lower = 64 * matrix + 8 * row + column;
                assert_eq!(*found, (lower + 256 * (lower + next)) as f32, "{thread}");
            }
        }
    }

    #[test]
    fn places_that_a_gpu_could_not_reach_are_an_error() {
        let error = test(6, 128).unwrap_err();
        assert!(error.contains("not a multiple"), "{error}");
        let error = test(7, 64).unwrap_err();
        assert!(error.contains("beyond its shared memory"), "{error}");
        assert!(test(0, 64).is_ok());
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
        let params = 0u64;
        let structure = |size| Structure {
            at: std::ptr::from_ref(&params).cast(),
            size,
        };
        let unknown = Host.launch("nothing", launch, structure(0)).unwrap_err();
        assert!(unknown.contains("no such kernel"), "{unknown}");
        let other = Host.launch("host_test_plain", launch, structure(1));
        assert!(other.unwrap_err().contains("another size"));
    }
}
