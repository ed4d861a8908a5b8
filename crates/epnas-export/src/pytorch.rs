//! PyTorch: the network as a module in one file of Python, to read, to run and to train on.

use epnas_arch::PoolKind;

use crate::lowered::{Conv, Kind, Operation, identifier, lower, readers};
use crate::quoted::{inside, literal};
use crate::tensors::state;
use crate::{ExportError, Trained};

/// A module and its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct PyTorch {
    /// The Python source.
    pub source: String,
    /// The safetensors file that it loads.
    pub weights: Vec<u8>,
}

const FACTORIZED: &str = r#"

class FactorizedReduction(nn.Module):
    """Halves the resolution: two 1x1 convolutions of stride 2, the second a pixel further down and to the right."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.first = nn.Conv2d(inputs, (outputs + 1) // 2, 1, stride=2, bias=False)
        self.second = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)

    def forward(self, x):
        # Beyond an odd edge there are zeros.
        shifted = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))[..., 1:, 1:]
        return torch.cat([self.first(x), self.second(shifted)], 1)
"#;

/// A stand-alone module: its source, which needs torch and safetensors, and the weights, which `load()` reads from the file
/// `weights` (a name, beside the source). It takes `[batch, channels, height, width]` from 0 to 1 and gives logits.
///
/// # Errors
/// [`ExportError`] for parts that do not fit each other.
pub fn pytorch(trained: &Trained<'_>, weights: &str) -> Result<PyTorch, ExportError> {
    let operations = lower(trained)?;
    let readers = readers(&operations);
    let mut source = header(trained, weights);
    if operations
        .iter()
        .any(|operation| matches!(operation.kind, Kind::Factorized(_)))
    {
        source.push_str(FACTORIZED);
    }
    source.push_str(
        "\n\nclass Network(nn.Module):\n    def __init__(self):\n        super().__init__()\n",
    );
    let plain = |values: &[f32]| format!("{values:?}");
    for (name, values) in [("mean", trained.mean), ("std", trained.std)] {
        let values = plain(values);
        source.push_str(&format!(
            "        self.register_buffer(\"{name}\", torch.tensor({values}).view(1, -1, 1, 1), persistent=False)\n"
        ));
    }
    for operation in &operations {
        if let Some(module) = module(operation) {
            let name = identifier(&operation.name);
            source.push_str(&format!("        self.{name} = {module}\n"));
        }
    }
    source.push_str(
        "\n    def forward(self, images):\n        image = (images - self.mean) / self.std\n",
    );
    // What is read once by the next in line is written in place.
    let mut expressions: Vec<String> = Vec::new();
    let last = operations.len() - 1;
    for (id, operation) in operations.iter().enumerate() {
        let inputs: Vec<String> = operation
            .inputs
            .iter()
            .map(|&input| expressions[input].clone())
            .collect();
        let expression = expression(operation, &inputs);
        let name = variable(&operation.name);
        let is_inline = readers[id] == 1 && is_part_of_next(&operations, id);
        expressions.push(match () {
            () if id == 0 => "image".to_owned(),
            () if is_inline => expression,
            () if id == last => {
                source.push_str(&format!("        return {expression}\n"));
                expression
            }
            () => {
                source.push_str(&format!("        {name} = {expression}\n"));
                name
            }
        });
    }
    source.push_str(&format!(
        "\n\ndef load(path=pathlib.Path(__file__).with_name({})):\n    \"\"\"The trained network, ready to \
         evaluate.\"\"\"\n    from safetensors.torch import load_file\n\n    network = Network()\n    \
         network.load_state_dict(load_file(path))\n    return network.eval()\n",
        literal(weights)
    ));
    Ok(PyTorch {
        source,
        weights: state(trained, &operations)?,
    })
}

/// What an operation gives is called after the convolution that its batch norm and ReLU belong to.
fn variable(name: &str) -> String {
    let name = name.strip_suffix(".relu").unwrap_or(name);
    identifier(name.strip_suffix(".bn").unwrap_or(name)).into_owned()
}

fn header(trained: &Trained<'_>, weights: &str) -> String {
    let image = trained.network.input;
    let classes: Vec<String> = trained
        .classes
        .iter()
        .map(|class| format!("    {},\n", literal(class)))
        .collect();
    format!(
        "\"\"\"{}\n\nAn image classifier that EPNAS found and trained. `load()` reads its weights from {}; the network \
         takes\nfloat images [batch, {}, {}, {}] with values from 0 to 1 and gives logits [batch, {}].\n\"\"\"\n\nimport \
         pathlib\n\nimport torch\nfrom torch import nn\nfrom torch.nn import functional as F\n\nCLASSES = [\n{}]\n",
        inside(trained.architecture),
        inside(weights),
        image.channels,
        image.height,
        image.width,
        trained.network.classes,
        classes.concat()
    )
}

/// Whether the only reader of an operation is a batch norm or ReLU right after a convolution, or the linear layer of the head.
fn is_part_of_next(operations: &[Operation], id: usize) -> bool {
    let mut readers = operations
        .iter()
        .filter(|operation| operation.inputs.contains(&id));
    let reader = readers.next().map(|operation| &operation.kind);
    match operations[id].kind {
        Kind::Conv(_) | Kind::Factorized(_) => {
            matches!(reader, Some(Kind::BatchNorm(_) | Kind::Conv(_)))
        }
        Kind::BatchNorm(_) => matches!(reader, Some(Kind::Relu)),
        Kind::Average => matches!(reader, Some(Kind::Linear { .. })),
        _ => false,
    }
}

/// The submodule of an operation that has weights.
fn module(operation: &Operation) -> Option<String> {
    Some(match &operation.kind {
        Kind::Conv(conv) => convolution(conv),
        Kind::Factorized(conv) => format!("FactorizedReduction({}, {})", conv.inputs, conv.outputs),
        Kind::BatchNorm(norm) => format!("nn.BatchNorm2d({})", norm.scale.len()),
        Kind::Linear { weight, bias } => {
            format!(
                "nn.Linear({}, {})",
                weight.len() / bias.len().max(1),
                bias.len()
            )
        }
        _ => return None,
    })
}

fn convolution(conv: &Conv) -> String {
    let mut text = format!(
        "nn.Conv2d({}, {}, {}",
        conv.inputs, conv.outputs, conv.kernel
    );
    if conv.stride > 1 {
        text.push_str(&format!(", stride={}", conv.stride));
    }
    if conv.padding() > 0 {
        text.push_str(&format!(", padding={}", conv.padding()));
    }
    if conv.groups > 1 {
        text.push_str(&format!(", groups={}", conv.groups));
    }
    text + ", bias=False)"
}

fn expression(operation: &Operation, inputs: &[String]) -> String {
    let all = inputs.join(", ");
    match &operation.kind {
        Kind::Image => "image".to_owned(),
        Kind::Concat => format!("torch.cat([{all}], 1)"),
        Kind::Conv(_) | Kind::Factorized(_) | Kind::BatchNorm(_) | Kind::Linear { .. } => {
            format!("self.{}({all})", identifier(&operation.name))
        }
        Kind::Relu => format!("F.relu({all})"),
        Kind::Pool { kind, stride } => {
            let name = match kind {
                PoolKind::Max => "max_pool2d",
                PoolKind::Avg => "avg_pool2d",
            };
            format!("F.{name}({all}, 3, stride={stride}, padding=1)")
        }
        Kind::Add => inputs.join(" + "),
        Kind::Average => format!("{all}.mean((2, 3))"),
    }
}

#[cfg(test)]
mod tests {
    use epnas_arch::{Design, NetworkConfig, Shape};

    use super::*;

    /// The source of a small network.
    fn source(architecture: &str, class: &str, weights: &str) -> String {
        let design: Design = "macro:c3.0/mp.1".parse().unwrap();
        let config = NetworkConfig::default();
        let network = design.network(2, &config, Shape::new(8, 8, 3), 2).unwrap();
        let ones = |path: &str| {
            let param = network.tensors().find(|param| param.path == path)?;
            Some(vec![1.0; param.len()])
        };
        let trained = Trained {
            network: &network,
            architecture,
            classes: &[class.to_owned(), "other".to_owned()],
            mean: &[0.5; 3],
            std: &[0.25; 3],
            weights: &ones,
        };
        pytorch(&trained, weights).unwrap().source
    }

    #[test]
    fn no_text_from_outside_becomes_code() {
        const PLACES: [&str; 3] = ["AN_ARCHITECTURE", "A_CLASS", "A_FILE"];
        let harmless = source(PLACES[0], PLACES[1], PLACES[2]);
        for hostile in [
            "\"\"\"\nimport os\nos.abort()\n\"\"\"",
            "\"]\nimport os\nCLASSES = [\"",
            "x\\",
            "'''\rimport os\u{2028}import os\u{c}import os",
            "{0}%s\u{202e}\0",
        ] {
            // The text stands quoted in its four places, and all else is as it was.
            let quoted = inside(hostile);
            assert!(quoted.is_ascii() && !quoted.contains(|c: char| c.is_ascii_control()));
            let found = source(hostile, hostile, hostile);
            assert_eq!(found.matches(&quoted).count(), 4, "{found}");
            let expected = PLACES
                .iter()
                .fold(harmless.clone(), |text, place| text.replace(place, &quoted));
            assert_eq!(found, expected);
        }
    }
}
