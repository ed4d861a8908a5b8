//! safetensors: the weights under the names and in the order of PyTorch's `state_dict`.

use std::collections::HashMap;

use epnas_arch::Network;
use safetensors::tensor::{Dtype, TensorView};

use crate::lowered::{Conv, Kind, Operation, identifier, lower};
use crate::{ExportError, Trained};

/// A tensor by its name: dimensions and little-endian bytes.
struct Tensor {
    name: String,
    dtype: Dtype,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

/// A safetensors file with every weight by the name that the module of [`pytorch`](crate::pytorch()) gives it, in PyTorch's
/// layout. The same network always gives the same bytes. The entry `epnas` of its metadata is a JSON object with `architecture`,
/// `classes`, `mean`, `std` and `image` (channels, height and width).
///
/// # Errors
/// [`ExportError`] for parts that do not fit each other.
pub fn safetensors(trained: &Trained<'_>) -> Result<Vec<u8>, ExportError> {
    state(trained, &lower(trained)?)
}

/// The file of operations that are lowered already.
pub(crate) fn state(
    trained: &Trained<'_>,
    operations: &[Operation],
) -> Result<Vec<u8>, ExportError> {
    let tensors = operations.iter().flat_map(of);
    let tensors: Vec<Tensor> = tensors.collect();
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.dims.clone(), &tensor.bytes);
        Ok((tensor.name.as_str(), view.map_err(failed)?))
    });
    let views: Vec<(&str, TensorView<'_>)> = views.collect::<Result<_, ExportError>>()?;
    let Network { input, .. } = trained.network;
    // One entry, because the format does not order several.
    let facts = serde_json::json!({
        "architecture": trained.architecture,
        "classes": trained.classes,
        "mean": trained.mean,
        "std": trained.std,
        "image": [input.channels, input.height, input.width],
    });
    let metadata = HashMap::from([("epnas".to_owned(), facts.to_string())]);
    safetensors::serialize(views, Some(metadata)).map_err(failed)
}

fn failed(error: impl ToString) -> ExportError {
    ExportError::Safetensors(error.to_string())
}

/// The tensors of an operation.
fn of(operation: &Operation) -> Vec<Tensor> {
    let name = identifier(&operation.name).into_owned();
    match &operation.kind {
        Kind::Conv(conv) => {
            let dims = [
                conv.outputs,
                conv.inputs / conv.groups,
                conv.kernel,
                conv.kernel,
            ];
            vec![floats(format!("{name}.weight"), &dims, &conv.weight)]
        }
        Kind::Factorized(conv) => halves(&name, conv),
        Kind::BatchNorm(norm) => {
            let dims = [norm.scale.len()];
            vec![
                floats(format!("{name}.weight"), &dims, &norm.scale),
                floats(format!("{name}.bias"), &dims, &norm.shift),
                floats(format!("{name}.running_mean"), &dims, &norm.mean),
                floats(format!("{name}.running_var"), &dims, &norm.variance),
                Tensor {
                    name: format!("{name}.num_batches_tracked"),
                    dtype: Dtype::I64,
                    dims: vec![],
                    bytes: 0_i64.to_le_bytes().to_vec(),
                },
            ]
        }
        Kind::Linear { weight, bias } => {
            let dims = [bias.len(), weight.len() / bias.len().max(1)];
            vec![
                floats(format!("{name}.weight"), &dims, weight),
                floats(format!("{name}.bias"), &dims[..1], bias),
            ]
        }
        _ => vec![],
    }
}

/// The two 1x1 convolutions of a factorized reduction: all there is at the top left, and at the bottom right.
fn halves(name: &str, conv: &Conv) -> Vec<Tensor> {
    let first = conv.outputs.div_ceil(2);
    let half = |part: &str, outputs: std::ops::Range<usize>, tap: usize| {
        let values = outputs.clone().flat_map(|output| {
            (0..conv.inputs).map(move |input| conv.weight[(output * conv.inputs + input) * 4 + tap])
        });
        let dims = [outputs.len(), conv.inputs, 1, 1];
        floats(
            format!("{name}.{part}.weight"),
            &dims,
            &values.collect::<Vec<_>>(),
        )
    };
    vec![
        half("first", 0..first, 0),
        half("second", first..conv.outputs, 3),
    ]
}

fn floats(name: String, dims: &[usize], values: &[f32]) -> Tensor {
    Tensor {
        name,
        dtype: Dtype::F32,
        dims: dims.to_vec(),
        bytes: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    }
}
