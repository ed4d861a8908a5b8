//! CUDA: the `epnas` that runs on NVIDIA GPUs, and what its kernels cost. Both are made on Linux, without a GPU.
//!
//! The toolkit is the one of `--toolchain`, of CUDA_HOME or CUDA_PATH, or of the nvcc on PATH, in this order; without
//! any of them, one is made from wheels under `target/`.

mod kernels;
mod toolchain;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use crate::command;

#[derive(Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    task: Task,
    /// Use the toolkit made from wheels in this folder, made there first if need be [default: the toolkit of this
    /// machine, or else target/cuda-13.0].
    #[arg(long, value_name = "DIR", global = true)]
    toolchain: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Task {
    /// Build `epnas` for NVIDIA GPUs, in target/cuda; the first time it may download a toolkit (1 GB).
    Build(BuildFlags),
    /// Compile the kernels alone and show their registers and memory; fails when one spills.
    Kernels(kernels::Flags),
}

#[derive(Args)]
struct BuildFlags {
    /// The GPUs' compute capability, as in `80` or `90a` [default: CUDA_COMPUTE_CAP, or 80,
    /// which runs on all later ones].
    #[arg(long, value_name = "N")]
    compute_cap: Option<String>,
    /// Build nothing; print the environment of the build, for `eval`.
    #[arg(long)]
    print_env: bool,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    let toolchain = flags.toolchain.as_deref();
    match &flags.task {
        Task::Build(flags) => build(
            &Build::new(root, toolchain, flags.compute_cap.as_deref())?,
            flags,
        ),
        Task::Kernels(flags) => kernels::run(root, &toolkit(root, toolchain)?, flags),
    }
}

fn build(build: &Build<'_>, flags: &BuildFlags) -> Result<()> {
    if flags.print_env {
        print!("{}", build.environment.exports());
        return Ok(());
    }
    command::run(&mut build.cargo(&["build", "--bins"])?)?;
    let built = build.target().join("release/epnas");
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if let Some(target) = bound_to_one_generation(&bytes) {
        eprintln!(
            "warning: kernels of candle are for {target} alone, and no later GPU; --compute-cap 80 is for all"
        );
    }
    // Where a release build of the default `epnas` finds it.
    let beside = build.root.join("target/release/epnas-cuda");
    for place in [build.target().join("release/epnas-cuda"), beside.clone()] {
        let folder = place.parent().unwrap_or(build.root);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::copy(&built, &place).with_context(|| format!("cannot write {}", place.display()))?;
    }
    eprintln!(
        "built {}; an `epnas` beside it hands over to it for --device cuda (copy it beside an installed one). It needs \
         NVIDIA's driver, and the libraries in {}",
        beside.display(),
        build.libraries().display()
    );
    Ok(())
}

/// The target of PTX in a binary that only its own generation of GPUs runs, as in `sm_90a`.
fn bound_to_one_generation(binary: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b".target ";
    let targets = binary.windows(BEFORE.len()).enumerate();
    let mut targets = targets
        .filter(|(_, window)| *window == BEFORE)
        .map(|(at, _)| {
            let word = binary[at + BEFORE.len()..].iter().copied();
            let word = word.take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            String::from_utf8_lossy(&word.collect::<Vec<u8>>()).into_owned()
        });
    targets.find(|target| {
        target.starts_with("sm_") && target.ends_with(|c: char| c.is_ascii_lowercase())
    })
}

/// A release build of the workspace for NVIDIA GPUs.
pub(crate) struct Build<'a> {
    root: &'a Path,
    environment: Environment,
}

impl<'a> Build<'a> {
    /// With the toolkit made in `toolchain`, or else that of this machine.
    pub(crate) fn new(root: &'a Path, toolchain: Option<&Path>, cap: Option<&str>) -> Result<Self> {
        let compute_cap = compute_cap(cap)?;
        let home = toolkit(root, toolchain)?;
        let environment = Environment {
            compute_cap,
            first_on_path: nvcc_on_path() == Some(home.join("bin/nvcc")),
            home,
        };
        Ok(Self { root, environment })
    }

