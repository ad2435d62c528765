//! Loops over lanes with vectors of 512 bits, for machines that have them: Cranelift's vectors end at 128.
//!
//! A loop is a straight list of operations on 16 lanes at once, and the 16 virtual lanes of a reduction are one register. It becomes a
//! function of its own, called with a pointer to 64-bit words: where the lanes start and end in bytes, then addresses at lane 0 and numbers.
//!
//! Requires: whole groups of 16 lanes. Ensures: the bits of the 128-bit loops, as every operation rounds by itself; no code for a loop that
//! needs more registers than there are (the caller has 128-bit code for everything).

mod evex;

use evex::{Assembler, Gpr, Source, Zmm};
use meshwright_plan::kernel::Reduce;

/// Whether the code can run here: the loops keep the calling convention of Unix.
pub(super) const SUPPORTED: bool = cfg!(all(target_arch = "x86_64", unix));

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
    /// The 16 integers at an address, and from one group of lanes to the next so much more.
    Count { from: Word, step: Word },
    Two(Two, Value, Value),
    Sqrt(Value),
    /// Integers as floats.
    Real(Value),
    /// A mask.
    Compare { real: bool, how: Compare, a: Value, b: Value },
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
            Op::Load(_) | Op::Splat(_) | Op::Count { .. } => Vec::new(),
            Op::Two(_, a, b) | Op::Compare { a, b, .. } => vec![a, b],
            Op::Sqrt(a) | Op::Real(a) | Op::Store(_, a) | Op::Stream(_, a) | Op::Reduce(_, _, a) => vec![a],
            Op::Choose(mask, a, b) => vec![mask, a, b],
        }
    }

    /// The argument that may stand in memory instead of a register.
    fn foldable(&self) -> Option<Value> {
        match *self {
            Op::Two(_, _, b) | Op::Compare { b, .. } | Op::Choose(_, _, b) => Some(b),
            Op::Load(_) | Op::Splat(_) | Op::Count { .. } | Op::Sqrt(_) | Op::Real(_) => None,
            Op::Store(..) | Op::Stream(..) | Op::Reduce(..) => None,
        }
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

    pub(super) fn count(&mut self, from: Word, step: Word) -> Value {
        self.push(Op::Count { from, step })
    }

    pub(super) fn two(&mut self, op: Two, a: Value, b: Value) -> Value {
        let swaps = matches!(op, Two::Add | Two::Mul | Two::AddInt | Two::MulInt | Two::And | Two::Or | Two::Xor);
        // A number for all lanes is read by the operation itself where it comes second.
        if swaps && matches!(self.ops[a.0], Op::Splat(_)) { self.push(Op::Two(op, b, a)) } else { self.push(Op::Two(op, a, b)) }
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
    pub(super) fn assemble(&self) -> Option<Vec<u8>> {
        let mut lowering = Lowering::new(self)?;
        let mut code = Assembler::default();
        lowering.begin(&mut code);
        let mut enough = Some(());
        code.repeat(8, |code| {
            enough = (0..self.ops.len()).try_for_each(|at| lowering.op(code, at));
            lowering.step(code);
        });
        enough?;
        lowering.end(&mut code);
        Some(code.finish())
    }
}

/// General registers for addresses: those that a function may change, then those that it must restore.
const ADDRESSES: [Gpr; 13] =
    [Gpr(0), Gpr(2), Gpr(6), Gpr(8), Gpr(9), Gpr(10), Gpr(11), Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
/// How many of them may be changed.
const FREE: usize = 7;

/// The assignment of registers while a loop is assembled.
struct Lowering<'a> {
    ops: &'a [Op],
    /// Words that are addresses, in the order of their registers.
    addresses: Vec<Word>,
    /// Accumulators: their addresses and registers.
    sums: Vec<(Word, Zmm)>,
    /// Counters: their starts, steps and registers.
    counts: Vec<(Word, Word, Zmm)>,
    /// The last operation that uses each value; its own place if none does.
    last: Vec<usize>,
    /// Whether a value is read from the arguments where it is used.
    folded: Vec<bool>,
    places: Vec<Option<Zmm>>,
    free: Vec<Zmm>,
}

impl<'a> Lowering<'a> {
    fn new(body: &'a Loop) -> Option<Lowering<'a>> {
        let ops = &body.ops[..];
        let (mut addresses, mut sums, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut places = vec![None; ops.len()];
        let mut last: Vec<usize> = (0..ops.len()).collect();
        let mut folded: Vec<bool> = ops.iter().map(|op| matches!(op, Op::Splat(_))).collect();
        let mut free: Vec<Zmm> = (0..32).map(Zmm).collect();
        for (at, op) in ops.iter().enumerate() {
            for arg in op.args() {
                last[arg.0] = at;
            }
            let others = op.args().len() - usize::from(op.foldable().is_some());
            op.args()[..others].iter().for_each(|arg| folded[arg.0] = false);
            match *op {
                Op::Load(word) | Op::Store(word, _) | Op::Stream(word, _) if !addresses.contains(&word) => addresses.push(word),
                Op::Reduce(_, word, _) => sums.push((word, free.pop()?)),
                Op::Count { from, step } => {
                    places[at] = Some(free.pop()?);
                    counts.push((from, step, places[at]?));
                }
                Op::Load(_) | Op::Store(..) | Op::Stream(..) | Op::Splat(_) | Op::Two(..) | Op::Sqrt(_) => {}
                Op::Real(_) | Op::Compare { .. } | Op::Choose(..) => {}
            }
        }
        (addresses.len() <= ADDRESSES.len()).then_some(Lowering { ops, addresses, sums, counts, last, folded, places, free })
    }

    fn saved(&self) -> &'static [Gpr] {
        &ADDRESSES[FREE..self.addresses.len().max(FREE)]
    }

    fn begin(&self, code: &mut Assembler) {
        self.saved().iter().for_each(|register| code.push(*register));
        code.start(0);
        let counts = self.counts.iter().map(|(from, _, register)| (from, register));
        for (word, register) in self.sums.iter().map(|(word, register)| (word, register)).chain(counts) {
            code.argument(ADDRESSES[0], Loop::at(*word));
            code.load(*register, Source::Base(ADDRESSES[0]));
        }
        for (word, register) in self.addresses.iter().zip(ADDRESSES) {
            code.argument(register, Loop::at(*word));
        }
    }

    /// Moves the counters to the next group of lanes.
    fn step(&self, code: &mut Assembler) {
        for (_, step, register) in &self.counts {
            code.vector(evex::Code::ADD_INT, *register, *register, Source::Splat(Loop::at(*step)));
        }
    }

    fn end(&self, code: &mut Assembler) {
        for (word, register) in &self.sums {
            code.argument(ADDRESSES[0], Loop::at(*word));
            code.store(Source::Base(ADDRESSES[0]), *register);
        }
        self.saved().iter().rev().for_each(|register| code.pop(*register));
    }

    /// The lanes at an address.
    fn lanes(&self, word: Word) -> Source {
        let at = self.addresses.iter().position(|known| *known == word).expect("addresses were collected");
        Source::Lanes(ADDRESSES[at])
    }

    fn register(&self, value: Value) -> Zmm {
        self.places[value.0].expect("a value is computed before it is used")
    }

    fn source(&self, value: Value) -> Source {
        match self.ops[value.0] {
            Op::Splat(word) if self.folded[value.0] => Source::Splat(Loop::at(word)),
            _ => Source::Register(self.register(value)),
        }
    }

    /// One operation; none if no register is free.
    fn op(&mut self, code: &mut Assembler, at: usize) -> Option<()> {
        let op = self.ops[at];
        let to = if self.has_result(at) { Some(self.free.pop()?) } else { None };
        match (op, to) {
            (Op::Store(word, value), _) => code.store(self.lanes(word), self.register(value)),
            (Op::Stream(word, value), _) => code.stream(self.lanes(word), self.register(value)),
            (Op::Reduce(how, word, value), _) => self.reduce(code, how, word, value),
            (Op::Load(word), Some(to)) => code.load(to, self.lanes(word)),
            (Op::Splat(word), Some(to)) => code.load(to, Source::Splat(Loop::at(word))),
            (Op::Two(two, a, b), Some(to)) => code.vector(two.code(), to, self.register(a), self.source(b)),
            (Op::Sqrt(a), Some(to)) => code.vector(evex::Code::SQRT, to, Zmm(0), self.source(a)),
            (Op::Real(a), Some(to)) => code.vector(evex::Code::REAL, to, Zmm(0), self.source(a)),
            (Op::Compare { real, how, a, b }, Some(to)) => code.compare(real, how as u8, to, self.register(a), self.source(b)),
            (Op::Choose(mask, a, b), Some(to)) => {
                code.load(to, Source::Register(self.register(mask)));
                code.choose(to, self.register(a), self.source(b));
            }
            (Op::Count { .. }, _) => return Some(()),
            (_, None) => {}
        }
        self.places[at] = to;
        self.release(at);
        Some(())
    }

    /// Whether an operation puts something into a register: what nobody uses is not computed.
    fn has_result(&self, at: usize) -> bool {
        self.last[at] > at && !self.folded[at] && !matches!(self.ops[at], Op::Count { .. })
    }

    /// Frees the registers of values that are used for the last time.
    fn release(&mut self, at: usize) {
        let mut args = self.ops[at].args();
        args.sort_by_key(|arg| arg.0);
        args.dedup();
        let counts = |arg: &Value| matches!(self.ops[arg.0], Op::Count { .. });
        for arg in args.into_iter().filter(|arg| self.last[arg.0] == at && !counts(arg)) {
            self.free.extend(self.places[arg.0].take());
        }
    }

    fn reduce(&self, code: &mut Assembler, how: Reduce, word: Word, value: Value) {
        let sum = self.sums.iter().find(|(known, _)| *known == word).expect("accumulators were collected").1;
        let value = self.register(value);
        match how {
            Reduce::Sum => code.vector(evex::Code::ADD, sum, sum, Source::Register(value)),
            Reduce::Min => code.vector(evex::Code::MIN, sum, value, Source::Register(sum)),
            Reduce::Max | Reduce::Argmax => code.vector(evex::Code::MAX, sum, value, Source::Register(sum)),
        }
    }
}

impl Two {
    fn code(self) -> evex::Code {
        match self {
            Two::Add => evex::Code::ADD,
            Two::Sub => evex::Code::SUB,
            Two::Mul => evex::Code::MUL,
            Two::Div => evex::Code::DIV,
            Two::Min => evex::Code::MIN,
            Two::Max => evex::Code::MAX,
            Two::AddInt => evex::Code::ADD_INT,
            Two::SubInt => evex::Code::SUB_INT,
            Two::MulInt => evex::Code::MUL_INT,
            Two::MinInt => evex::Code::MIN_INT,
            Two::MaxInt => evex::Code::MAX_INT,
            Two::And => evex::Code::AND,
            Two::Or => evex::Code::OR,
            Two::Xor => evex::Code::XOR,
        }
    }
}
