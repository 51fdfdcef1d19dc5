//! lazaret.
fn main() {}
