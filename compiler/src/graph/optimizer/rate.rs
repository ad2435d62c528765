//! Learning rates over steps, as scalar expressions.
//!
//! Requires the number of steps of the run. Ensures `peak * t / warmup` for `t <= warmup`, and the floor at the last step.

use super::binary;
use crate::model::settings::Rate;
use meshwright_plan::scalar::{Binary, Expr, Unary};

/// The rate at the step that `Expr::Step` stands for.
pub fn rate(rate: &Rate, steps: u64) -> Expr {
    match *rate {
        Rate::Constant { peak, warmup } => warmed(peak, warmup, Expr::Const(peak)),
        Rate::Linear { peak, warmup, floor } => warmed(peak, warmup, linear(peak, floor, progress(warmup, steps))),
        Rate::Cosine { peak, warmup, floor } => warmed(peak, warmup, cosine(peak, floor, progress(warmup, steps))),
        Rate::Wsd { peak, warmup, decay, floor } => {
            let start = steps.saturating_sub(decay).max(warmup);
            let fall = linear(peak, floor, progress(start, steps));
            warmed(peak, warmup, after(start, fall, Expr::Const(peak)))
        }
    }
}

/// Linear growth up to step `warmup`, then `rest`.
fn warmed(peak: f64, warmup: u64, rest: Expr) -> Expr {
    if warmup == 0 {
        return rest;
    }
    let growth = binary(Binary::Div, binary(Binary::Mul, Expr::Const(peak), Expr::Step), Expr::Const(warmup as f64));
    after(warmup, rest, growth)
}

/// `then` after step `step`, `before` up to it.
fn after(step: u64, then: Expr, before: Expr) -> Expr {
    let later = binary(Binary::Lt, Expr::Const(step as f64), Expr::Step);
    Expr::Select(Box::new(later), Box::new(then), Box::new(before))
}

/// The share of the way from step `start` to the last step, at most 1.
fn progress(start: u64, steps: u64) -> Expr {
    let way = steps.saturating_sub(start).max(1) as f64;
    let gone = binary(Binary::Sub, Expr::Step, Expr::Const(start as f64));
    binary(Binary::Min, Expr::Const(1.0), binary(Binary::Div, gone, Expr::Const(way)))
}

fn linear(peak: f64, floor: f64, progress: Expr) -> Expr {
    binary(Binary::Add, Expr::Const(peak), binary(Binary::Mul, Expr::Const(floor - peak), progress))
}

/// Half a cosine (Loshchilov and Hutter 2017).
fn cosine(peak: f64, floor: f64, progress: Expr) -> Expr {
    let angle = binary(Binary::Mul, Expr::Const(std::f64::consts::PI), progress);
    let share = binary(Binary::Add, Expr::Const(1.0), Expr::Unary(Unary::Cos, Box::new(angle)));
    binary(Binary::Add, Expr::Const(floor), binary(Binary::Mul, Expr::Const((peak - floor) / 2.0), share))
}
