//! The `exact` forward pass: f32 arithmetic that gives the same bits on every processor.
//!
//! `models/EXACT.md` is the specification. Its idea: an element of a matrix product is one chain of fused
//! multiply-adds in ascending order, each of them correctly rounded wherever it is computed, and everything between
//! the products is a written sequence of correctly rounded operations. So the code here is plain Rust, compiled
//! once for each [`InstructionSet`]. The compiler may use wider registers, and never another order: Rust neither
//! contracts nor reorders floating-point arithmetic.

mod arithmetic;
mod heads;
mod instructions;
mod passes;
mod product;
mod tower;

#[cfg(test)]
mod tests;

pub(super) use arithmetic::Activation;
pub(super) use heads::Heads;
pub use instructions::InstructionSet;
pub(super) use passes::{add_bias, layer_norm_row, softmax_row};
