//! The project's own forward pass: `exact`, f32 arithmetic that gives the same bits on every processor, and `fast`, the
//! same pass with the operands of its large products rounded to bfloat16.
//!
//! `models/EXACT.md` specifies `exact`. Its idea: an element of a matrix product is one chain of fused multiply-adds in
//! ascending order, each of them correctly rounded wherever it is computed, and everything between the products is a
//! written sequence of correctly rounded operations. So the code here is plain Rust, compiled once for each
//! [`InstructionSet`]. The compiler may use wider registers, and never another order: Rust neither contracts nor reorders
//! floating-point arithmetic.

mod arithmetic;
mod attention;
mod convolution;
mod fastvit;
mod folding;
mod heads;
mod instructions;
mod open_clip;
mod operand;
mod passes;
mod pooling;
mod product;
mod sharing;
mod slabs;
mod text;
mod tower;

#[cfg(test)]
mod tests;

pub(super) use arithmetic::{Activation, LaneSum, exp};
pub(super) use heads::Heads;
pub(super) use instructions::Bf16Instructions;
pub use instructions::InstructionSet;
pub(super) use open_clip::OpenClip;
pub(super) use operand::Bf16;
