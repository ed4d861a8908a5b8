//! The JSON form of architectures, or that of any other serde format.
//!
//! ```json
//! {"space": "macro", "layers": [{"op": "conv_3x3", "sources": [0]}]}
//! {"space": "micro", "blocks": [{"inputs": [{"op": "conv_3x3", "source": -2}, {"op": "identity", "source": -1}]}]}
//! {"space": "choices", "choices": [2, 0, 1]}
//! ```
//!
//! Reading checks as [`Arch::check`] does, so a value that was deserialized is well-formed. Alone, a
//! [`MacroArch`] or [`CellArch`] has the same form without `space`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Arch, ArchError, Block, CellArch, CellSource, ChoiceArch, Layer, MAX_LAYERS, MacroArch, Op,
    SourceSet,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerForm {
    op: Op,
    sources: SourceSet,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MacroForm {
    layers: Vec<LayerForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellForm {
    blocks: Vec<Block>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChoiceForm {
    choices: Vec<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "space", rename_all = "snake_case")]
enum ArchForm {
    Macro(MacroForm),
    Micro(CellForm),
    Choices(ChoiceForm),
}

impl From<&MacroArch> for MacroForm {
    fn from(arch: &MacroArch) -> Self {
        let layers = arch
            .layers
            .iter()
            .map(|l| LayerForm {
                op: l.op,
                sources: l.sources,
            })
            .collect();
        MacroForm { layers }
    }
}

impl TryFrom<MacroForm> for MacroArch {
    type Error = ArchError;

    fn try_from(form: MacroForm) -> Result<Self, ArchError> {
        let layers = form
            .layers
            .into_iter()
            .map(|l| Layer {
                op: l.op,
                sources: l.sources,
            })
            .collect();
        let arch = MacroArch { layers };
        arch.check().map(|()| arch)
    }
}

impl From<&CellArch> for CellForm {
    fn from(cell: &CellArch) -> Self {
        CellForm {
            blocks: cell.blocks.clone(),
        }
    }
}

impl TryFrom<CellForm> for CellArch {
    type Error = ArchError;

    fn try_from(form: CellForm) -> Result<Self, ArchError> {
        let cell = CellArch {
            blocks: form.blocks,
        };
        cell.check().map(|()| cell)
    }
}

impl Serialize for MacroArch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MacroForm::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MacroArch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MacroForm::deserialize(deserializer)?
            .try_into()
            .map_err(D::Error::custom)
    }
}

impl Serialize for CellArch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        CellForm::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CellArch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        CellForm::deserialize(deserializer)?
            .try_into()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Arch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Arch::Macro(arch) => ArchForm::Macro(arch.into()),
            Arch::Micro(cell) => ArchForm::Micro(cell.into()),
            Arch::Choices(arch) => ArchForm::Choices(ChoiceForm {
                choices: arch.choices.clone(),
            }),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Arch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match ArchForm::deserialize(deserializer)? {
            ArchForm::Macro(form) => form.try_into().map(Arch::Macro),
            ArchForm::Micro(form) => form.try_into().map(Arch::Micro),
            ArchForm::Choices(ChoiceForm { choices }) => {
                let arch = Arch::Choices(ChoiceArch { choices });
                arch.check().map(|()| arch)
            }
        }
        .map_err(D::Error::custom)
    }
}

impl Serialize for SourceSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for SourceSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = SourceSet::EMPTY;
        for found in Vec::<usize>::deserialize(deserializer)? {
            if found >= MAX_LAYERS {
                return Err(D::Error::custom(format!(
                    "source {found} is out of range, expected 0 to 63"
                )));
            }
            if set.contains(found) {
                return Err(D::Error::custom(ArchError::RepeatedSource { found }));
            }
            set = set.with(found);
        }
        Ok(set)
    }
}

impl Serialize for CellSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.number())
    }
}

impl<'de> Deserialize<'de> for CellSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        CellSource::from_number(number).ok_or_else(|| {
            D::Error::custom(format!(
                "source {number} is out of range, expected -2 to 29"
            ))
        })
    }
}
