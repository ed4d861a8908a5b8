//! Where each weight lies: all weights are one vector, so that Adam is one loop.

use std::ops::Range;

/// Widths of the three layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Features per time step, `F`.
    pub(crate) features: usize,
    /// Width of the embedding, `E`.
    pub(crate) embedding: usize,
    /// Hidden units, `H`.
    pub(crate) hidden: usize,
}

/// A weight matrix or bias vector. Names, shapes and the order of the gates (input, forget, cell,
/// output) are those of PyTorch's and candle's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    EmbeddingWeight,
    EmbeddingBias,
    InputWeight,
    HiddenWeight,
    InputBias,
    HiddenBias,
    OutputWeight,
    OutputBias,
}

impl Part {
    pub(crate) const ALL: [Part; 8] = [
        Part::EmbeddingWeight,
        Part::EmbeddingBias,
        Part::InputWeight,
        Part::HiddenWeight,
        Part::InputBias,
        Part::HiddenBias,
        Part::OutputWeight,
        Part::OutputBias,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::EmbeddingWeight => "embedding.weight",
            Part::EmbeddingBias => "embedding.bias",
            Part::InputWeight => "lstm.weight_ih_l0",
            Part::HiddenWeight => "lstm.weight_hh_l0",
            Part::InputBias => "lstm.bias_ih_l0",
            Part::HiddenBias => "lstm.bias_hh_l0",
            Part::OutputWeight => "output.weight",
            Part::OutputBias => "output.bias",
        }
    }
}

impl Sizes {
    /// Width of the four gates together, `4 H`.
    pub(crate) fn gates(self) -> usize {
        4 * self.hidden
    }

    /// Shape of a part, `[outputs, inputs]` or `[outputs]`.
    pub(crate) fn shape(self, part: Part) -> Vec<usize> {
        match part {
            Part::EmbeddingWeight => vec![self.embedding, self.features],
            Part::EmbeddingBias => vec![self.embedding],
            Part::InputWeight => vec![self.gates(), self.embedding],
            Part::HiddenWeight => vec![self.gates(), self.hidden],
            Part::InputBias | Part::HiddenBias => vec![self.gates()],
            Part::OutputWeight => vec![1, self.hidden],
            Part::OutputBias => vec![1],
        }
    }

    /// Where a part lies in the vector of all weights.
    pub(crate) fn range(self, part: Part) -> Range<usize> {
        let len = |part| self.shape(part).iter().product::<usize>();
        let start = Part::ALL
            .into_iter()
            .take_while(|&p| p != part)
            .map(len)
            .sum();
        start..start + len(part)
    }

    /// Number of weights.
    pub(crate) fn total(self) -> usize {
        self.range(Part::OutputBias).end
    }
}

/// The weights of one moment, by part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) embedding_weight: &'a [f32],
    pub(crate) embedding_bias: &'a [f32],
    pub(crate) input_weight: &'a [f32],
    pub(crate) hidden_weight: &'a [f32],
    /// Sum of the LSTM's two biases, which only ever occur together.
    pub(crate) gate_bias: &'a [f32],
    pub(crate) output_weight: &'a [f32],
    pub(crate) output_bias: f32,
}

impl<'a> Weights<'a> {
    /// The parts of `values`; `gate_bias` comes from [`gate_bias`].
    pub(crate) fn new(sizes: Sizes, values: &'a [f32], gate_bias: &'a [f32]) -> Self {
        let part = |part| &values[sizes.range(part)];
        Weights {
            embedding_weight: part(Part::EmbeddingWeight),
            embedding_bias: part(Part::EmbeddingBias),
            input_weight: part(Part::InputWeight),
            hidden_weight: part(Part::HiddenWeight),
            gate_bias,
            output_weight: part(Part::OutputWeight),
            output_bias: part(Part::OutputBias)[0],
        }
    }
}

/// Sum of the LSTM's two bias vectors.
pub(crate) fn gate_bias(sizes: Sizes, values: &[f32]) -> Vec<f32> {
    let input = &values[sizes.range(Part::InputBias)];
    let hidden = &values[sizes.range(Part::HiddenBias)];
    input.iter().zip(hidden).map(|(a, b)| a + b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F E + E + 4H (E + H) + 8H + H + 1 with E = H = 100: 100 F + 100 + 80,000 + 800 + 101.
    #[test]
    fn number_of_weights() {
        let total = |features| {
            let sizes = Sizes {
                features,
                embedding: 100,
                hidden: 100,
            };
            sizes.total()
        };
        assert_eq!(total(17), 82_701);
        assert_eq!(total(26), 83_601);
    }

    #[test]
    fn parts_follow_one_another() {
        let sizes = Sizes {
            features: 5,
            embedding: 3,
            hidden: 2,
        };
        let mut end = 0;
        for part in Part::ALL {
            let range = sizes.range(part);
            assert_eq!(range.start, end, "{part:?}");
            end = range.end;
        }
        assert_eq!(end, sizes.total());
    }
}
