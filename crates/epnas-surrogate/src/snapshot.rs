//! The whole state as bytes: a safetensors file with the weights and Adam's moments.
//!
//! Weights keep the names and shapes of candle's (and PyTorch's) layers, so that other programs
//! read them; the moments are `adam.mean.<name>` and `adam.square.<name>`, the number of updates
//! is `adam.step` (an I64: candle reads no U64). The only metadata is `format`, which names the version and the encoding.

use std::collections::HashMap;

use epnas_arch::Encoding;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::adam::Adam;
use crate::layout::{Part, Sizes};

/// Metadata key of [`format`].
const FORMAT: &str = "format";

/// Name of the number of updates.
const STEP: &str = "adam.step";

/// What this version writes and reads.
fn format(encoding: Encoding) -> String {
    let encoding = match encoding {
        Encoding::OneHot => "one_hot",
        Encoding::Integer => "integer",
    };
    format!("epnas-surrogate lstm 1 {encoding}")
}

/// The tensors of the state: name, part and which of weights, means and squares.
fn names() -> impl Iterator<Item = (String, Part, usize)> {
    ["", "adam.mean.", "adam.square."]
        .into_iter()
        .enumerate()
        .flat_map(|(vector, prefix)| {
            let name = move |part: Part| (format!("{prefix}{}", part.name()), part, vector);
            Part::ALL.into_iter().map(name)
        })
}

/// Writes the state.
pub(crate) fn write(
    sizes: Sizes,
    encoding: Encoding,
    values: &[f32],
    adam: &Adam,
) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let bytes =
        |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let mut data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = names()
        .map(|(name, part, vector)| {
            let vector = [values, &adam.mean, &adam.square][vector];
            let data = bytes(&vector[sizes.range(part)]);
            (name, Dtype::F32, sizes.shape(part), data)
        })
        .collect();
    let step = adam.step.to_le_bytes().to_vec();
    data.push((STEP.to_owned(), Dtype::I64, vec![1], step));
    let views = data
        .iter()
        .map(|(name, dtype, shape, data)| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let metadata = HashMap::from([(FORMAT.to_owned(), format(encoding))]);
    safetensors::serialize(views, Some(metadata))
}

/// Reads a state, or says what is wrong with the bytes.
pub(crate) fn read(
    sizes: Sizes,
    encoding: Encoding,
    bytes: &[u8],
) -> Result<(Vec<f32>, Adam), String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let found = header.metadata().as_ref().and_then(|m| m.get(FORMAT));
    let expected = format(encoding);
    if found != Some(&expected) {
        let found = found.map_or("nothing", String::as_str);
        return Err(format!("its format is {found:?}, expected {expected:?}"));
    }
    let tensor = |name: &str, dtype: Dtype, shape: &[usize]| {
        let view = file.tensor(name).map_err(|e| e.to_string())?;
        if view.dtype() != dtype || view.shape() != shape {
            let (found, of) = (view.shape(), view.dtype());
            return Err(format!(
                "{name} is {of:?} {found:?}, expected {dtype:?} {shape:?}"
            ));
        }
        Ok(view)
    };
    let mut vectors = [(); 3].map(|()| vec![0.0; sizes.total()]);
    for (name, part, vector) in names() {
        let view = tensor(&name, Dtype::F32, &sizes.shape(part))?;
        let (numbers, _) = view.data().as_chunks::<4>();
        let out = &mut vectors[vector][sizes.range(part)];
        for (out, bytes) in out.iter_mut().zip(numbers) {
            *out = f32::from_le_bytes(*bytes);
            if !out.is_finite() {
                return Err(format!("{name} holds {out}, expected finite numbers"));
            }
        }
    }
    let step = tensor(STEP, Dtype::I64, &[1])?;
    let step = step.data().as_chunks::<8>().0[0];
    let [values, mean, square] = vectors;
    let adam = Adam {
        mean,
        square,
        step: u64::from_le_bytes(step),
    };
    Ok((values, adam))
}
