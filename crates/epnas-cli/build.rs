//! Tells a build for GPUs where the toolkit that it was made with has its libraries.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"].map(|variable| {
        println!("cargo::rerun-if-env-changed={variable}");
        std::env::var(variable).ok()
    });
    if let Some(home) = homes.into_iter().flatten().next() {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{home}/lib64");
    }
}