    /// A folder of its own, so that the build without CUDA stays as it is.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target/cuda")
    }

    /// The libraries that what was built needs besides the driver's.
    pub(crate) fn libraries(&self) -> PathBuf {
        self.environment.home.join("lib64")
    }

    /// A command of cargo with the flags and the environment of this build.
    pub(crate) fn cargo(&self, words: &[&str]) -> Result<Command> {
        let mut cargo = command::cargo(self.root);
        cargo
            .args(words)
            .args(["--release", "--locked", "--workspace"])
            .args(["--features", "epnas-cli/cuda"])
            .env("CARGO_TARGET_DIR", self.target());
        self.environment.apply(&mut cargo)?;
        Ok(cargo)
    }
}

/// The home of the CUDA toolkit, the folder with `bin/nvcc`; its version goes to stderr.
fn toolkit(root: &Path, named: Option<&Path>) -> Result<PathBuf> {
    ensure!(
        cfg!(target_os = "linux"),
        "building for CUDA works on Linux only"
    );
    let home = match named {
        Some(folder) => toolchain::home(root, &std::path::absolute(folder)?)?,
        None => match of_this_machine() {
            Some(home) => home,
            None => toolchain::home(root, &root.join("target/cuda-13.0"))?,
        },
    };
    let version = command::capture(Command::new(home.join("bin/nvcc")).arg("--version"))?;
    let version = version.lines().last().unwrap_or_default();
    eprintln!("CUDA toolkit: {}, {version}", home.display());
    Ok(home)
}

fn of_this_machine() -> Option<PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter();
    let mut named = named.filter_map(env::var_os).map(PathBuf::from);
    named
        .find(|home| home.is_absolute() && home.join("bin/nvcc").is_file())
        .or_else(|| nvcc_on_path().and_then(|nvcc| home_of(&nvcc)))
}

fn nvcc_on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut nvcc = env::split_paths(&path).map(|folder| folder.join("nvcc"));
    nvcc.find(|nvcc| nvcc.is_absolute() && nvcc.is_file())
}

/// The folder above `bin/nvcc`; where that has no headers, as with a link in `/usr/bin`, the one above nvcc itself.
fn home_of(nvcc: &Path) -> Option<PathBuf> {
    let above = |nvcc: &Path| Some(nvcc.parent()?.parent()?.to_path_buf());
    let real = nvcc.canonicalize().ok()?;
    let homes = [above(nvcc)?, above(&real)?];
    let whole = |home: &&PathBuf| {
        home.join("include/cuda_runtime.h").is_file() && home.join("bin/nvcc").is_file()
    };
    Some(homes.iter().find(whole).unwrap_or(&homes[1]).clone())
}

/// The least that the kernels run on. What is compiled for it runs on later GPUs too; candle's kernels for 90 would not.
const LEAST_CAP: &str = "80";

fn compute_cap(flag: Option<&str>) -> Result<String> {
    let variable = env::var("CUDA_COMPUTE_CAP").ok();
    let variable = variable.as_deref().filter(|cap| !cap.is_empty());
    let cap = flag.or(variable).unwrap_or(LEAST_CAP);
    let digits = cap.trim_end_matches(|c: char| c.is_ascii_lowercase());
    ensure!(
        digits.len() >= 2 && digits.bytes().all(|b| b.is_ascii_digit()),
        "`{cap}` is no compute capability; write it as in `80` or `90a`"
    );
    ensure!(
        digits.parse::<u32>()? >= LEAST_CAP.parse()?,
        "compute capability `{cap}`: the kernels need at least {LEAST_CAP}"
    );
    Ok(cap.to_owned())
}

/// What a build with CUDA reads.
struct Environment {
    home: PathBuf,
    compute_cap: String,
    /// Whether PATH leads to this nvcc as it is; then it stays, since compilers may lie in the same folder.
    first_on_path: bool,
}

