//! Where CUDA's libraries are on a machine without a toolkit: in the packages of a Python with torch.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The value of LD_LIBRARY_PATH: what is there, then the toolkit's folder if there is one, then those of the Python.
pub(super) fn search_path(python: &Path, toolkit: Option<PathBuf>) -> Result<OsString> {
    let present = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let present = env::split_paths(&present).filter(|path| !path.as_os_str().is_empty());
    let folders = present.chain(toolkit).chain(of_python(python));
    env::join_paths(folders).context("LD_LIBRARY_PATH cannot name a folder with a colon")
}

/// The folders `nvidia/*/lib` of the packages; none where there is no such Python.
fn of_python(python: &Path) -> Vec<PathBuf> {
    let ask = "import nvidia; print('\\n'.join(nvidia.__path__))";
    let Ok(answer) = Command::new(python).args(["-c", ask]).output() else {
        return Vec::new();
    };
    if !answer.status.success() {
        return Vec::new();
    }
    let packages = String::from_utf8_lossy(&answer.stdout).into_owned();
    packages
        .lines()
        .flat_map(|folder| in_packages(Path::new(folder)))
        .collect()
}

fn in_packages(nvidia: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(nvidia).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.path().join("lib"))
        .filter(|folder| folder.is_dir())
        .collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_libraries_of_packages_are_found() {
        let scratch = Scratch::new("libraries").unwrap();
        for folder in ["cudnn/lib", "cu13/lib", "cu13/include", "nvtx"] {
            fs::create_dir_all(scratch.folder().join(folder)).unwrap();
        }
        let expected = [
            scratch.folder().join("cu13/lib"),
            scratch.folder().join("cudnn/lib"),
        ];
        assert_eq!(in_packages(scratch.folder()), expected);
    }

    #[test]
    fn without_a_python_the_path_stays_as_it_is() {
        let path = search_path(
            Path::new("no-such-python-7"),
            Some("/opt/cuda/lib64".into()),
        );
        let path = path.unwrap();
        let folders: Vec<PathBuf> = env::split_paths(&path).collect();
        assert_eq!(folders.last().unwrap(), Path::new("/opt/cuda/lib64"));
    }
}
