//! A folder of files as an archive whose bytes depend on names and contents alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, Header};

/// Every other file with its checksum, for `sha256sum --check`.
pub(super) const CHECKSUMS: &str = "SHA256SUMS";

/// What an archive holds, by path.
#[derive(Default)]
pub(super) struct Tree(BTreeMap<String, File>);

struct File {
    bytes: Vec<u8>,
    mode: u32,
}

impl Tree {
    /// A file to read.
    pub(super) fn add(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.insert(path, bytes.into(), 0o644);
    }

    /// A file to execute.
    pub(super) fn add_program(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.insert(path, bytes.into(), 0o755);
    }

    fn insert(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        self.0.insert(path.to_owned(), File { bytes, mode });
    }

    /// A file of this machine.
    pub(super) fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.add(path, bytes);
        Ok(())
    }

    /// A folder of this machine with all that lies in it.
    pub(super) fn copy_folder(&mut self, path: &str, from: &Path) -> Result<()> {
        let entries =
            fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
        for entry in entries {
            let from = entry?.path();
            let name = from.file_name().unwrap_or_default();
            let name = name.to_str();
            let name = name.with_context(|| format!("{}: not UTF-8", from.display()))?;
            let path = format!("{path}/{name}");
            if from.is_dir() {
                self.copy_folder(&path, &from)?;
            } else {
                self.copy(&path, &from)?;
            }
        }
        Ok(())
    }

    /// A line for each file, as `sha256sum` prints it.
    fn checksums(&self) -> String {
        let files = self.0.iter();
        files
            .map(|(path, file)| checksum_line(path, &file.bytes))
            .collect()
    }

    /// A compressed archive of the files and their checksums, in the one folder `root`; `time` in seconds since 1970.
    pub(super) fn pack(mut self, root: &str, time: u64) -> Result<Vec<u8>> {
        self.add(CHECKSUMS, self.checksums());
        // No name and no time of its own.
        let gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        let mut archive = Builder::new(gzip);
        for (path, file) in &self.0 {
            let mut header = Header::new_gnu();
            header.set_mode(file.mode);
            header.set_mtime(time);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(file.bytes.len() as u64);
            archive.append_data(&mut header, format!("{root}/{path}"), &file.bytes[..])?;
        }
        Ok(archive.into_inner()?.finish()?)
    }
}

/// What `sha256sum` prints for a file.
pub(super) fn checksum_line(name: &str, bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}  {name}\n")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::scratch::Scratch;

    /// The same files, added in one order or the other.
    fn tree(order: &[&str]) -> Tree {
        let mut tree = Tree::default();
        for name in order {
            match *name {
                "bin/tool" => tree.add_program(name, "run me"),
                name => tree.add(name, format!("the text of {name}")),
            }
        }
        tree
    }

    /// Path, mode, time and contents of every entry.
    fn entries(packed: &[u8]) -> Vec<(String, u32, u64, String)> {
        let mut archive = tar::Archive::new(GzDecoder::new(packed));
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let (path, header) = (entry.path().unwrap().into_owned(), entry.header().clone());
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let (mode, time) = (header.mode().unwrap(), header.mtime().unwrap());
            (path.to_str().unwrap().to_owned(), mode, time, text)
        });
        entries.collect()
    }

    #[test]
    fn the_bytes_depend_on_names_contents_and_time_alone() {
        let pack = |tree: Tree, time| tree.pack("tool-1", time).unwrap();
        let first = pack(tree(&["share/b", "bin/tool", "a"]), 7);
        assert_eq!(first, pack(tree(&["a", "share/b", "bin/tool"]), 7));
        assert_ne!(first, pack(tree(&["a", "share/b", "bin/tool"]), 8));
        assert_ne!(first, pack(tree(&["a", "bin/tool"]), 7));
    }

    #[test]
    fn entries_are_sorted_in_one_folder_and_checksums_come_along() {
        let packed = tree(&["share/b", "bin/tool", "a"])
            .pack("tool-1", 7)
            .unwrap();
        let entries = entries(&packed);
        let told: Vec<(&str, u32, u64)> = entries
            .iter()
            .map(|(path, mode, time, _)| (path.as_str(), *mode, *time))
            .collect();
        let expected = [
            ("tool-1/SHA256SUMS", 0o644, 7),
            ("tool-1/a", 0o644, 7),
            ("tool-1/bin/tool", 0o755, 7),
            ("tool-1/share/b", 0o644, 7),
        ];
        assert_eq!(told, expected);
        // `printf 'run me' | sha256sum`, and all but itself.
        let sums = &entries[0].3;
        assert_eq!(sums.lines().count(), 3);
        let line = "6189e3ac354bb058ad60054b93e1a66d590e02f4fd95a3d4d30459272e74950d  bin/tool\n";
        assert!(sums.contains(line), "{sums}");
    }

    #[test]
    fn folders_are_copied_with_what_lies_below() {
        let scratch = Scratch::new("archive").unwrap();
        fs::create_dir_all(scratch.folder().join("one/two")).unwrap();
        fs::write(scratch.folder().join("one/x"), "1").unwrap();
        fs::write(scratch.folder().join("one/two/y"), "2").unwrap();
        let mut tree = Tree::default();
        tree.copy_folder("docs", scratch.folder()).unwrap();
        let paths: Vec<&str> = tree.0.keys().map(String::as_str).collect();
        assert_eq!(paths, ["docs/one/two/y", "docs/one/x"]);
        let missing = tree.copy_folder("docs", &scratch.folder().join("three"));
        let error = missing.unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains("three"));
    }
}
