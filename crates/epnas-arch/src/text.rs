//! The compact text form of architectures, safe to type in a shell without quotes.
//!
//! ```text
//! macro:c3.0/c5.1/d3.1+2            layers: operation . sources, 0 is the stem, 1 the first layer
//! micro:c3.-2+mp.-1/d5.-1+id.0      blocks: two inputs, operation . source
//! choices:2/0/1                     one choice per level, counted from 0
//! ```
//!
//! A source of a block is -2 (the cell before the previous one), -1 (the previous cell) or an earlier
//! block, counted from 0. Operations are written by their codes ([`Op::code`](crate::Op::code)); full names
//! are read too. Parsing what was displayed gives the same value.
//!
//! The form is wider than the spaces: `macro:id.0` is read although no macro space has the identity, and a search of
//! seven operations has no `d7`. Whether an architecture belongs to a space is what [`Space::check`](crate::Space::check)
//! says.

mod cursor;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub(crate) use cursor::Cursor;

use crate::{
    Arch, Block, BlockInput, CellArch, CellSource, ChoiceArch, Layer, MAX_BLOCKS, MAX_CHOICES,
    MAX_LAYERS, MacroArch, SourceSet,
};

/// A text that is no architecture, and where it stops being one.
///
/// Displayed as the message, the text and a caret under the offending character.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ParseArchError {
    /// The whole text.
    pub input: String,
    /// Which character is wrong, counted from 0; the length of the text when something is missing at its end.
    pub position: usize,
    /// What was found and what was expected.
    pub message: String,
}

/// Characters shown on either side of the offending one.
const EXCERPT: usize = 50;

impl fmt::Display for ParseArchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.position.saturating_sub(EXCERPT);
        let shown: String = self
            .input
            .chars()
            .skip(start)
            .take(2 * EXCERPT)
            .map(printable)
            .collect();
        let before = if start > 0 { "..." } else { "" };
        let after = if self.input.chars().nth(start + 2 * EXCERPT).is_some() {
            "..."
        } else {
            ""
        };
        let caret = before.len() + self.position - start;
        write!(
            f,
            "{}\n  {before}{shown}{after}\n  {:caret$}^",
            self.message, ""
        )
    }
}

/// Line breaks and other control characters would move the caret off its character.
fn printable(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

impl fmt::Display for SourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, source) in self.iter().enumerate() {
            write!(f, "{}{source}", if i == 0 { "" } else { "+" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.op.code(), self.sources)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.inputs;
        write!(
            f,
            "{}.{}+{}.{}",
            a.op.code(),
            a.source,
            b.op.code(),
            b.source
        )
    }
}

impl fmt::Display for MacroArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("macro:")?;
        join(f, &self.layers)
    }
}

impl fmt::Display for CellArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("micro:")?;
        join(f, &self.blocks)
    }
}

impl fmt::Display for ChoiceArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("choices:")?;
        join(f, &self.choices)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arch::Macro(arch) => arch.fmt(f),
            Arch::Micro(cell) => cell.fmt(f),
            Arch::Choices(arch) => arch.fmt(f),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, parts: &[impl fmt::Display]) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        write!(f, "{}{part}", if i == 0 { "" } else { "/" })?;
    }
    Ok(())
}

impl FromStr for Arch {
    type Err = ParseArchError;

    fn from_str(text: &str) -> Result<Self, ParseArchError> {
        let mut cursor = Cursor::new(text);
        match cursor.word() {
            (_, "macro") => {
                cursor.expect(':', "after the kind")?;
                layers(&mut cursor).map(|layers| Arch::Macro(MacroArch { layers }))
            }
            (_, "micro") => {
                cursor.expect(':', "after the kind")?;
                blocks(&mut cursor).map(|blocks| Arch::Micro(CellArch { blocks }))
            }
            (_, "choices") => {
                cursor.expect(':', "after the kind")?;
                choices(&mut cursor).map(|choices| Arch::Choices(ChoiceArch { choices }))
            }
            (at, found) => {
                Err(cursor.error(at, format!("found {found:?}, expected macro: or micro:")))
            }
        }
    }
}

