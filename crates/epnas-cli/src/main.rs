//! The `epnas` command.
fn main() {}
