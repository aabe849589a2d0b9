//! The nexis command.

#[allow(dead_code, unused_imports)]
mod view;

fn main() {}
