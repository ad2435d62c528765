//! Loops over lanes with vectors of 512 bits, for machines that have them: Cranelift's vectors end at 128.
//!
//! A loop is a straight list of operations on 16 lanes at once, and the 16 virtual lanes of a reduction are one register. It becomes a
//! function of its own, called with a pointer to 64-bit words: where the lanes start and end in bytes, then addresses at lane 0 and numbers.
//!
//! Requires: whole groups of 16 lanes. Ensures: the bits of the 128-bit loops, as every operation rounds by itself; no code for a loop that
//! needs more registers than there are (the caller has 128-bit code for everything).

mod evex;
mod functions;
mod registers;

use crate::device::cpu::isa::Isa;
use evex::Assembler;
use meshwright_plan::kernel::{KernelData, Reduce};
use registers::Lowering;

/// Rows with fewer lanes are not worth a call.
const FEWEST: u64 = 64;

/// Whether a kernel's loops can be wide: the machine has the vectors, the system has Unix's calling convention, and rows are long enough.
pub(super) fn suits(kernel: &KernelData, isa: Isa) -> bool {
    let lanes = kernel.lane().map_or(1, |lane| kernel.dims[lane].size);
    cfg!(all(target_arch = "x86_64", unix)) && isa == Isa::Avx512 && lanes >= FEWEST
}

/// What an operation computes, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value(usize);

/// One of the words after the start and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(usize);

/// Operations of two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Two {
    Add,
    Sub,
    Mul,
    Div,
    /// The second operand unless the first is smaller.
    Min,
    /// The second operand unless the first is larger.
    Max,
    AddInt,
    SubInt,
    MulInt,
    MinInt,
    MaxInt,
    /// The first times 2 to the second, a whole number.
    Scale,
    And,
    Or,
    Xor,
}

/// Comparisons; the numbers are the processor's predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Compare {
    Eq = 0,
    Lt = 1,
    Le = 2,
    Ne = 4,
}

/// An operation on 16 lanes.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// The elements at an address.
    Load(Word),
    /// One number for all lanes.
    Splat(Word),
    /// These bits in all lanes.
    Constant(u32),
    /// The 16 integers at an address, and from one group of lanes to the next 16 more.
    Count(Word),
    Two(Two, Value, Value),
    /// `a · b + c`, or `c - a · b`, rounded once.
    Fused {
        negated: bool,
        a: Value,
        b: Value,
        c: Value,
    },
    /// To the right, zeros from above.
    Shift(Value, u8),
    Sqrt(Value),
    /// Integers as floats.
    Real(Value),
    /// A mask.
    Compare {
        real: bool,
        how: Compare,
        a: Value,
        b: Value,
    },
    /// By mask.
    Choose(Value, Value, Value),
    Store(Word, Value),
    /// Past the caches, to whole lines.
    Stream(Word, Value),
    /// Into the accumulators at an address, which stay in a register.
    Reduce(Reduce, Word, Value),
}

impl Op {
    fn args(&self) -> Vec<Value> {
        match *self {
            Op::Load(_) | Op::Splat(_) | Op::Constant(_) | Op::Count(_) => Vec::new(),
            Op::Two(_, a, b) | Op::Compare { a, b, .. } => vec![a, b],
            Op::Fused { a, b, c, .. } => vec![a, b, c],
            Op::Sqrt(a) | Op::Real(a) | Op::Shift(a, _) | Op::Store(_, a) | Op::Stream(_, a) | Op::Reduce(_, _, a) => vec![a],
            Op::Choose(mask, a, b) => vec![mask, a, b],
        }
    }

    /// Whether it is one number for all lanes, which another operation may read from memory.
    fn is_number(&self) -> bool {
        matches!(self, Op::Splat(_) | Op::Constant(_))
    }
}

/// A loop under construction.
#[derive(Debug, Default)]
pub(super) struct Loop {
    ops: Vec<Op>,
    words: usize,
}

impl Loop {
    /// Bytes of the start and the end.
    const HEAD: usize = 16;

    /// One more word.
    pub(super) fn word(&mut self) -> Word {
        self.words += 1;
        Word(self.words - 1)
    }

