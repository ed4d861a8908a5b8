//! Looking over a data set before hours are spent on it: classes, sizes, unreadable files, duplicates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::cifar::{CIFAR10, CIFAR100, Format};
use crate::counter::mix;
use crate::error::shown;
use crate::report::{CheckReport, ClassCount, Duplicate, Part, SizeCount};
use crate::{
    ClassFinding, ClassProblem, DataConfig, DataError, Images, Source, UnreadableFile, decode,
    detect, idx, listing,
};

/// Looks over the data set in `dir`, whose kind is found out by [`detect`].
///
/// What is wrong with files and classes does not end the check but is listed in the report: images that cannot be
/// decoded, packed files that are truncated, class directories without images, classes of the test part alone. Of
/// `config`, only `source` matters, and only to tell Fashion-MNIST from MNIST.
///
/// # Errors
/// When `dir` is no folder, holds no known data set, or has fewer than two class directories.
pub fn check(dir: &Path, config: &DataConfig) -> Result<CheckReport, DataError> {
    let source = match (detect(dir)?, config.source) {
        (Source::Mnist, Source::FashionMnist) => Source::FashionMnist,
        (source, _) => source,
    };
    let mut survey = Survey::default();
    let classes = match source {
        Source::Cifar10 => survey.cifar(&CIFAR10, dir),
        Source::Cifar100 => survey.cifar(&CIFAR100, dir),
        Source::Mnist => survey.idx(dir, &idx::MNIST_CLASSES),
        Source::FashionMnist => survey.idx(dir, &idx::FASHION_CLASSES),
        Source::Folder | Source::Synthetic => survey.folder(dir)?,
    };
    Ok(survey.report(dir, source, classes))
}

/// One readable image.
struct Seen {
    place: String,
    label: u32,
    part: Part,
    width: u32,
    height: u32,
    hash: u128,
}

#[derive(Default)]
struct Survey {
    seen: Vec<Seen>,
    class_findings: Vec<ClassFinding>,
    unreadable: Vec<UnreadableFile>,
    damaged: Vec<UnreadableFile>,
    ignored_files: usize,
    ignored_images: usize,
    ignored_directories: Vec<PathBuf>,
}

impl Survey {
    fn cifar(&mut self, format: &Format, dir: &Path) -> Vec<String> {
        let root = format.root(dir);
        let classes = format.classes(&root).unwrap_or_else(|error| {
            self.fault(&root, &error);
            format.class_names()
        });
        let train = format.train.iter().map(|&file| (file, Part::Train));
        let mut counts = Vec::new();
        for (file, part) in train.chain([(format.test, Part::Test)]) {
            match format.read(&root.join(file)) {
                Ok(images) => {
                    counts.push((file, images.len()));
                    self.packed(file, part, &images);
                }
                Err(error) => self.fault(&root.join(file), &error),
            }
        }
        for error in format.cut(&root, &counts) {
            self.fault(&root, &error);
        }
        classes
    }

    fn idx(&mut self, dir: &Path, classes: &[&str]) -> Vec<String> {
        for (pair, part) in idx::files(dir).iter().zip([Part::Train, Part::Test]) {
            match idx::read(pair) {
                Ok(images) => {
                    let file = pair
                        .images
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy();
                    self.packed(&file, part, &images);
                }
                Err(error) => self.fault(&pair.images, &error),
            }
        }
        classes.iter().map(|&name| name.to_owned()).collect()
    }

