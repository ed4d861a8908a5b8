//! The compact text form of architectures, safe to type in a shell without quotes.
//!
//! ```text
//! macro:c3.0/c5.1/d3.1+2            layers: operation . sources, 0 is the stem, 1 the first layer
//! micro:c3.-2+mp.-1/d5.-1+id.0      blocks: two inputs, operation . source
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
    Arch, Block, BlockInput, CellArch, CellSource, Layer, MAX_BLOCKS, MAX_LAYERS, MacroArch,
    SourceSet,
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

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arch::Macro(arch) => arch.fmt(f),
            Arch::Micro(cell) => cell.fmt(f),
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
            Arch::Micro(_) => {
                Err(Cursor::new(text).error(0, "found a micro architecture, expected macro:"))
            }
        }
    }
}

impl FromStr for CellArch {
    type Err = ParseArchError;

    fn from_str(text: &str) -> Result<Self, ParseArchError> {
        match text.parse()? {
            Arch::Micro(cell) => Ok(cell),
            Arch::Macro(_) => {
                Err(Cursor::new(text).error(0, "found a macro architecture, expected micro:"))
            }
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
