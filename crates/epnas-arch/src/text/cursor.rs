//! A position in a text, for the parsers of this crate.

use crate::{Op, ParseArchError};

/// A position in a text, with errors that point at it.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    /// In bytes, always on a character boundary.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    /// The position, for [`error`](Cursor::error).
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// An error at byte `at`.
    pub(crate) fn error(&self, at: usize, message: impl Into<String>) -> ParseArchError {
        let position = self.text[..at].chars().count();
        ParseArchError {
            input: self.text.to_owned(),
            position,
            message: message.into(),
        }
    }

    pub(crate) fn error_here(&self, message: impl Into<String>) -> ParseArchError {
        self.error(self.at, message)
    }

    /// What stands here, for messages.
    pub(crate) fn found(&self) -> String {
        self.rest()
            .chars()
            .next()
            .map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"))
    }

    pub(crate) fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    pub(crate) fn eat(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    pub(crate) fn expect(&mut self, wanted: char, place: &str) -> Result<(), ParseArchError> {
        if self.eat(wanted) {
            return Ok(());
        }
        Err(self.error_here(format!(
            "found {}, expected {wanted:?} {place}",
            self.found()
        )))
    }

    /// Whether the text ends here; otherwise the separator must stand here and is eaten.
    pub(crate) fn end_or(
        &mut self,
        separator: char,
        expected: &str,
    ) -> Result<bool, ParseArchError> {
        if self.rest().is_empty() {
            return Ok(true);
        }
        if self.eat(separator) {
            return Ok(false);
        }
        Err(self.error_here(format!("found {}, expected {expected}", self.found())))
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> (usize, &'a str) {
        let (at, rest) = (self.at, self.rest());
        let len = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += len;
        (at, &rest[..len])
    }

    /// Letters, digits and underscores, perhaps none, and where they began.
    pub(crate) fn word(&mut self) -> (usize, &'a str) {
        self.take_while(|c| c.is_alphanumeric() || c == '_')
    }

    /// The code or name of an operation. Which of them a space has, the space says.
    pub(crate) fn op(&mut self) -> Result<Op, ParseArchError> {
        let (at, word) = self.word();
        Op::parse(word).ok_or_else(|| {
            let found = if word.is_empty() {
                self.found()
            } else {
                format!("{word:?}")
            };
            let codes = Op::MICRO_WIDE.map(Op::code);
            let expected = codes.join(", ");
            self.error(
                at,
                format!(
                    "found {found}, expected an operation: one of {expected}, or its full name"
                ),
            )
        })
    }

    /// A whole number and where it began.
    pub(crate) fn number(&mut self) -> Result<(usize, i64), ParseArchError> {
        let at = self.at;
        self.eat('-');
        self.take_while(|c| c.is_ascii_digit());
        match self.text[at..self.at].parse() {
            Ok(number) => Ok((at, number)),
            Err(_) if self.at == at => {
                Err(self.error(at, format!("found {}, expected a number", self.found())))
            }
            Err(_) => Err(self.error(
                at,
                format!("{} is no number in range", &self.text[at..self.at]),
            )),
        }
    }
}
