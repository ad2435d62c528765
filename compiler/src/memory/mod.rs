//! `memory`: where everything stands.
//!
//! In: graphs, timelines, fused programs. Out: blocks of weights ([`state`]), places of activations, cotangents and kept values
//! ([`frames`]), the temporaries of a program ([`scratch`]), and what takes two bytes instead of four ([`half`]). All offsets are multiples of
//! [`ALIGN`].
//!
//! Frames of equal calls have equal sizes and stand one after the other, so that a run of calls is an affine function of its number.

pub mod frames;
pub mod half;
pub mod last;
pub mod scratch;
pub mod state;

/// Alignment of everything that a program parameter may be bound to, in bytes.
pub const ALIGN: u64 = 64;

/// The next multiple of [`ALIGN`].
pub fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN)
}
