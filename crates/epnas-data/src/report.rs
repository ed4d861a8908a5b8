//! What a look over a data set found, for programs (JSON) and for people (text).

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{lossy_path, lossy_paths, shown};
use crate::listing::NOT_ENTERED;
use crate::{ClassFinding, Source, UnreadableFile};

/// What [`crate::check`] found in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The folder.
    #[serde(serialize_with = "lossy_path")]
    pub dir: PathBuf,
    /// The kind of data set it holds.
    pub source: Source,
    /// Readable images in all.
    pub images: usize,
    /// Readable images of every class, in the order of the labels.
    pub classes: Vec<ClassCount>,
    /// Sizes of the readable images as they are stored, by width, then height.
    pub sizes: Vec<SizeCount>,
    /// Classes of an image folder without training images or with a single one, in the order of the labels.
    pub class_findings: Vec<ClassFinding>,
    /// Images that cannot be read, in the order of the data set.
    pub unreadable: Vec<UnreadableFile>,
    /// Files of many images that cannot be read (CIFAR batches, IDX files), and a test folder without images.
    pub damaged: Vec<UnreadableFile>,
    /// Images whose decoded pixels equal those of an earlier image.
    pub duplicates: Vec<Duplicate>,
    /// Files in the class directories whose names do not end in `png`, `jpg` or `jpeg`.
    pub ignored_files: usize,
    /// Those of them that are images by their names, of kinds that are not read: GIF, WebP, BMP, TIFF, AVIF, HEIC.
    pub ignored_images: usize,
    /// Directories in the class directories that are links or too deep.
    #[serde(serialize_with = "lossy_paths")]
    pub ignored_directories: Vec<PathBuf>,
}

/// Readable images of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Name of the class.
    pub name: String,
    /// Images in the training part.
    pub train: usize,
    /// Images in the test part.
    pub test: usize,
}

/// How many images have one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Images of this size.
    pub images: usize,
}

/// The part of a data set that an image belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Training images.
    Train,
    /// Test images.
    Test,
}

/// Two images with the same pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The first image with these pixels: a path, or `file#record` in a packed format (records count from 0).
    pub first: String,
    /// A later one.
    pub second: String,
    /// The classes of the two.
    pub classes: [String; 2],
    /// The parts of the two. A pair across parts tests on a training image.
    pub parts: [Part; 2],
}

impl Duplicate {
    /// Whether the same pixels carry two labels.
    pub fn across_classes(&self) -> bool {
        self.classes[0] != self.classes[1]
    }

    /// Whether the same pixels are in both parts.
    pub fn across_parts(&self) -> bool {
        self.parts[0] != self.parts[1]
    }
}

impl CheckReport {
    /// Whether there is nothing to complain about: all readable, no duplicates, no class without training images or
    /// with a single one.
    pub fn is_clean(&self) -> bool {
        self.failure().is_none()
            && self.duplicates.is_empty()
            && self.class_findings.is_empty()
            && self.classes.iter().all(|class| class.train > 0)
    }

    /// Why loading stops with the default settings, in one line: `2 images and 1 class cannot be used`. `None` when it
    /// does not.
    pub fn failure(&self) -> Option<String> {
        let classes = self
            .class_findings
            .iter()
            .filter(|finding| finding.problem.is_fatal())
            .count();
        let counted = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {many}")),
        };
        let parts: Vec<String> = [
            counted(self.damaged.len(), "file", "files"),
            counted(self.unreadable.len(), "image", "images"),
            counted(classes, "class", "classes"),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!parts.is_empty()).then(|| format!("{} cannot be used", parts.join(" and ")))
    }
}

