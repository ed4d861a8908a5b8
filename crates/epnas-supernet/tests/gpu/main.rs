//! Networks on a GPU against the same on the CPU: on a real one with `EPNAS_TEST_DEVICE=cuda`, else through the CUDA
//! kernels as they run on the CPU.

mod children;
mod plans;
#[path = "../supernet/samples.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod samples;

use epnas_ops::cuda_emulation;
use epnas_supernet::Compute;

/// Runs `body` with a GPU, or with the CPU in its place; nothing where there is neither GPU nor C++ compiler.
fn on_gpu<R>(body: impl FnOnce(&Compute) -> R) -> Option<R> {
    match std::env::var("EPNAS_TEST_DEVICE").as_deref() {
        Ok("cuda") => Some(body(&Compute::gpu(0).expect("a GPU"))),
        Ok(other) => panic!("EPNAS_TEST_DEVICE is `{other}`, expected cuda or nothing"),
        Err(_) if cuda_emulation::AVAILABLE => Some(cuda_emulation::run(|| body(&Compute::cpu()))),
        Err(_) => {
            println!("skipped: no C++ compiler");
            None
        }
    }
}