    /// The byte at which a word stands.
    pub(super) fn at(word: Word) -> i32 {
        (Loop::HEAD + 8 * word.0) as i32
    }

    /// Bytes of all words.
    pub(super) fn bytes(&self) -> u32 {
        (Loop::HEAD + 8 * self.words) as u32
    }

    fn push(&mut self, op: Op) -> Value {
        self.ops.push(op);
        Value(self.ops.len() - 1)
    }

    pub(super) fn load(&mut self, address: Word) -> Value {
        self.push(Op::Load(address))
    }

    pub(super) fn splat(&mut self, number: Word) -> Value {
        self.push(Op::Splat(number))
    }

    pub(super) fn count(&mut self, from: Word) -> Value {
        self.push(Op::Count(from))
    }

    pub(super) fn two(&mut self, op: Two, a: Value, b: Value) -> Value {
        let swaps = matches!(op, Two::Add | Two::Mul | Two::AddInt | Two::MulInt | Two::And | Two::Or | Two::Xor);
        // A number for all lanes is read by the operation itself where it comes second.
        if swaps && self.ops[a.0].is_number() { self.push(Op::Two(op, b, a)) } else { self.push(Op::Two(op, a, b)) }
    }

    pub(super) fn constant(&mut self, value: f32) -> Value {
        self.bits(value.to_bits())
    }

    pub(super) fn bits(&mut self, bits: u32) -> Value {
        self.push(Op::Constant(bits))
    }

    /// `a · b + c`, rounded once.
    pub(super) fn fused(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.push(Op::Fused { negated: false, a, b, c })
    }

    /// `c - a · b`, rounded once.
    pub(super) fn fused_from(&mut self, c: Value, a: Value, b: Value) -> Value {
        self.push(Op::Fused { negated: true, a, b, c })
    }

    pub(super) fn shift_right(&mut self, a: Value, bits: u8) -> Value {
        self.push(Op::Shift(a, bits))
    }

    pub(super) fn sqrt(&mut self, a: Value) -> Value {
        self.push(Op::Sqrt(a))
    }

    pub(super) fn real(&mut self, a: Value) -> Value {
        self.push(Op::Real(a))
    }

    pub(super) fn compare(&mut self, real: bool, how: Compare, a: Value, b: Value) -> Value {
        self.push(Op::Compare { real, how, a, b })
    }

    pub(super) fn choose(&mut self, mask: Value, a: Value, b: Value) -> Value {
        self.push(Op::Choose(mask, a, b))
    }

    pub(super) fn store(&mut self, address: Word, value: Value) {
        self.push(Op::Store(address, value));
    }

    /// Stores past the caches: the address is a multiple of 64.
    pub(super) fn stream(&mut self, address: Word, value: Value) {
        self.push(Op::Stream(address, value));
    }

    pub(super) fn reduce(&mut self, op: Reduce, address: Word, value: Value) {
        self.push(Op::Reduce(op, address, value));
    }

    /// The function's bytes; none if the registers do not suffice.
    ///
    /// Several groups of lanes take turns operation by operation: a processor finds the independence of long chains too late by itself.
    /// Three are enough; a fourth is worth less than numbers in registers.
    pub(super) fn assemble(&self) -> Option<Vec<u8>> {
        let numbers = registers::numbers(&self.ops).len();
        let all = self.assemble_groups(4, numbers);
        all.or_else(|| [3, 2, 1].into_iter().find_map(|groups| (0..=numbers).rev().find_map(|held| self.assemble_groups(groups, held))))
    }

    fn assemble_groups(&self, groups: u8, held: usize) -> Option<Vec<u8>> {
        let mut code = Assembler::default();
        let (mut several, mut one) = (Lowering::new(&self.ops, groups, held)?, Lowering::new(&self.ops, 1, held)?);
        several.begin(&mut code);
        let mut enough = Some(());
        if groups > 1 {
            code.repeat(8, groups, |code| enough = several.body(code));
        }
        enough?;
        code.repeat(8, 1, |code| enough = one.body(code));
        enough?;
        one.end(&mut code);
        Some(code.finish())
    }
}
