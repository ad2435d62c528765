//! Claims about the functions: their error bounds over all exponents, their special values, and equal bits on every instruction set.

use super::{Function, Isa, TILE, power};

const ALL: [Function; 6] = [Function::Exp, Function::Log, Function::Tanh, Function::Sin, Function::Cos, Function::Erf];

/// Every exponent and sign, with a spread of mantissas.
fn samples(step: usize) -> Vec<f32> {
    (0..=u32::MAX).step_by(step).map(f32::from_bits).filter(|x| !x.is_nan()).collect()
}

/// The error function in f64: its series near zero, the continued fraction of erfc elsewhere (Abramowitz and Stegun 7.1.6, 7.1.14).
fn erf(x: f64) -> f64 {
    let z = x * x;
    if z < 9.0 {
        let mut term = 2.0 / std::f64::consts::PI.sqrt() * x * (-z).exp();
        let mut sum = term;
        for n in 1..200 {
            term *= 2.0 * z / f64::from(2 * n + 1);
            sum += term;
        }
        return sum;
    }
    let mut fraction = 0.0;
    for n in (1..60).rev() {
        fraction = f64::from(n) / 2.0 / (x.abs() + fraction);
    }
    let rest = (-z).exp() / std::f64::consts::PI.sqrt() / (x.abs() + fraction);
    (1.0 - rest).copysign(x)
}

fn exact(function: Function, x: f64) -> f64 {
    match function {
        Function::Exp => x.exp(),
        Function::Log => x.ln(),
        Function::Tanh => x.tanh(),
        Function::Sin => x.sin(),
        Function::Cos => x.cos(),
        Function::Erf => erf(x),
    }
}

/// The distance of `got` from `want` in units of `want`'s last place as an f32.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if !rounded.is_finite() || !got.is_finite() {
        return if rounded.to_bits() == got.to_bits() || (rounded.is_nan() && got.is_nan()) { 0.0 } else { f64::INFINITY };
    }
    let place = (f64::from(rounded.abs().next_up()) - f64::from(rounded.abs())).max(f64::from(f32::from_bits(1)));
    (f64::from(got) - want).abs() / place
}

fn worst(function: Function, points: &[f32]) -> (f64, f32) {
    let mut got = points.to_vec();
    got.chunks_mut(TILE).for_each(|tile| function.apply(tile));
    let errors = points.iter().zip(&got).map(|(&x, &y)| (ulps(y, exact(function, f64::from(x))), x));
    errors.fold((0.0, 0.0), |worst, now| if now.0 > worst.0 { now } else { worst })
}

#[test]
fn errors_stay_below_the_stated_bounds() {
    let points = samples(997);
    for function in ALL {
        let (bound, points): (f64, Vec<f32>) = match function {
            Function::Exp | Function::Log | Function::Erf => (2.0, points.clone()),
            Function::Tanh => (6.0, points.clone()),
            Function::Sin | Function::Cos => (2.0, points.iter().copied().filter(|x| x.abs() <= 2.0f32.powi(48)).collect()),
        };
        let (error, x) = worst(function, &points);
        println!("{function:?}: {error:.3} ulp at {x:e}");
        assert!(error <= bound, "{function:?}({x:e}) is {error} units off");
    }
}

/// The arguments that training meets most, densely.
#[test]
fn errors_stay_below_the_bounds_near_one() {
    for function in ALL {
        let points: Vec<f32> = (0..2_000_000).map(|i| (i as f32 - 1_000_000.0) * 1.1e-5).collect();
        let (error, x) = worst(function, &points);
        let bound = if function == Function::Tanh { 6.0 } else { 2.0 };
        assert!(error <= bound, "{function:?}({x:e}) is {error} units off");
    }
}

#[test]
fn powers_are_exact_to_one_unit() {
    let bases = samples(8_000_009);
    let exponents: Vec<f32> = samples(12_000_017).into_iter().chain([2.0, 3.0, -1.0, 0.5, -0.5, 0.0, 7.0, 1.0, 1e-3]).collect();
    for &y in &exponents {
        let mut got = bases.clone();
        let other = vec![y; bases.len()];
        // SAFETY: the lengths agree, and the machine has what `detect` says.
        unsafe { power(Isa::detect())(got.as_mut_ptr(), other.as_ptr(), got.len()) };
        for (&x, &value) in bases.iter().zip(&got) {
            let want = f64::from(x).powf(f64::from(y));
            assert!(ulps(value, want) <= 1.0, "{x:e}^{y:e}: {value:e}, not {want:e}");
        }
    }
}

#[test]
fn special_values_are_right() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let cases: [(Function, &[(f32, f32)]); 6] = [
        (Function::Exp, &[(inf, inf), (-inf, 0.0), (nan, nan), (0.0, 1.0), (-0.0, 1.0), (88.8, inf), (-104.5, 0.0), (1e-45, 1.0)]),
        (Function::Log, &[(inf, inf), (-inf, nan), (nan, nan), (0.0, -inf), (-0.0, -inf), (1.0, 0.0), (-1e-40, nan)]),
        (Function::Tanh, &[(inf, 1.0), (-inf, -1.0), (nan, nan), (0.0, 0.0), (-0.0, -0.0), (1e-40, 1e-40), (30.0, 1.0)]),
        (Function::Sin, &[(inf, nan), (-inf, nan), (nan, nan), (0.0, 0.0), (-0.0, -0.0), (1e-40, 1e-40), (1e20, nan)]),
        (Function::Cos, &[(inf, nan), (-inf, nan), (nan, nan), (0.0, 1.0), (-0.0, 1.0), (1e-40, 1.0), (1e20, nan)]),
        (Function::Erf, &[(inf, 1.0), (-inf, -1.0), (nan, nan), (0.0, 0.0), (-0.0, -0.0), (9.0, 1.0)]),
    ];
    for (function, pairs) in cases {
        for &(x, want) in pairs {
            let mut got = [x];
            function.apply(&mut got);
            assert!(got[0].to_bits() == want.to_bits() || (got[0].is_nan() && want.is_nan()), "{function:?}({x}) = {}, not {want}", got[0]);
        }
    }
}

#[test]
fn all_instruction_sets_give_equal_bits() {
    let points = samples(65_537 * 3);
    for function in ALL {
        let mut first: Option<Vec<u32>> = None;
        for isa in Isa::all() {
            let mut got = points.clone();
            // SAFETY: the slice is ours, and `all` lists only what may be executed.
            unsafe { function.routine(isa)(got.as_mut_ptr(), got.len()) };
            let bits: Vec<u32> = got.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect();
            assert!(first.get_or_insert_with(|| bits.clone()) == &bits, "{function:?} differs on {isa:?}");
        }
    }
}

#[test]
fn tile_borders_do_not_matter() {
    let points: Vec<f32> = (0..1000).map(|i| (i as f32 - 500.0) * 0.013).collect();
    for function in ALL {
        let bits = |values: Vec<f32>| values.into_iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect::<Vec<u32>>();
        let mut whole = points.clone();
        function.apply(&mut whole);
        let whole = bits(whole);
        for cut in [1, 7, 16, 33, 500] {
            let mut pieces = points.clone();
            pieces.chunks_mut(cut).for_each(|tile| function.apply(tile));
            assert_eq!(whole, bits(pieces), "{function:?} in tiles of {cut}");
        }
    }
}
