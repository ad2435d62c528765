//! The registers of a wide loop, and its operations one after the other as instructions.
//!
//! Requires: operations whose arguments come before them. Ensures: every group of lanes has registers of its own for its values; accumulators
//! and counters keep theirs through the whole loop, and a reduction takes the groups in order. Numbers for all lanes have registers
//! too as far as these suffice (a processor loads two vectors in the time of two multiply-adds, so that numbers from memory halve the speed);
//! the others are read from memory each time.

use super::evex::{Assembler, Code, Gpr, Source, Zmm};
use super::{Loop, Op, Two, Value, Word};
use meshwright_plan::kernel::Reduce;

/// General registers for addresses: those that a function may change, then those that it must restore.
const ADDRESSES: [Gpr; 12] = [Gpr(2), Gpr(6), Gpr(8), Gpr(9), Gpr(10), Gpr(11), Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
/// How many of them may be changed.
const FREE: usize = 6;

/// The assignment of registers while a loop is assembled.
pub(super) struct Lowering<'a> {
    ops: &'a [Op],
    /// How many groups of 16 lanes take turns.
    groups: u8,
    /// Words that are addresses, in the order of their registers.
    addresses: Vec<Word>,
    /// Accumulators: their addresses and registers.
    sums: Vec<(Word, Zmm)>,
    /// Counters: their operations, starts, steps and registers.
    counts: Vec<(usize, Word, Zmm)>,
    /// Numbers that stay in registers.
    held: Vec<(Source, Zmm)>,
    /// The last operation that uses each value; its own place if none does.
    last: Vec<usize>,
    /// The registers of each value, by group.
    places: Vec<Vec<Zmm>>,
    free: Vec<Zmm>,
}

