//! Two fleets of one spec side by side: random inputs that fit their types, and how far apart their gradients are.
//!
//! Requires plans of the same model, whatever their meshes. Ensures equal inputs on both, and errors as norms over whole tensors: a gradient may be
//! zero in theory, so what is granted has a share of all gradients' norm.

use super::Fleet;
use crate::data::Slot;
use crate::error::Error;
use meshwright_plan::Weight;
use std::convert::Infallible;

/// How far apart two fleets may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Granted {
    /// ‖Δ‖ ≤ this · ‖g‖ + that · ‖all g‖, of every gradient.
    pub gradient: (f64, f64),
    /// Relative error of the first loss.
    pub loss: f64,
    /// Relative error of the loss in later steps.
    pub curve: f64,
}

/// What another order of sums leaves open in f32.
pub const EXACT: Granted = Granted { gradient: (1e-5, 1e-7), loss: 1e-5, curve: 1e-4 };

/// The same in bf16: another order of a sum rounds to another neighbour, which is 2^-8 away, and a step has a dozen such places in a row.
pub const ROUNDED: Granted = Granted { gradient: (5e-3, 2e-4), loss: 2e-4, curve: 5e-4 };

/// All copies of one weight's gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The weight's path, `[*]` for the copies' numbers.
    pub path: String,
    /// Elements of all copies.
    pub elements: u64,
    /// The copy that is furthest off, compared with what is granted.
    pub worst: String,
    /// Norm of the difference, norm of the gradient, and what is granted, there.
    pub off: f64,
    /// Norm of the gradient.
    pub norm: f64,
    /// The largest norm of a difference that passes.
    pub granted: f64,
}

impl Compared {
    /// Whether the difference is within what is granted.
    pub fn passes(&self) -> bool {
        self.off <= self.granted
    }

    /// Norm of the difference by norm of the gradient.
    pub fn relative(&self) -> f64 {
        if self.off == 0.0 { 0.0 } else { self.off / self.norm }
    }
}

/// Fills every input with random values of its type; equal for equal seeds, whatever the mesh.
pub fn fill(fleet: &mut Fleet, seed: u64) {
    for at in 0..fleet.plan().inputs.len() {
        let bound = fleet.plan().inputs[at].bound.unwrap_or(2);
        let mut state = seed.wrapping_add(12_345);
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407 + at as u64);
            state >> 33
        };
        let write = |slot: Slot<'_>| {
            match slot {
                Slot::Index(places) => places.iter_mut().for_each(|place| *place = (next() % bound) as i32),
                Slot::Real(values) => values.iter_mut().for_each(|value| *value = (next() as f64 / f64::from(1u32 << 30) - 1.0) as f32),
            }
            Ok::<(), Infallible>(())
        };
        let Ok(()) = fleet.fill(at, write);
    }
}

/// The loss of a step.
///
/// # Errors
/// As [`Fleet::run`].
pub fn loss(fleet: &mut Fleet, step: u64) -> Result<f64, Error> {
    fleet.run("step", step)?;
    Ok(fleet.readout("loss").unwrap_or(f64::NAN))
}

/// Whether all weights have the same bits.
pub fn equal_weights(found: &Fleet, wanted: &Fleet) -> bool {
    pairs(found, wanted).all(|(own, other)| (0..own.count).all(|copy| found.weight(own, copy) == wanted.weight(other, copy)))
}

/// Every weight's gradient after a step, against that of another fleet; of weights that are not trained (states), their values.
pub fn gradients(found: &Fleet, wanted: &Fleet, granted: &Granted) -> Vec<Compared> {
    let gradient =
        |fleet: &Fleet, weight: &Weight, copy: u64| fleet.gradient(weight, copy).unwrap_or_else(|| fleet.weight(weight, copy)).into_owned();
    let of = |weight: &Weight, copy| gradient(wanted, weight, copy);
    let squares = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    let copies = |weight: &Weight| (0..weight.count).map(|copy| squares(&of(weight, copy))).sum::<f64>();
    let all = wanted.plan().weights.iter().map(copies).sum::<f64>().sqrt();
    let compare = |(own, other): (&Weight, &Weight)| {
        let copies = (0..own.count).map(|copy| {
            let (value, expected) = (gradient(found, own, copy), of(other, copy));
            let off = value.iter().zip(expected.iter()).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt();
            let norm = squares(&expected).sqrt();
            let granted = granted.gradient.0 * norm + granted.gradient.1 * all;
            // Not a number is as far off as can be.
            let off = if off.is_nan() { f64::INFINITY } else { off };
            let elements = expected.len() as u64 * own.count;
            Compared { path: own.path.clone(), elements, worst: own.name(copy), off, norm, granted }
        });
        copies.max_by(|a, b| (a.off / a.granted).total_cmp(&(b.off / b.granted)))
    };
    pairs(found, wanted).filter_map(compare).collect()
}

/// The weights of both by path.
fn pairs<'a>(found: &'a Fleet, wanted: &'a Fleet) -> impl Iterator<Item = (&'a Weight, &'a Weight)> {
    let other = |own: &Weight| wanted.plan().weights.iter().find(|other| other.path == own.path && other.count == own.count);
    found.plan().weights.iter().filter_map(move |own| Some((own, other(own)?)))
}
