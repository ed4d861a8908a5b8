//! Cells as DARTS-style genotype text, for exchange with other tools.
//!
//! ```text
//! Genotype(normal=[('conv_3x3', 0), ('identity', 1)], normal_concat=[2], reduce=[..], reduce_concat=[2])
//! ```
//!
//! Two pairs make a block. Source 0 is the cell before the previous one, 1 the previous cell, 2 the first
//! block, and so on; the concat lists name the blocks that no other reads. Operations keep our names. Both
//! kinds of cell have one structure here, so `reduce` repeats `normal`.

use crate::text::Cursor;
use crate::{Block, BlockInput, CellArch, CellSource, MAX_BLOCKS, ParseArchError};

/// The genotype text of a cell.
pub fn genotype(cell: &CellArch) -> String {
    let pairs = cell.blocks.iter().flat_map(|block| block.inputs);
    let pairs = pairs
        .map(|i| format!("('{}', {})", i.op, i.source.index()))
        .collect::<Vec<_>>()
        .join(", ");
    let concat = cell
        .outputs()
        .iter()
        .map(|b| (b + 2).to_string())
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "Genotype(normal=[{pairs}], normal_concat=[{concat}], reduce=[{pairs}], reduce_concat=[{concat}])"
    )
}

/// Reads genotype text. Spaces are free, quotes may be single or double, operations may be given by code
/// or name, and a concat may be a `range(2, 6)` too.
///
/// # Errors
/// When the text is malformed, `reduce` differs from `normal`, or a concat is not the list of the blocks
/// that no other block reads: such cells are not in the space. The error points at the character.
pub fn parse_genotype(text: &str) -> Result<CellArch, ParseArchError> {
    let mut reader = Reader {
        cursor: Cursor::new(text),
    };
    reader.keyword("Genotype")?;
    reader.symbol('(')?;
    let (_, cell) = reader.cell("normal")?;
    reader.symbol(',')?;
    reader.concat("normal_concat", &cell)?;
    reader.symbol(',')?;
    let (at, reduce) = reader.cell("reduce")?;
    if reduce != cell {
        let message =
            "reduce differs from normal, expected the same: both kinds of cell share one structure";
        return Err(reader.cursor.error(at, message));
    }
    reader.symbol(',')?;
    reader.concat("reduce_concat", &cell)?;
    reader.eat(',');
    reader.symbol(')')?;
    reader.cursor.skip_spaces();
    if reader.cursor.rest().is_empty() {
        return Ok(cell);
    }
    Err(reader
        .cursor
        .error_here(format!("found {}, expected the end", reader.cursor.found())))
}

struct Reader<'a> {
    cursor: Cursor<'a>,
}

impl Reader<'_> {
    fn eat(&mut self, wanted: char) -> bool {
        self.cursor.skip_spaces();
        self.cursor.eat(wanted)
    }

    fn symbol(&mut self, wanted: char) -> Result<(), ParseArchError> {
        self.cursor.skip_spaces();
        self.cursor.expect(wanted, "here")
    }

    fn keyword(&mut self, wanted: &str) -> Result<(), ParseArchError> {
        self.cursor.skip_spaces();
        let at = self.cursor.at();
        match self.cursor.word() {
            (_, found) if found == wanted => Ok(()),
            _ => Err(self.cursor.error(at, format!("expected {wanted} here"))),
        }
    }

    fn number(&mut self) -> Result<(usize, i64), ParseArchError> {
        self.cursor.skip_spaces();
        self.cursor.number()
    }

    /// `name=[('op', source), ...]` and where the list began.
    fn cell(&mut self, name: &str) -> Result<(usize, CellArch), ParseArchError> {
        self.keyword(name)?;
        self.symbol('=')?;
        self.cursor.skip_spaces();
        let start = self.cursor.at();
        self.symbol('[')?;
        let mut blocks = Vec::new();
        loop {
            if blocks.len() == MAX_BLOCKS {
                return Err(self
                    .cursor
                    .error_here(format!("more than {MAX_BLOCKS} blocks")));
            }
            let first = self.pair(blocks.len())?;
            self.symbol(',')?;
            let second = self.pair(blocks.len())?;
            blocks.push(Block {
                inputs: [first, second],
            });
            let more = self.eat(',');
            if self.eat(']') {
                return Ok((start, CellArch { blocks }));
            }
            if !more {
                let found = self.cursor.found();
                return Err(self
                    .cursor
                    .error_here(format!("found {found}, expected ',' or ']'")));
            }
        }
    }

    fn pair(&mut self, block: usize) -> Result<BlockInput, ParseArchError> {
        self.symbol('(')?;
        let quote = if self.eat('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.symbol('\'')?;
        }
        let op = self.cursor.op()?;
        self.cursor.expect(quote, "after the operation")?;
        self.symbol(',')?;
        let (at, number) = self.number()?;
        let source = usize::try_from(number)
            .ok()
            .filter(|&s| s < block + 2)
            .and_then(CellSource::from_index);
        let source = source.ok_or_else(|| {
            let message = format!(
                "block {block} cannot read {number}, expected 0 to {}",
                block + 1
            );
            self.cursor.error(at, message)
        })?;
        self.symbol(')')?;
        Ok(BlockInput { op, source })
    }

    /// `name=[2, 3]` or `name=range(2, 4)`, which must name the blocks nobody reads.
    fn concat(&mut self, name: &str, cell: &CellArch) -> Result<(), ParseArchError> {
        self.keyword(name)?;
        self.symbol('=')?;
        self.cursor.skip_spaces();
        let start = self.cursor.at();
        let found = if self.eat('[') {
            self.list()?
        } else {
            self.range()?
        };
        let expected: Vec<i64> = cell.outputs().iter().map(|&b| b as i64 + 2).collect();
        if found == expected {
            return Ok(());
        }
        let message = format!(
            "{name} is {found:?}, expected {expected:?}: the blocks that no other block reads"
        );
        Err(self.cursor.error(start, message))
    }

    fn list(&mut self) -> Result<Vec<i64>, ParseArchError> {
        let mut found = Vec::new();
        while !self.eat(']') {
            if !found.is_empty() {
                self.symbol(',')?;
            }
            let (at, number) = self.number()?;
            if found.len() > MAX_BLOCKS {
                return Err(self
                    .cursor
                    .error(at, format!("more than {MAX_BLOCKS} blocks")));
            }
            found.push(number);
        }
        found.sort_unstable();
        Ok(found)
    }

    fn range(&mut self) -> Result<Vec<i64>, ParseArchError> {
        self.keyword("range")?;
        self.symbol('(')?;
        let (_, start) = self.number()?;
        self.symbol(',')?;
        let (at, end) = self.number()?;
        self.symbol(')')?;
        if start < 2 || end > MAX_BLOCKS as i64 + 2 {
            return Err(self.cursor.error(
                at,
                format!("range({start}, {end}) is out of range, expected 2 to 32"),
            ));
        }
        Ok((start..end).collect())
    }
}