    fn folder(&mut self, dir: &Path) -> Result<Vec<String>, DataError> {
        let listing = listing::list(dir)?;
        self.ignored_files = listing.left_out.files;
        self.ignored_images = listing.left_out.images;
        self.ignored_directories = listing.left_out.directories.clone();
        if let Some(error) = listing.empty_test() {
            self.fault(dir, &error);
        }
        let of = |part| move |(path, label)| (path, label, part);
        let train = listing.train().into_iter().map(of(Part::Train));
        let test = listing.test().into_iter().map(of(Part::Test));
        let files: Vec<_> = train.chain(test).collect();
        let seen: Vec<Result<Seen, UnreadableFile>> = files
            .into_par_iter()
            .map(|(path, label, part)| {
                decode::decode_found(path, |image| Seen {
                    place: shown(path.strip_prefix(dir).unwrap_or(path)),
                    label,
                    part,
                    width: image.width(),
                    height: image.height(),
                    hash: hash(image.width(), image.height(), image.as_raw()),
                })
                .map_err(|reason| UnreadableFile {
                    path: path.to_owned(),
                    reason,
                })
            })
            .collect();
        for result in seen {
            match result {
                Ok(seen) => self.seen.push(seen),
                Err(file) => self.unreadable.push(file),
            }
        }
        let mut readable = vec![0; listing.classes.len()];
        for seen in self.seen.iter().filter(|seen| seen.part == Part::Train) {
            readable[seen.label as usize] += 1;
        }
        for (class, &readable) in listing.classes.iter().zip(&readable) {
            let problem = class.problem().or(match readable {
                0 => Some(ClassProblem::NoneReadable),
                1 => Some(ClassProblem::SingleImage),
                _ => None,
            });
            self.class_findings
                .extend(problem.map(|problem| class.finding(problem)));
        }
        Ok(listing
            .classes
            .into_iter()
            .map(|class| class.name)
            .collect())
    }

    fn packed(&mut self, file: &str, part: Part, images: &Images) {
        let (width, height) = (images.width as u32, images.height as u32);
        self.seen
            .par_extend((0..images.len()).into_par_iter().map(|index| Seen {
                place: format!("{file}#{index}"),
                label: images.labels[index],
                part,
                width,
                height,
                hash: hash(width, height, images.image(index)),
            }));
    }

    /// Notes a packed file, or a folder, that cannot be used.
    fn fault(&mut self, path: &Path, error: &DataError) {
        let (path, reason) = match error {
            DataError::Missing { path, expected } => {
                (path.as_path(), format!("not found; expected {expected}"))
            }
            DataError::Invalid {
                path,
                found,
                expected,
            } => (path.as_path(), format!("{found}; expected {expected}")),
            DataError::Io { path, source } => (path.as_path(), source.to_string()),
            other => (path, other.to_string()),
        };
        self.damaged.push(UnreadableFile {
            path: path.to_owned(),
            reason,
        });
    }

    fn report(self, dir: &Path, source: Source, names: Vec<String>) -> CheckReport {
        let mut classes: Vec<ClassCount> = names
            .iter()
            .map(|name| ClassCount {
                name: name.clone(),
                train: 0,
                test: 0,
            })
            .collect();
        let mut sizes = BTreeMap::new();
        let mut firsts: BTreeMap<u128, usize> = BTreeMap::new();
        let mut duplicates = Vec::new();
        for (index, seen) in self.seen.iter().enumerate() {
            if let Some(class) = classes.get_mut(seen.label as usize) {
                match seen.part {
                    Part::Train => class.train += 1,
                    Part::Test => class.test += 1,
                }
            }
            *sizes.entry((seen.width, seen.height)).or_insert(0) += 1;
            let first = *firsts.entry(seen.hash).or_insert(index);
            if first != index {
                let first = &self.seen[first];
                duplicates.push(Duplicate {
                    first: first.place.clone(),
                    second: seen.place.clone(),
                    classes: [first, seen].map(|image| names[image.label as usize].clone()),
                    parts: [first.part, seen.part],
                });
            }
        }
        CheckReport {
            dir: dir.to_owned(),
            source,
            images: self.seen.len(),
            classes,
            sizes: sizes
                .into_iter()
                .map(|((width, height), images)| SizeCount {
                    width,
                    height,
                    images,
                })
                .collect(),
            class_findings: self.class_findings,
            unreadable: self.unreadable,
            damaged: self.damaged,
            duplicates,
            ignored_files: self.ignored_files,
            ignored_images: self.ignored_images,
            ignored_directories: self.ignored_directories,
        }
    }
}

/// 128 bits of the size and the pixels: two chains of splitmix64's finalizer with different starts. Not meant to
/// withstand forgery; by chance, two of a billion images collide with probability 1e-21.
fn hash(width: u32, height: u32, pixels: &[u8]) -> u128 {
    let size = u64::from(width) << 32 | u64::from(height);
    let (mut a, mut b) = (mix(size), mix(!size));
    for chunk in pixels.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        a = mix(a ^ word);
        b = mix(b.wrapping_add(word).rotate_left(17));
    }
    u128::from(a) << 64 | u128::from(b)
}
