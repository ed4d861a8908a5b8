//! Whether an exported network computes what ours does.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use epnas_supernet::Model;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{ExportArgs, Format, Place, files, genotype, read_back};
use crate::failure::usage;

/// Random images that are compared.
const IMAGES: usize = 64;

/// The largest difference that rounding explains, as a share of the largest logit.
const TOLERANCE: f64 = 1e-4;

/// How two networks agree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Agreement {
    /// What read the file.
    reader: String,
    /// Images that were compared; 0 where the contents were.
    images: usize,
    /// The largest difference of two logits, as a share of the largest logit of the image.
    largest_relative_difference: f64,
    /// Images of which both say the same class.
    same_class: usize,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.images == 0 {
            return write!(f, "{}: the same contents", self.reader);
        }
        write!(
            f,
            "{}: logits of {} random images within {:.1e} of ours (relative), the same class for {}",
            self.reader, self.images, self.largest_relative_difference, self.same_class
        )
    }
}

/// Reads what was exported and compares it.
pub(super) fn check(args: &ExportArgs, model: &Model) -> anyhow::Result<Agreement> {
    match args.format {
        Format::Onnx => {
            let images = images(model);
            let theirs = in_python(args, model, &images, args.normalize)?;
            compare("onnxruntime", model, &images, &theirs)
        }
        Format::Pytorch => {
            let images = images(model);
            let theirs = in_python(args, model, &images, Place::Inside)?;
            compare("torch", model, &images, &theirs)
        }
        Format::Safetensors => {
            let written = read_back(&args.out)?;
            same(written == files(args, model)?[0].1, "safetensors")
        }
        Format::Genotype => {
            let text = String::from_utf8(read_back(&args.out)?)?;
            let read = epnas_arch::parse_genotype(text.trim())?;
            same(
                epnas_arch::genotype(&read) + "\n" == genotype(model)?,
                "genotype",
            )
        }
    }
}

fn same(is_same: bool, reader: &str) -> anyhow::Result<Agreement> {
    if !is_same {
        bail!("the file that was written does not hold what it should");
    }
    Ok(Agreement {
        reader: reader.to_owned(),
        images: 0,
        largest_relative_difference: 0.0,
        same_class: 0,
    })
}

/// Random images, row by row, `[height, width, channels]`: each of some colours in some blocks, so that not all are noise.
fn images(model: &Model) -> Vec<Vec<u8>> {
    let info = model.info();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    (0..IMAGES)
        .map(|image| {
            let block = 1 + image % 8;
            let columns = info.width.div_ceil(block);
            let colours: Vec<u8> = (0..columns * info.height.div_ceil(block) * info.channels)
                .map(|_| rng.random())
                .collect();
            let pixel = |y: usize, x: usize, channel: usize| {
                colours[((y / block) * columns + x / block) * info.channels + channel]
            };
            let rows = (0..info.height).flat_map(|y| (0..info.width).map(move |x| (y, x)));
            rows.flat_map(|(y, x)| (0..info.channels).map(move |channel| (y, x, channel)))
                .map(|(y, x, channel)| pixel(y, x, channel))
                .collect()
        })
        .collect()
}

/// The images as other programs take them: `[image, channel, height, width]` from 0 to 1.
fn planes(model: &Model, images: &[Vec<u8>], normalize: Place) -> Vec<f32> {
    let info = model.info();
    let (pixels, channels) = (info.height * info.width, info.channels);
    let value = |image: &[u8], channel: usize, pixel: usize| {
        let value = f32::from(image[pixel * channels + channel]) / 255.0;
        match normalize {
            Place::Inside => value,
            Place::Outside => {
                (value - info.normalization.mean[channel]) / info.normalization.std[channel]
            }
        }
    };
    images
        .iter()
        .flat_map(|image| {
            (0..channels)
                .flat_map(move |channel| (0..pixels).map(move |pixel| value(image, channel, pixel)))
        })
        .collect()
}

/// Runs a file on images that come on standard input, `[count, channels, height, width]` in single precision, and writes the
/// logits to standard output.
const RUN: &str = r#"
import importlib.util, pathlib, sys
import numpy
path = pathlib.Path(sys.argv[1]).resolve()
shape = [int(size) for size in sys.argv[2:]]
images = numpy.frombuffer(sys.stdin.buffer.read(), dtype=numpy.float32).reshape(shape)
if path.suffix == ".py":
    import torch
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.no_grad():
        logits = module.load()(torch.from_numpy(images.copy())).numpy()
else:
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"images": images})[0]
sys.stdout.buffer.write(logits.astype(numpy.float32).tobytes())
"#;

fn in_python(
    args: &ExportArgs,
    model: &Model,
    images: &[Vec<u8>],
    normalize: Place,
) -> anyhow::Result<Vec<f32>> {
    let info = model.info();
    let dims = [images.len(), info.channels, info.height, info.width];
    let values = planes(model, images, normalize);
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let python = Path::new(&args.python);
    let mut child = Command::new(python)
        .args(["-c", RUN])
        .arg(&args.out)
        .args(dims.map(|dim| dim.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            usage(format_args!(
                "cannot start {}: {error}; name a Python with --python",
                python.display()
            ))
        })?;
    // One that fails early does not read: what it says then tells more than the closed pipe.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(&bytes));
    let output = child.wait_with_output().context("cannot wait for Python")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let last = error.lines().last().unwrap_or("no reason given");
        bail!(
            "{} could not run {}: {last}; it needs numpy, and onnxruntime or torch with safetensors",
            python.display(),
            args.out.display()
        );
    }
    written.transpose().context("cannot hand the images over")?;
    let numbers = output.stdout.chunks_exact(4);
    Ok(numbers
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect())
}

fn compare(
    reader: &str,
    model: &Model,
    images: &[Vec<u8>],
    theirs: &[f32],
) -> anyhow::Result<Agreement> {
    let classes = model.info().classes.len();
    if theirs.len() != images.len() * classes {
        bail!(
            "{reader} gave {} numbers for {} images of {classes} classes",
            theirs.len(),
            images.len()
        );
    }
    let ours = model.logits(images)?;
    let mut agreement = Agreement {
        reader: reader.to_owned(),
        images: images.len(),
        largest_relative_difference: 0.0,
        same_class: 0,
    };
    for (ours, theirs) in ours.iter().zip(theirs.chunks_exact(classes)) {
        let largest = ours
            .iter()
            .fold(0.0_f64, |most, &logit| most.max(f64::from(logit).abs()));
        for (&a, &b) in ours.iter().zip(theirs) {
            let difference = (f64::from(a) - f64::from(b)).abs() / largest.max(1e-30);
            // Not `max`, which leaves NaN out.
            if difference.is_nan() || difference > agreement.largest_relative_difference {
                agreement.largest_relative_difference = difference;
            }
        }
        agreement.same_class += usize::from(best(ours) == best(theirs));
    }
    let difference = agreement.largest_relative_difference;
    if difference.is_nan() || difference > TOLERANCE {
        bail!("{agreement}, expected at most {TOLERANCE:.0e}: please report this");
    }
    Ok(agreement)
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, class| {
        if logits[class] > logits[best] {
            class
        } else {
            best
        }
    })
}