impl<'a> Lowering<'a> {
    /// Keeps so many numbers in registers; none if these or the general registers do not suffice.
    pub(super) fn new(ops: &'a [Op], groups: u8, held: usize) -> Option<Lowering<'a>> {
        let mut last: Vec<usize> = (0..ops.len()).collect();
        let places = vec![Vec::new(); ops.len()];
        let (mut addresses, mut sums, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut free: Vec<Zmm> = (0..32).map(Zmm).collect();
        for (at, op) in ops.iter().enumerate() {
            op.args().iter().for_each(|arg| last[arg.0] = at);
            match *op {
                Op::Load(word) | Op::Store(word, _) | Op::Stream(word, _) if !addresses.contains(&word) => addresses.push(word),
                Op::Reduce(_, word, _) => sums.push((word, free.pop()?)),
                Op::Count(from) => counts.push((at, from, free.pop()?)),
                Op::Load(_) | Op::Store(..) | Op::Stream(..) | Op::Splat(_) | Op::Constant(_) | Op::Two(..) => {}
                Op::Fused { .. } | Op::Shift(..) | Op::Sqrt(_) | Op::Real(_) | Op::Compare { .. } | Op::Choose(..) => {}
            }
        }
        let held = numbers(ops).into_iter().take(held).map(|number| Some((number, free.pop()?))).collect::<Option<Vec<_>>>()?;
        let fits = addresses.len() <= ADDRESSES.len();
        fits.then_some(Lowering { ops, groups, addresses, sums, counts, held, last, places, free })
    }

    fn saved(&self) -> &'static [Gpr] {
        &ADDRESSES[FREE..self.addresses.len().max(FREE)]
    }

    /// What stands ahead of the loop.
    pub(super) fn begin(&self, code: &mut Assembler) {
        self.saved().iter().for_each(|register| code.push(*register));
        code.start(0);
        let counts = self.counts.iter().map(|(_, from, register)| (*from, *register));
        for (word, register) in self.sums.iter().copied().chain(counts) {
            code.argument(ADDRESSES[0], Loop::at(word));
            code.load(register, Source::Base(ADDRESSES[0]));
        }
        for (word, register) in self.addresses.iter().zip(ADDRESSES) {
            code.argument(register, Loop::at(*word));
        }
        self.held.iter().for_each(|(number, register)| code.load(*register, *number));
    }

    /// One round of the loop; none if the registers do not suffice.
    pub(super) fn body(&mut self, code: &mut Assembler) -> Option<()> {
        for at in 0..self.ops.len() {
            let taken = self.overwritten(at);
            if let Some(taken) = taken {
                self.places[at] = self.places[taken.0].clone();
            } else if self.has_result(at) {
                let first = self.free.len().checked_sub(self.groups.into())?;
                self.places[at] = self.free.split_off(first);
            }
            (0..self.groups).try_for_each(|group| self.op(code, at, group))?;
            taken.into_iter().for_each(|taken| self.places[taken.0].clear());
            self.release(at);
        }
        for (_, _, register) in &self.counts {
            code.vector(Code::ADD_INT, *register, *register, Source::Constant(16 * u32::from(self.groups)));
        }
        Some(())
    }

    /// What stands behind the loop.
    pub(super) fn end(&self, code: &mut Assembler) {
        for (word, register) in &self.sums {
            code.argument(ADDRESSES[0], Loop::at(*word));
            code.store(Source::Base(ADDRESSES[0]), *register);
        }
        self.saved().iter().rev().for_each(|register| code.pop(*register));
    }

    /// Whether an operation puts something into registers: what nobody uses is not computed.
    fn has_result(&self, at: usize) -> bool {
        self.last[at] > at && !self.ops[at].is_number()
    }

    /// The argument whose registers become the result's: that which the instruction overwrites, if nobody else needs it.
    fn overwritten(&self, at: usize) -> Option<Value> {
        let (first, others) = match self.ops[at] {
            Op::Fused { a, b, c, .. } => (a, [b, c]),
            Op::Choose(mask, a, b) => (mask, [a, b]),
            _ => return None,
        };
        let mine = self.last[first.0] == at && self.has_result(at) && !others.contains(&first);
        (mine && !self.ops[first.0].is_number()).then_some(first)
    }

    /// Frees the registers of values that are used for the last time.
    fn release(&mut self, at: usize) {
        for arg in self.ops[at].args() {
            if self.last[arg.0] == at {
                self.free.append(&mut self.places[arg.0]);
            }
        }
    }

    /// The lanes of a group at an address.
    fn lanes(&self, word: Word, group: u8) -> Source {
        let at = self.addresses.iter().position(|known| *known == word).expect("addresses were collected");
        Source::Lanes(ADDRESSES[at], group)
    }

    fn source(&self, value: Value, group: u8) -> Source {
        let Some(number) = number(&self.ops[value.0]) else { return Source::Register(self.places[value.0][usize::from(group)]) };
        let held = self.held.iter().find(|(known, _)| *known == number);
        held.map_or(number, |(_, register)| Source::Register(*register))
    }

    /// A value in a register: a number is loaded into `spare`.
    fn register(&self, code: &mut Assembler, value: Value, group: u8, spare: Zmm) -> Zmm {
        match self.source(value, group) {
            Source::Register(register) => register,
            number => {
                code.load(spare, number);
                spare
            }
        }
    }

    /// Brings a value to where an instruction overwrites it.
    fn place(&self, code: &mut Assembler, to: Zmm, from: Source) {
        if from != Source::Register(to) {
            code.load(to, from);
        }
    }

    /// One operation for one group.
    fn op(&mut self, code: &mut Assembler, at: usize, group: u8) -> Option<()> {
        let op = self.ops[at];
        match self.places[at].get(usize::from(group)) {
            Some(to) => self.computation(code, op, *to, group),
            None => self.effect(code, op, group),
        }
    }

    fn effect(&self, code: &mut Assembler, op: Op, group: u8) -> Option<()> {
        let spare = *self.free.last()?;
        match op {
            Op::Store(word, value) => {
                let value = self.register(code, value, group, spare);
                code.store(self.lanes(word, group), value);
            }
            Op::Stream(word, value) => {
                let value = self.register(code, value, group, spare);
                code.stream(self.lanes(word, group), value);
            }
            Op::Reduce(how, word, value) => {
                let sum = self.sums.iter().find(|(known, _)| *known == word)?.1;
                let value = self.register(code, value, group, spare);
                match how {
                    Reduce::Sum => code.vector(Code::ADD, sum, sum, Source::Register(value)),
                    Reduce::Min => code.vector(Code::MIN, sum, value, Source::Register(sum)),
                    Reduce::Max | Reduce::Argmax => code.vector(Code::MAX, sum, value, Source::Register(sum)),
                }
            }
            Op::Load(_) | Op::Splat(_) | Op::Constant(_) | Op::Count(_) | Op::Two(..) | Op::Fused { .. } | Op::Shift(..) => {}
            Op::Sqrt(_) | Op::Real(_) | Op::Compare { .. } | Op::Choose(..) => {}
        }
        Some(())
    }

    fn computation(&self, code: &mut Assembler, op: Op, to: Zmm, group: u8) -> Option<()> {
        match op {
            Op::Load(word) => code.load(to, self.lanes(word, group)),
            Op::Count(from) => {
                let counter = self.counts.iter().find(|(_, known, _)| *known == from)?.2;
                code.vector(Code::ADD_INT, to, counter, Source::Constant(16 * u32::from(group)));
            }
            Op::Two(two, a, b) => {
                let a = self.register(code, a, group, to);
                code.vector(two.code(), to, a, self.source(b, group));
            }
            Op::Fused { negated, a, b, c } => {
                let spare = *self.free.last()?;
                let b = self.register(code, b, group, spare);
                self.place(code, to, self.source(a, group));
                code.vector(if negated { Code::FUSED_NEGATED } else { Code::FUSED }, to, b, self.source(c, group));
            }
            Op::Shift(a, bits) => {
                let a = self.register(code, a, group, to);
                code.shift_right(to, a, bits);
            }
            Op::Sqrt(a) => code.vector(Code::SQRT, to, Zmm(0), self.source(a, group)),
            Op::Real(a) => code.vector(Code::REAL, to, Zmm(0), self.source(a, group)),
            Op::Compare { real, how, a, b } => {
                let a = self.register(code, a, group, to);
                code.compare(real, how as u8, to, a, self.source(b, group));
            }
            Op::Choose(mask, a, b) => {
                let a = self.register(code, a, group, *self.free.last()?);
                self.place(code, to, self.source(mask, group));
                code.choose(to, a, self.source(b, group));
            }
            Op::Splat(_) | Op::Constant(_) | Op::Store(..) | Op::Stream(..) | Op::Reduce(..) => {}
        }
        Some(())
    }
}

/// Where a number for all lanes stands in memory.
fn number(op: &Op) -> Option<Source> {
    match *op {
        Op::Splat(word) => Some(Source::Splat(Loop::at(word))),
        Op::Constant(bits) => Some(Source::Constant(bits)),
        _ => None,
    }
}

/// All numbers for all lanes, those first that are used most.
pub(super) fn numbers(ops: &[Op]) -> Vec<Source> {
    let mut found: Vec<(Source, usize)> = Vec::new();
    for source in ops.iter().flat_map(Op::args).filter_map(|arg| number(&ops[arg.0])) {
        match found.iter_mut().find(|(known, _)| *known == source) {
            Some((_, uses)) => *uses += 1,
            None => found.push((source, 1)),
        }
    }
    found.sort_by_key(|(_, uses)| std::cmp::Reverse(*uses));
    found.into_iter().map(|(source, _)| source).collect()
}

impl Two {
    fn code(self) -> Code {
        match self {
            Two::Add => Code::ADD,
            Two::Sub => Code::SUB,
            Two::Mul => Code::MUL,
            Two::Div => Code::DIV,
            Two::Min => Code::MIN,
            Two::Max => Code::MAX,
            Two::AddInt => Code::ADD_INT,
            Two::SubInt => Code::SUB_INT,
            Two::MulInt => Code::MUL_INT,
            Two::MinInt => Code::MIN_INT,
            Two::MaxInt => Code::MAX_INT,
            Two::Scale => Code::SCALE,
            Two::And => Code::AND,
            Two::Or => Code::OR,
            Two::Xor => Code::XOR,
        }
    }
}