impl FromStr for MacroArch {
    type Err = ParseArchError;

    fn from_str(text: &str) -> Result<Self, ParseArchError> {
        match text.parse()? {
            Arch::Macro(arch) => Ok(arch),
            _ => Err(Cursor::new(text).error(0, "not a macro architecture, expected macro:")),
        }
    }
}

impl FromStr for CellArch {
    type Err = ParseArchError;

    fn from_str(text: &str) -> Result<Self, ParseArchError> {
        match text.parse()? {
            Arch::Micro(cell) => Ok(cell),
            _ => Err(Cursor::new(text).error(0, "not a micro architecture, expected micro:")),
        }
    }
}

fn layers(cursor: &mut Cursor<'_>) -> Result<Vec<Layer>, ParseArchError> {
    let mut layers = Vec::new();
    loop {
        if layers.len() == MAX_LAYERS {
            return Err(cursor.error_here(format!("more than {MAX_LAYERS} layers")));
        }
        let op = cursor.op()?;
        cursor.expect('.', "between operation and sources")?;
        let mut sources = SourceSet::EMPTY;
        loop {
            let (at, source) = cursor.number()?;
            let source = usize::try_from(source)
                .ok()
                .filter(|&s| s <= layers.len())
                .ok_or_else(|| {
                    let (layer, last) = (layers.len() + 1, layers.len());
                    cursor.error(
                        at,
                        format!("layer {layer} cannot read {source}, expected 0 to {last}"),
                    )
                })?;
            if sources.contains(source) {
                return Err(cursor.error(at, format!("source {source} is given twice")));
            }
            sources = sources.with(source);
            if !cursor.eat('+') {
                break;
            }
        }
        layers.push(Layer { op, sources });
        if cursor.end_or(
            '/',
            "a + and another source, a / and another layer, or the end",
        )? {
            return Ok(layers);
        }
    }
}

fn blocks(cursor: &mut Cursor<'_>) -> Result<Vec<Block>, ParseArchError> {
    let mut blocks = Vec::new();
    loop {
        if blocks.len() == MAX_BLOCKS {
            return Err(cursor.error_here(format!("more than {MAX_BLOCKS} blocks")));
        }
        let first = block_input(cursor, blocks.len())?;
        cursor.expect('+', "between the two inputs of a block")?;
        let second = block_input(cursor, blocks.len())?;
        blocks.push(Block {
            inputs: [first, second],
        });
        if cursor.end_or('/', "a / and another block, or the end")? {
            return Ok(blocks);
        }
    }
}

fn choices(cursor: &mut Cursor<'_>) -> Result<Vec<u16>, ParseArchError> {
    let mut choices = Vec::new();
    loop {
        if choices.len() == MAX_LAYERS {
            return Err(cursor.error_here(format!("more than {MAX_LAYERS} choices")));
        }
        let (at, number) = cursor.number()?;
        choices.push(u16::try_from(number).map_err(|_| {
            let last = MAX_CHOICES - 1;
            cursor.error(at, format!("choice {number}, expected 0 to {last}"))
        })?);
        if cursor.end_or('/', "a / and another choice, or the end")? {
            return Ok(choices);
        }
    }
}

fn block_input(cursor: &mut Cursor<'_>, block: usize) -> Result<BlockInput, ParseArchError> {
    let op = cursor.op()?;
    cursor.expect('.', "between operation and source")?;
    let (at, number) = cursor.number()?;
    let source = CellSource::from_number(number)
        .filter(|s| s.index() < block + 2)
        .ok_or_else(|| {
            let earlier = match block {
                0 => String::new(),
                1 => " or 0".to_owned(),
                _ => format!(" or 0 to {}", block - 1),
            };
            cursor.error(
                at,
                format!("block {block} cannot read {number}, expected -2, -1{earlier}"),
            )
        })?;
    Ok(BlockInput { op, source })
}