impl Environment {
    fn values(&self) -> [(&'static str, &OsStr); 3] {
        [
            ("CUDA_HOME", self.home.as_os_str()),
            ("CUDA_PATH", self.home.as_os_str()),
            ("CUDA_COMPUTE_CAP", self.compute_cap.as_ref()),
        ]
    }

    /// Variables that hold folders, with those that go before the present ones.
    fn folders(&self) -> Vec<(&'static str, Vec<PathBuf>)> {
        let libraries = vec![self.home.join("lib64"), self.home.join("lib64/stubs")];
        let mut folders = vec![("LIBRARY_PATH", libraries)];
        if !self.first_on_path {
            folders.push(("PATH", vec![self.home.join("bin")]));
        }
        folders
    }

    fn apply(&self, command: &mut Command) -> Result<()> {
        command.envs(self.values());
        for (name, mut folders) in self.folders() {
            let present = env::var_os(name).unwrap_or_default();
            folders.extend(env::split_paths(&present).filter(|path| !path.as_os_str().is_empty()));
            let joined: OsString = env::join_paths(folders)
                .with_context(|| format!("{name} cannot name {}", self.home.display()))?;
            command.env(name, joined);
        }
        Ok(())
    }

    /// The same as lines for a shell.
    fn exports(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.values() {
            text.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        for (name, folders) in self.folders() {
            let folders: Vec<String> = folders.iter().map(|f| quoted(f.as_os_str())).collect();
            let folders = folders.join(":");
            text.push_str(&format!(
                "export {name}={folders}\"${{{name}:+:${name}}}\"\n"
            ));
        }
        text
    }
}

/// One word for a shell.
fn quoted(text: &OsStr) -> String {
    format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn exports_are_lines_for_a_shell() {
        let mut environment = Environment {
            home: "/opt/it's".into(),
            compute_cap: "90".into(),
            first_on_path: false,
        };
        let values = "export CUDA_HOME='/opt/it'\\''s'\nexport CUDA_PATH='/opt/it'\\''s'\n\
                      export CUDA_COMPUTE_CAP='90'\n\
                      export LIBRARY_PATH='/opt/it'\\''s/lib64':'/opt/it'\\''s/lib64/stubs'\
                      \"${LIBRARY_PATH:+:$LIBRARY_PATH}\"\n";
        let path = "export PATH='/opt/it'\\''s/bin'\"${PATH:+:$PATH}\"\n";
        assert_eq!(environment.exports(), format!("{values}{path}"));
        environment.first_on_path = true;
        assert_eq!(environment.exports(), values);
    }

    #[cfg(unix)]
    #[test]
    fn a_build_gets_the_same_variables() {
        let environment = Environment {
            home: "/opt/cuda".into(),
            compute_cap: "80".into(),
            first_on_path: false,
        };
        let mut command = Command::new("cargo");
        environment.apply(&mut command).unwrap();
        let value = |name: &str| {
            let (_, value) = command.get_envs().find(|(key, _)| *key == name).unwrap();
            value.unwrap().to_string_lossy().into_owned()
        };
        assert_eq!(value("CUDA_HOME"), "/opt/cuda");
        assert_eq!(value("CUDA_COMPUTE_CAP"), "80");
        assert!(value("PATH").starts_with("/opt/cuda/bin:"));
        assert!(value("LIBRARY_PATH").starts_with("/opt/cuda/lib64:/opt/cuda/lib64/stubs"));
    }

    #[test]
    fn kernels_for_one_generation_are_found() {
        let both = b"\x7fELF\0.target sm_80\n.target sm_90a, debug\0";
        assert_eq!(bound_to_one_generation(both).as_deref(), Some("sm_90a"));
        assert_eq!(
            bound_to_one_generation(b".target sm_80\0.target sm_90\n.targ"),
            None
        );
    }

    #[test]
    fn compute_capabilities_are_checked() {
        assert_eq!(compute_cap(Some("80")).unwrap(), "80");
        assert_eq!(compute_cap(Some("90a")).unwrap(), "90a");
        for wrong in ["9.0", "sm_90", "", "a", "75"] {
            assert!(compute_cap(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
