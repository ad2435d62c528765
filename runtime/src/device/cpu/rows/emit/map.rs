//! Elementwise functions, on one element or a vector of four.
//!
//! Requires: argument types that the plan's verifier accepted. Ensures: one rounding per operation, the same on every machine; a bool is a
//! mask of 32 bits, all ones or zeros.

use super::Emitter;
use crate::device::cpu::rows::schedule::small_power;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use meshwright_plan::Element;
use meshwright_plan::kernel::{Map, Node};

/// A type for one element or for four.
fn sized(kind: Type, wide: bool) -> Type {
    if wide { kind.by(4).expect("a vector type") } else { kind }
}

impl Emitter<'_, '_> {
    /// The value of a map whose arguments are at hand.
    pub(super) fn map(&mut self, op: Map, args: &[Node], v: &[Value], wide: bool) -> Value {
        let real = self.schedule.types[args[0]] == Element::F32;
        match op {
            Map::Add => {
                if real {
                    self.b.ins().fadd(v[0], v[1])
                } else {
                    self.b.ins().iadd(v[0], v[1])
                }
            }
            Map::Sub => {
                if real {
                    self.b.ins().fsub(v[0], v[1])
                } else {
                    self.b.ins().isub(v[0], v[1])
                }
            }
            Map::Mul => {
                if real {
                    self.b.ins().fmul(v[0], v[1])
                } else {
                    self.b.ins().imul(v[0], v[1])
                }
            }
            Map::Div if real => self.b.ins().fdiv(v[0], v[1]),
            Map::Div => self.by_parts(v, wide, Self::quotient),
            Map::Rem => self.by_parts(v, wide, Self::remainder),
            Map::Min if real => self.choose_float(FloatCC::LessThan, v[0], v[1], wide),
            Map::Max if real => self.choose_float(FloatCC::GreaterThan, v[0], v[1], wide),
            Map::Min => self.b.ins().smin(v[0], v[1]),
            Map::Max => self.b.ins().smax(v[0], v[1]),
            Map::Neg => {
                if real {
                    self.b.ins().fneg(v[0])
                } else {
                    self.b.ins().ineg(v[0])
                }
            }
            Map::Abs => {
                if real {
                    self.b.ins().fabs(v[0])
                } else {
                    self.b.ins().iabs(v[0])
                }
            }
            Map::Sign => self.sign(v[0], real, wide),
            Map::Floor => self.b.ins().floor(v[0]),
            Map::Sqrt => self.b.ins().sqrt(v[0]),
            Map::Rsqrt => {
                let root = self.b.ins().sqrt(v[0]);
                self.reciprocal(root, wide)
            }
            Map::Pow => self.power(v[0], small_power(self.rows, args[1]).expect("other powers are calls"), wide),
            Map::Lt => self.compare(FloatCC::LessThan, IntCC::SignedLessThan, v, real, wide),
            Map::Le => self.compare(FloatCC::LessThanOrEqual, IntCC::SignedLessThanOrEqual, v, real, wide),
            Map::Eq => self.compare(FloatCC::Equal, IntCC::Equal, v, real, wide),
            Map::Ne => self.compare(FloatCC::NotEqual, IntCC::NotEqual, v, real, wide),
            Map::And => self.b.ins().band(v[0], v[1]),
            Map::Or => self.b.ins().bor(v[0], v[1]),
            Map::Not => self.b.ins().bnot(v[0]),
            Map::Where => self.choose(v[0], v[1], v[2], wide),
            Map::Real => self.real(args[0], v[0], wide),
            Map::Int => self.b.ins().fcvt_to_sint_sat(sized(types::I32, wide), v[0]),
            Map::RoundBf16 => self.round_bf16(v[0], wide),
            Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh | Map::Erf => unreachable!("routines are calls"),
        }
    }

    /// A constant of f32.
    fn float(&mut self, value: f32, wide: bool) -> Value {
        let value = self.b.ins().f32const(value);
        if wide { self.b.ins().splat(types::F32X4, value) } else { value }
    }

    /// A constant of i32.
    fn integer(&mut self, value: i32, wide: bool) -> Value {
        let value = self.b.ins().iconst(types::I32, i64::from(value as u32));
        if wide { self.b.ins().splat(types::I32X4, value) } else { value }
    }

    /// The bits of f32 as i32; i32 as it is.
    pub(super) fn as_bits(&mut self, value: Value, wide: bool) -> Value {
        let kind = sized(types::I32, wide);
        if self.b.func.dfg.value_type(value) == kind { value } else { self.b.ins().bitcast(kind, super::MemFlagsData::new(), value) }
    }

    /// Bits as f32.
    pub(super) fn as_float(&mut self, value: Value, wide: bool) -> Value {
        self.b.ins().bitcast(sized(types::F32, wide), super::MemFlagsData::new(), value)
    }

    /// A comparison as a mask.
    fn compare(&mut self, float: FloatCC, integer: IntCC, v: &[Value], real: bool, wide: bool) -> Value {
        let result = if real { self.b.ins().fcmp(float, v[0], v[1]) } else { self.b.ins().icmp(integer, v[0], v[1]) };
        if wide { result } else { self.b.ins().bmask(types::I32, result) }
    }

