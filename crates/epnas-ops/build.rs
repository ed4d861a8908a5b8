//! Compiles the CUDA kernels: for GPUs with `cuda`, for the CPU with `cuda-emulation`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(host_kernels)");
    #[cfg(feature = "cuda")]
    device();
    #[cfg(feature = "cuda-emulation")]
    emulation();
}

/// The kernels for GPUs: machine code for two generations, and for later ones what their driver compiles.
#[cfg(feature = "cuda")]
fn device() {
    use std::path::PathBuf;
    use std::process::Command;

    println!("cargo::rerun-if-changed=src/cuda/kernels");
    let mut compiler = PathBuf::from("nvcc");
    for variable in ["CUDA_PATH", "CUDA_HOME"] {
        println!("cargo::rerun-if-env-changed={variable}");
        if let Some(home) = std::env::var_os(variable) {
            compiler = PathBuf::from(home).join("bin/nvcc");
        }
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (architecture, kind, file) in [
        ("sm_80", "-cubin", "kernels_sm_80.cubin"),
        ("sm_90", "-cubin", "kernels_sm_90.cubin"),
        ("compute_80", "-ptx", "kernels.ptx"),
    ] {
        let status = Command::new(&compiler)
            .args(["-std=c++17", "-O3", "-arch", architecture, kind, "-o"])
            .arg(out.join(file))
            .arg("src/cuda/kernels/all.cu")
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!(
                "{} failed ({status}) for {architecture}",
                compiler.display()
            ),
            Err(error) => panic!(
                "{}: {error}. The feature `cuda` needs NVIDIA's compiler: `cargo xtask cuda build` brings it, or set \
                 CUDA_HOME to a CUDA toolkit",
                compiler.display()
            ),
        }
    }
    let version = version(&compiler).expect("`nvcc --version` names its release");
    println!("cargo::rustc-env=EPNAS_CUDA_VERSION={version}");
}

/// The toolkit's version as drivers say theirs: 13000 for 13.0.
#[cfg(feature = "cuda")]
fn version(compiler: &std::path::Path) -> Option<u32> {
    let told = std::process::Command::new(compiler)
        .arg("--version")
        .output();
    let told = String::from_utf8(told.ok()?.stdout).ok()?;
    let (_, release) = told.split_once("release ")?;
    let (major, rest) = release.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(1000 * major.parse::<u32>().ok()? + 10 * minor.parse::<u32>().ok()?)
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
