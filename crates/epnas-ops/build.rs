//! Compiles the CUDA kernels: for the CPU, when `cuda-emulation` is on.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(host_kernels)");
    #[cfg(feature = "cuda-emulation")]
    emulation();
}

/// The kernels as C++ for this machine. Without a C++ compiler they are left out, and their tests are skipped.
#[cfg(feature = "cuda-emulation")]
fn emulation() {
    println!("cargo::rerun-if-changed=src/cuda/kernels");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .warnings(false)
        .file("src/cuda/kernels/host.cpp")
        .include("src/cuda/kernels")
        // Fibers jump between stacks, which checks of jumps and of return addresses take for attacks.
        .flag_if_supported("-U_FORTIFY_SOURCE")
        .flag_if_supported("-fcf-protection=none")
        .flag_if_supported("-Wno-unknown-pragmas");
    match build.try_compile("epnas_host_kernels") {
        Ok(()) => println!("cargo::rustc-cfg=host_kernels"),
        Err(error) => println!("cargo::warning=CUDA kernels are not tested: {error}"),
    }
}