impl CheckReport {
    /// A few sizes each; of many, the extremes and the commonest.
    fn write_sizes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FEW: usize = 5;
        let line = |f: &mut fmt::Formatter<'_>, what: &str, size: &SizeCount| {
            let SizeCount {
                width,
                height,
                images,
            } = size;
            writeln!(f, "  {what}{width} x {height}: {images}")
        };
        let mut sizes: Vec<&SizeCount> = self.sizes.iter().collect();
        if sizes.len() <= FEW {
            sizes.sort_by_key(|size| (std::cmp::Reverse(size.images), size.width, size.height));
            return sizes.iter().try_for_each(|size| line(f, "", size));
        }
        sizes.sort_by_key(|size| u64::from(size.width) * u64::from(size.height));
        let common = sizes.iter().max_by_key(|size| size.images);
        let middle = self.images.div_ceil(2);
        let mut before = 0;
        let median = sizes.iter().find(|size| {
            before += size.images;
            before >= middle
        });
        for (what, size) in [
            ("smallest    ", sizes.first()),
            ("median      ", median),
            ("largest     ", sizes.last()),
            ("most common ", common),
        ] {
            if let Some(size) = size {
                line(f, what, size)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Lists longer than this are cut; the JSON form has all.
        const SHOWN: usize = 20;
        let rest = |f: &mut fmt::Formatter<'_>, len: usize| {
            if len > SHOWN {
                writeln!(f, "  .. and {} more", len - SHOWN)?;
            }
            Ok(())
        };
        writeln!(
            f,
            "{}: {}, {} images",
            shown(&self.dir),
            self.source,
            self.images
        )?;
        let width = self
            .classes
            .iter()
            .map(|class| class.name.chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        writeln!(f, "\n{:width$} {:>8} {:>8}", "class", "train", "test")?;
        for class in &self.classes {
            writeln!(
                f,
                "{:width$} {:>8} {:>8}",
                class.name, class.train, class.test
            )?;
        }
        if self.source == Source::Folder && self.classes.iter().all(|class| class.test == 0) {
            writeln!(
                f,
                "no test part: data.test_fraction (default 0.2) of each class is set apart when the images are used"
            )?;
        }
        writeln!(f, "\nsizes (width x height): {}", self.sizes.len())?;
        self.write_sizes(f)?;
        if !self.class_findings.is_empty() {
            writeln!(f, "classes to look at: {}", self.class_findings.len())?;
            for finding in self.class_findings.iter().take(SHOWN) {
                writeln!(f, "  {finding}")?;
            }
            rest(f, self.class_findings.len())?;
        }
        if !self.damaged.is_empty() {
            writeln!(f, "damaged files: {}", self.damaged.len())?;
            for file in self.damaged.iter().take(SHOWN) {
                writeln!(f, "  {}: {}", shown(&file.path), file.reason)?;
            }
        }
        writeln!(f, "unreadable images: {}", self.unreadable.len())?;
        for file in self.unreadable.iter().take(SHOWN) {
            writeln!(f, "  {}: {}", shown(&file.path), file.reason)?;
        }
        rest(f, self.unreadable.len())?;
        let count =
            |test: fn(&Duplicate) -> bool| self.duplicates.iter().filter(|d| test(d)).count();
        writeln!(
            f,
            "duplicates: {} ({} across classes, {} across training and test)",
            self.duplicates.len(),
            count(Duplicate::across_classes),
            count(Duplicate::across_parts)
        )?;
        for pair in self.duplicates.iter().take(SHOWN) {
            write!(f, "  {} = {}", pair.first, pair.second)?;
            if pair.across_classes() {
                write!(f, ", classes {} and {}", pair.classes[0], pair.classes[1])?;
            }
            if pair.across_parts() {
                f.write_str(", training and test")?;
            }
            writeln!(f)?;
        }
        rest(f, self.duplicates.len())?;
        if self.ignored_files > 0 {
            write!(
                f,
                "ignored files without the extension png, jpg or jpeg: {}",
                self.ignored_files
            )?;
            match self.ignored_images {
                0 => writeln!(f)?,
                n => writeln!(f, " ({n} of them images that are not read)")?,
            }
        }
        for dir in self.ignored_directories.iter().take(SHOWN) {
            writeln!(f, "ignored directory: {}: {NOT_ENTERED}", shown(dir))?;
        }
        rest(f, self.ignored_directories.len())?;
        Ok(())
    }
}
