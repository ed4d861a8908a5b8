//! Files that survive a kill at any moment, a full disk and a flipped bit.
//!
//! - A file is appended to and synchronized, or written whole beside its place and renamed over it: [`append`],
//!   [`write_atomic`]. [`write_keeping`] also keeps what was there before, for a step back.
//! - What is read again carries a checksum: JSON as its last key ([`write_json`], [`Lines`]), other files in a last line
//!   ([`seal::text`]). What does not match is an error that names file and line, never a value.
//! - In builds with debug assertions every step of a write is a point where it can be made to fail: [`fault`].

mod error;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fault;
mod file;
mod json;
mod lines;
pub mod seal;

pub use error::{DiskError, FileError};
pub use file::{
    Replacement, append, make_dir, open_truncated, read_if_present, remove, remove_dir,
    write_atomic, write_keeping, write_new,
};
pub use json::{read_json, write_json};
pub use lines::{Line, Lines, parse_lines, read_lines};

/// A step of a write, where tests let it fail.
#[cfg(not(debug_assertions))]
mod fault {
    pub(crate) fn point() -> std::io::Result<()> {
        Ok(())
    }

    pub(crate) fn is_rehearsal() -> bool {
        false
    }
}
