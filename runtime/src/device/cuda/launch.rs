//! The device itself: a plan's functions on a context, launched one by one.
//!
//! Requires: a verified plan. Ensures: a launch returns at once; the context's order is the plan's.

use super::Context;
use super::emit::{self, MEMBERS, Source};
use crate::device::{Launch, OPERANDS};
use crate::error::Error;
use crate::execute::Arena;
use meshwright_plan::mesh::Coordinate;
use meshwright_plan::{Kernel, Plan};
use std::ffi::c_void;
use std::sync::Arc;

/// A GPU with a plan's kernels.
pub struct Cuda {
    context: Arc<dyn Context>,
    source: Source,
    scalars: usize,
}

/// The places of all members of a group, as functions take them.
#[repr(C)]
struct Members([*mut u8; MEMBERS]);

impl Cuda {
    /// Emits the plan's functions and has the context compile them.
    ///
    /// # Errors
    /// A kernel's form is not supported here, a group has too many members, or the compiler refuses the text.
    pub fn load(plan: &Plan, context: Arc<dyn Context>) -> Result<Cuda, Error> {
        let source = emit::source(plan)?;
        context.load(&source)?;
        Ok(Cuda { context, source, scalars: plan.scalars.len() })
    }

    /// What a launch must bring the values of, in this order.
    #[must_use]
    pub fn coordinates(&self) -> &[Coordinate] {
        &self.source.coordinates
    }

    /// Who does the work.
    #[must_use]
    pub fn context(&self) -> &Arc<dyn Context> {
        &self.context
    }

    /// Room for the numbers of a step.
    pub(crate) fn numbers(&self) -> Result<Arena, Error> {
        let none = step(0, 0, &vec![0; self.source.coordinates.len()], &vec![0.0; self.scalars]);
        Arena::on(self.context.clone(), 8 * none.len() as u64)
    }

    /// Fills it.
    pub(crate) fn write_numbers(&self, numbers: &mut Arena, seed: u64, number: u64, coordinates: &[i64], scalars: &[f32]) {
        let words = step(seed, number, coordinates, scalars);
        numbers.write(0, 2 * words.len() as u64, |halves: &mut [i32]| {
            for (halves, word) in halves.chunks_exact_mut(2).zip(words) {
                halves.copy_from_slice(&[word as u32 as i32, (word >> 32) as i32]);
            }
        });
    }

    /// Gives all functions of a kernel to the context.
    ///
    /// # Safety
    /// There is a place for every operand, valid for its extent, and `numbers` are of [`Cuda::numbers`].
    pub(crate) unsafe fn launch(&self, kernel: Kernel, launch: &Launch<'_>) {
        let last = (launch.numbers, launch.iteration as u32, launch.micro as u32, launch.accumulate);
        with_arguments(launch.operands, last, |arguments| {
            for function in 0..self.source.kernels[kernel].len() {
                // SAFETY: as the caller promises; these are the arguments that every function of a kernel takes.
                unsafe { self.context.launch(kernel.as_u32(), function, arguments) };
            }
        });
    }

    /// Gives a member's share of a collective to the context; `places` are what each member gives, and where its result goes.
    ///
    /// # Safety
    /// All members have arrived with these places.
    pub(crate) unsafe fn share(&self, kernel: Kernel, places: &[[*mut u8; 2]], member: usize, adds: bool) {
        let of = |which: usize| Members(std::array::from_fn(|at| places.get(at).map_or(std::ptr::null_mut(), |place| place[which])));
        let (mut input, mut output, mut member, mut adds) = (of(0), of(1), member as i32, i32::from(adds));
        let mut arguments: [*mut c_void; 4] =
            [(&raw mut input).cast(), (&raw mut output).cast(), (&raw mut member).cast(), (&raw mut adds).cast()];
        for function in 0..self.source.kernels[kernel].len() {
            // SAFETY: as the caller promises; these are the arguments that a collective's function takes.
            unsafe { self.context.launch(kernel.as_u32(), function, &mut arguments) };
        }
    }
}

/// Calls with the place of every argument that a kernel's functions take: operands, then the step's numbers, iteration, microbatch, and what is
/// added to.
pub(super) fn with_arguments<R>(
    operands: &[*mut u8],
    (mut numbers, mut iteration, mut micro, mut adds): (*const u8, u32, u32, u64),
    give: impl FnOnce(&mut [*mut c_void]) -> R,
) -> R {
    let count = operands.len();
    let mut places = [std::ptr::null_mut::<u8>(); OPERANDS];
    places[..count].copy_from_slice(operands);
    let mut arguments = [std::ptr::null_mut::<c_void>(); OPERANDS + 4];
    arguments.iter_mut().zip(&mut places[..count]).for_each(|(argument, place)| *argument = (&raw mut *place).cast());
    let last = [(&raw mut numbers).cast(), (&raw mut iteration).cast(), (&raw mut micro).cast(), (&raw mut adds).cast()];
    arguments[count..count + 4].copy_from_slice(&last);
    give(&mut arguments[..count + 4])
}

/// The numbers of a step as the prelude's `mw_step` lies in memory.
pub(super) fn step(seed: u64, number: u64, coordinates: &[i64], scalars: &[f32]) -> Vec<u64> {
    let mut words = vec![seed, number & 0xffff_ffff];
    // arrays of C have at least one element
    words.extend((0..coordinates.len().max(1)).map(|at| coordinates.get(at).map_or(0, |value| *value as u64)));
    let scalar = |at: usize| u64::from(scalars.get(at).map_or(0, |value| value.to_bits()));
    words.extend((0..scalars.len().max(1).div_ceil(2)).map(|pair| scalar(2 * pair) | scalar(2 * pair + 1) << 32));
    words
}
