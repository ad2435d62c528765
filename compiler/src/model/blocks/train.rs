//! `train { … }`: steps, microbatches, optimizer, rate, clip, precision, seed.

use super::keyed::{Keyed, spelled};
use super::{Reader, error};
use crate::model::settings::{Optimizer, Precision, Rate, Train};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{Arg, BlockKind, Expr, ExprKind};

const OPTIMIZERS: [&str; 3] = ["adamw", "sgd", "lion"];
const RATES: [&str; 4] = ["constant", "linear", "cosine", "wsd"];

/// Reads the block; what is left out has its default.
pub(super) fn read(reader: &mut Reader) -> Train {
    let default = Train::default();
    let mut keyed = Keyed::new(reader, BlockKind::Train);
    let steps = keyed.whole("steps", 1).unwrap_or(default.steps);
    let microbatches = keyed.whole("microbatches", 1).unwrap_or(default.microbatches);
    let optimizer = keyed.take("optimizer").and_then(|(_, value)| optimizer(&mut keyed, &value)).unwrap_or(default.optimizer);
    let rate = keyed.take("rate").and_then(|(_, value)| rate(&mut keyed, &value, steps)).unwrap_or(default.rate);
    let clip = clip(&mut keyed);
    let precision = match keyed.word("precision", &["f32", "bf16"]).as_deref() {
        Some("bf16") => Precision::Bf16,
        _ => Precision::F32,
    };
    let seed = keyed.whole("seed", 0).unwrap_or(default.seed);
    keyed.close();
    Train { steps, microbatches, optimizer, rate, clip, precision, seed }
}

fn clip(keyed: &mut Keyed) -> Option<f64> {
    let (_, value) = keyed.take("clip")?;
    if value.kind == ExprKind::None {
        return None;
    }
    let clip = keyed.number_of(&value, "clip")?;
    if clip > 0.0 {
        return Some(clip);
    }
    keyed.errors().push(error::range(value.span, "clip", clip, "above 0", "write the largest norm, as in `clip = 1.0`, or leave it out"));
    None
}

/// The callee and arguments of `name(…)` or of a bare `name`.
fn call(value: &Expr) -> Option<(String, &[Arg])> {
    match &value.kind {
        ExprKind::Call { callee, args } => Some((callee.text(), args)),
        ExprKind::Path(path) => Some((path.text(), &[])),
        _ => None,
    }
}

fn optimizer(keyed: &mut Keyed, value: &Expr) -> Option<Optimizer> {
    let (name, args) = call(value).unwrap_or_default();
    let optimizer = match name.as_str() {
        "adamw" => {
            let given = keyed.numbers("adamw", args, &["beta1", "beta2", "eps", "decay"]);
            let (beta1, beta2) = (pick(&given, "beta1", 0.9), pick(&given, "beta2", 0.95));
            Optimizer::AdamW { beta1, beta2, epsilon: pick(&given, "eps", 1e-8), decay: pick(&given, "decay", 0.1) }
        }
        "sgd" => {
            let given = keyed.numbers("sgd", args, &["momentum", "decay"]);
            Optimizer::Sgd { momentum: pick(&given, "momentum", 0.0), decay: pick(&given, "decay", 0.0) }
        }
        "lion" => {
            let given = keyed.numbers("lion", args, &["beta1", "beta2", "decay"]);
            Optimizer::Lion { beta1: pick(&given, "beta1", 0.9), beta2: pick(&given, "beta2", 0.99), decay: pick(&given, "decay", 0.1) }
        }
        _ => {
            keyed.errors().push(error::one_of(value.span, "optimizer", &spelled(value), &OPTIMIZERS));
            return None;
        }
    };
    check_optimizer(keyed, value.span, optimizer);
    Some(optimizer)
}

fn check_optimizer(keyed: &mut Keyed, span: Span, optimizer: Optimizer) {
    let (shares, decay): (Vec<(&str, f64)>, f64) = match optimizer {
        Optimizer::AdamW { beta1, beta2, decay, .. } | Optimizer::Lion { beta1, beta2, decay } => {
            (vec![("beta1", beta1), ("beta2", beta2)], decay)
        }
        Optimizer::Sgd { momentum, decay } => (vec![("momentum", momentum)], decay),
    };
    for (name, share) in shares {
        if !(0.0..1.0).contains(&share) {
            keyed.errors().push(error::range(
                span,
                name,
                share,
                "from 0 to below 1",
                "it is the share of the old average that is kept: try 0.9",
            ));
        }
    }
    if decay < 0.0 {
        keyed.errors().push(error::range(span, "decay", decay, "from 0", "weights would grow: leave out the sign"));
    }
}

fn rate(keyed: &mut Keyed, value: &Expr, steps: u64) -> Option<Rate> {
    let (name, args) = match call(value) {
        Some((name, args)) if RATES.contains(&name.as_str()) => (name, args),
        Some((name, _)) if matches!(value.kind, ExprKind::Call { .. }) => {
            keyed.errors().push(error::one_of(value.span, "rate", &name, &RATES));
            return None;
        }
        _ => {
            let peak = keyed.number_of(value, "rate")?;
            return checked(keyed, value.span, Rate::Constant { peak, warmup: 0 }, steps);
        }
    };
    let known: &[&'static str] = match name.as_str() {
        "constant" => &["peak", "warmup"],
        "wsd" => &["peak", "warmup", "decay", "floor"],
        _ => &["peak", "warmup", "floor"],
    };
    let given = keyed.numbers(&name, args, known);
    let Some((_, peak)) = given.iter().find(|(name, _)| *name == "peak").copied() else {
        keyed.errors().push(error::no_peak(value.span, &name));
        return None;
    };
    let (warmup, floor) = (pick(&given, "warmup", 0.0) as u64, pick(&given, "floor", 0.0));
    let rate = match name.as_str() {
        "constant" => Rate::Constant { peak, warmup },
        "linear" => Rate::Linear { peak, warmup, floor },
        "wsd" => Rate::Wsd { peak, warmup, decay: pick(&given, "decay", steps as f64 / 5.0) as u64, floor },
        _ => Rate::Cosine { peak, warmup, floor },
    };
    checked(keyed, value.span, rate, steps)
}

/// The rate, if its numbers make sense together.
fn checked(keyed: &mut Keyed, span: Span, rate: Rate, steps: u64) -> Option<Rate> {
    let (peak, warmup, floor, decay) = match rate {
        Rate::Constant { peak, warmup } => (peak, warmup, 0.0, 0),
        Rate::Linear { peak, warmup, floor } | Rate::Cosine { peak, warmup, floor } => (peak, warmup, floor, 0),
        Rate::Wsd { peak, warmup, decay, floor } => (peak, warmup, floor, decay),
    };
    if peak <= 0.0 {
        keyed.errors().push(error::range(span, "peak", peak, "above 0", "try `3e-4`"));
    } else if !(0.0..=peak).contains(&floor) {
        keyed.errors().push(error::range(span, "floor", floor, &format!("from 0 to the peak, {peak}"), "a tenth of the peak is usual"));
    } else if warmup + decay > steps {
        keyed.errors().push(error::warmup(span, warmup, decay, steps));
    } else {
        return Some(rate);
    }
    None
}

fn pick(given: &[(&'static str, f64)], name: &str, default: f64) -> f64 {
    given.iter().find(|(known, _)| *known == name).map_or(default, |(_, number)| *number)
}