    /// `if mask { a } else { b }` for elements of any type.
    fn choose(&mut self, mask: Value, a: Value, b: Value, wide: bool) -> Value {
        if !wide {
            return self.b.ins().select(mask, a, b);
        }
        let mask = if self.b.func.dfg.value_type(a) == types::F32X4 { self.as_float(mask, true) } else { mask };
        self.b.ins().bitselect(mask, a, b)
    }

    /// `if a compares to b { a } else { b }`: the pattern that becomes one instruction for smaller and larger.
    pub(super) fn choose_float(&mut self, comparison: FloatCC, a: Value, b: Value, wide: bool) -> Value {
        let mask = self.b.ins().fcmp(comparison, a, b);
        self.choose(mask, a, b, wide)
    }

    /// 1 / x.
    fn reciprocal(&mut self, x: Value, wide: bool) -> Value {
        let one = self.float(1.0, wide);
        self.b.ins().fdiv(one, x)
    }

    /// x to a small integer, by products from the left, as a quotient if negative.
    fn power(&mut self, x: Value, exponent: i32, wide: bool) -> Value {
        if exponent == 0 {
            return self.float(1.0, wide);
        }
        let product = (1..exponent.abs()).fold(x, |product, _| self.b.ins().fmul(product, x));
        if exponent < 0 { self.reciprocal(product, wide) } else { product }
    }

    /// -1, 0 or 1; of f32, a zero keeps its sign and NaN stays.
    fn sign(&mut self, x: Value, real: bool, wide: bool) -> Value {
        if !real {
            let (low, high) = (self.integer(-1, wide), self.integer(1, wide));
            let above = self.b.ins().smax(x, low);
            return self.b.ins().smin(above, high);
        }
        let (zero, one, minus) = (self.float(0.0, wide), self.float(1.0, wide), self.float(-1.0, wide));
        let below = self.b.ins().fcmp(FloatCC::LessThan, x, zero);
        let rest = self.choose(below, minus, x, wide);
        let above = self.b.ins().fcmp(FloatCC::GreaterThan, x, zero);
        self.choose(above, one, rest, wide)
    }

    /// i32 or bool to f32.
    fn real(&mut self, arg: Node, x: Value, wide: bool) -> Value {
        if self.schedule.types[arg] == Element::I32 {
            return self.b.ins().fcvt_from_sint(sized(types::F32, wide), x);
        }
        let one = self.integer(1.0f32.to_bits() as i32, wide);
        let bits = self.b.ins().band(x, one);
        self.as_float(bits, wide)
    }

    /// The nearest bf16, ties to even; NaN becomes the quiet one.
    fn round_bf16(&mut self, x: Value, wide: bool) -> Value {
        let bits = self.as_bits(x, wide);
        let upper = self.b.ins().ushr_imm_u(bits, 16);
        let (one, half, mask) = (self.integer(1, wide), self.integer(0x7fff, wide), self.integer(0xffff_0000_u32 as i32, wide));
        let odd = self.b.ins().band(upper, one);
        let bias = self.b.ins().iadd(odd, half);
        let sum = self.b.ins().iadd(bits, bias);
        let rounded = self.b.ins().band(sum, mask);
        let rounded = self.as_float(rounded, wide);
        let nan = self.float(f32::NAN, wide);
        let number = self.b.ins().fcmp(FloatCC::Equal, x, x);
        self.choose(number, rounded, nan, wide)
    }

    /// Integer operations that vectors lack, part by part.
    fn by_parts(&mut self, v: &[Value], wide: bool, operation: fn(&mut Self, Value, Value) -> Value) -> Value {
        if !wide {
            return operation(self, v[0], v[1]);
        }
        let mut result = v[0];
        for lane in 0u8..4 {
            let (a, b) = (self.b.ins().extractlane(v[0], lane), self.b.ins().extractlane(v[1], lane));
            let part = operation(self, a, b);
            result = self.b.ins().insertlane(result, part, lane);
        }
        result
    }

    /// a / b towards zero; by 0 it gives 0, and the one quotient that overflows wraps.
    fn quotient(&mut self, a: Value, b: Value) -> Value {
        let (zero, one) = (self.integer(0, false), self.integer(1, false));
        let by_zero = self.b.ins().icmp_imm_s(IntCC::Equal, b, 0);
        let by_minus = self.b.ins().icmp_imm_s(IntCC::Equal, b, -1);
        let divisor = self.b.ins().select(by_zero, one, b);
        let divisor = self.b.ins().select(by_minus, one, divisor);
        let quotient = self.b.ins().sdiv(a, divisor);
        let negated = self.b.ins().ineg(a);
        let quotient = self.b.ins().select(by_minus, negated, quotient);
        self.b.ins().select(by_zero, zero, quotient)
    }

    /// The remainder with the divisor's sign; by 0 it gives 0.
    fn remainder(&mut self, a: Value, b: Value) -> Value {
        let quotient = self.quotient(a, b);
        let product = self.b.ins().imul(quotient, b);
        let rest = self.b.ins().isub(a, product);
        let signs = self.b.ins().bxor(rest, b);
        let differ = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
        let some = self.b.ins().icmp_imm_s(IntCC::NotEqual, rest, 0);
        let wrong = self.b.ins().band(differ, some);
        let fixed = self.b.ins().iadd(rest, b);
        let rest = self.b.ins().select(wrong, fixed, rest);
        let zero = self.integer(0, false);
        let by_zero = self.b.ins().icmp_imm_s(IntCC::Equal, b, 0);
        self.b.ins().select(by_zero, zero, rest)
    }
}
