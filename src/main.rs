//! The `neuncut` command.

fn main() {}
