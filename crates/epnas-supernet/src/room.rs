//! Whether the machine has room for a network, asked before it is given any: a process that takes more than there is is killed by
//! the system, and would be again at the same child after every start.

use candle_core::{Device, DeviceLocation};
use epnas_arch::Network;
use epnas_ops::Error;
use sysinfo::{CGroupLimits, ProcessesToUpdate, System};

/// Less is not worth asking about.
const SMALL: u64 = 32 << 20;

/// Fails when `bytes` more do not fit in the memory of the CPU. A GPU says so itself.
pub(crate) fn require(bytes: u64, device: &Device) -> Result<(), Error> {
    let fits = bytes < SMALL || !device.is_cpu() || (bytes <= available() && can_reserve(bytes));
    match fits {
        true => Ok(()),
        false => Err(Error::Memory {
            device: DeviceLocation::Cpu,
            bytes,
        }),
    }
}

/// What a training of `network` takes besides the buffers of its plan, in bytes, rather too much than too little: weights, their
/// gradients, what the optimizer keeps of each and a copy to go back to; partial sums of gradients, of which a convolution
/// makes at least four, and weights packed for kernels; and what is written to a checkpoint, with `stored` bytes of weights
/// that other children share, twice.
pub(crate) fn of_training(network: &Network, stored: u64) -> u64 {
    let weights = network.params().saturating_mul(4);
    let copies = 4 + 4 + 2;
    weights
        .saturating_mul(copies + 2)
        .saturating_add(stored.saturating_mul(2))
}

/// Memory that processes may still take without swapping, in bytes: of the machine, and of the container or job where that has
/// a limit of its own.
fn available() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    match system.available_memory() {
        // A system that does not tell.
        0 => u64::MAX,
        machine => {
            // What files are cached in counts as used there, and is given back.
            let of_group = group_limits(&mut system)
                .map(|limits| limits.total_memory.saturating_sub(limits.rss));
            machine.min(of_group.unwrap_or(u64::MAX))
        }
    }
}

/// The limits of the group that this process is in.
fn group_limits(system: &mut System) -> Option<CGroupLimits> {
    let this = sysinfo::get_current_pid().ok()?;
    system.refresh_processes(ProcessesToUpdate::Some(&[this]), false);
    system.process(this)?.cgroup_limits()
}

/// Whether the process may have so much at once (`ulimit -v`). Nothing of it is touched.
fn can_reserve(bytes: u64) -> bool {
    usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let cpu = Device::Cpu;
        assert!(require(0, &cpu).is_ok() && require(SMALL, &cpu).is_ok());
        let there_is = available();
        assert!(there_is > SMALL, "{there_is}");
        // Twice what there is, and more than any address space.
        for bytes in [there_is.saturating_mul(2), u64::MAX] {
            let error = require(bytes, &cpu).expect_err("it does not fit");
            assert!(error.is_out_of_memory() && error.to_string().contains(&bytes.to_string()));
        }
    }
}
