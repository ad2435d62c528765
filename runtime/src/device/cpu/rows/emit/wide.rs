//! The loop of a stage with 512-bit vectors: what it computes as a [`Loop`], and the call of it.
//!
//! Requires: what stands ahead of the loop has been computed. Ensures: whole groups of 16 lanes are done, with the bits of the 128-bit loop;
//! nothing is emitted for a stage with a lookup by lane, a bool in memory, or an operation that the wide loops lack.

use super::Emitter;
use super::lanes::{Around, Work};
use crate::device::cpu::rows::schedule::small_power;
use crate::device::cpu::rows::wide::{self, Compare, Loop, Two, Word};
use cranelift_codegen::ir::{FuncRef, InstBuilder, StackSlot, Value, types};
use cranelift_entity::{EntityRef, SecondaryMap};
use meshwright_plan::Element;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Effect, Map, Node, NodeData, Reduce, Slot};

/// A wide loop that can be called.
pub(super) struct Wide {
    function: FuncRef,
    /// What its words hold.
    inputs: Vec<Value>,
    arguments: StackSlot,
    /// Of the counter of lanes: memory for 16 numbers, and what they start with beside the lane's own number.
    counter: Option<(StackSlot, Value)>,
}

/// A loop being translated.
struct Translation<'a> {
    body: Loop,
    inputs: Vec<(Value, Word)>,
    around: &'a Around,
    done: SecondaryMap<Node, Option<wide::Value>>,
    counter: Option<(StackSlot, Value)>,
}

impl Translation<'_> {
    /// The word that holds an address or a number.
    fn word(&mut self, value: Value) -> Word {
        if let Some((_, word)) = self.inputs.iter().find(|(known, _)| *known == value) {
            return *word;
        }
        let word = self.body.word();
        self.inputs.push((value, word));
        word
    }

    fn splat(&mut self, value: Value) -> wide::Value {
        let word = self.word(value);
        self.body.splat(word)
    }
}

impl Emitter<'_, '_> {
    /// The wide loop for a stage's work, if there can be one.
    pub(super) fn wide_loop(&mut self, work: &Work, around: &Around) -> Option<Wide> {
        if !wide::suits(self.kernel, self.target.isa) {
            return None;
        }
        let mut t = Translation { body: Loop::default(), inputs: Vec::new(), around, done: SecondaryMap::new(), counter: None };
        self.translate(work, &mut t)?;
        let bytes = t.body.assemble()?;
        let arguments = self.stack(t.body.bytes());
        let function = self.linker.add(self.b.func, &bytes)?;
        Some(Wide { function, inputs: t.inputs.into_iter().map(|(value, _)| value).collect(), arguments, counter: t.counter })
    }

    /// Everything is computed before anything is stored, because a read and a write may be one place.
    fn translate(&mut self, work: &Work, t: &mut Translation<'_>) -> Option<()> {
        let wanted = work.kept.iter().map(|(_, value, _)| *value).chain(work.reduced.iter().map(|(_, value)| *value));
        for node in wanted.chain(work.effects.iter().map(|index| self.rows.effects[*index].value())) {
            self.wide_value(node, t)?;
        }
        for (node, value, second) in &work.kept {
            let base = if *second { t.around.others[*node] } else { t.around.bases[*node] };
            let (base, value) = (t.word(base?), self.wide_value(*value, t)?);
            t.body.store(base, value);
        }
        for (node, value) in &work.reduced {
            let NodeData::Reduce { op: op @ (Reduce::Sum | Reduce::Max | Reduce::Min), .. } = self.rows.nodes[*node] else { return None };
            let sums = self.accumulators_address(*node);
            let (sums, value) = (t.word(sums), self.wide_value(*value, t)?);
            t.body.reduce(op, sums, value);
        }
        work.effects.iter().try_for_each(|index| self.wide_effect(*index, t))
    }

    fn wide_effect(&mut self, index: usize, t: &mut Translation<'_>) -> Option<()> {
        let value = self.wide_value(self.rows.effects[index].value(), t)?;
        match &self.rows.effects[index] {
            Effect::Store { slot, .. } => {
                self.is_contiguous(*slot).then_some(())?;
                let address = t.word(self.pointers[slot.index()]);
                let adds = self.target.adds >> slot.index() & 1 == 1;
                let add = if self.kernel.operands[*slot].element == Element::F32 { Two::Add } else { Two::AddInt };
                let value = if adds { self.wide_sum(add, address, value, t) } else { value };
                if self.target.streams >> slot.index() & 1 == 1 {
                    t.body.stream(address, value);
                } else {
                    t.body.store(address, value);
                }
            }
            Effect::Fold { op, .. } => {
                let address = t.word(t.around.folds[index]?);
                let value = match op {
                    Reduce::Sum => self.wide_sum(Two::Add, address, value, t),
                    Reduce::Max | Reduce::Argmax | Reduce::Min => return None,
                };
                t.body.store(address, value);
            }
        }
        Some(())
    }

    /// What stands at an address plus a value.
    fn wide_sum(&self, add: Two, address: Word, value: wide::Value, t: &mut Translation<'_>) -> wide::Value {
        let old = t.body.load(address);
        t.body.two(add, old, value)
    }

    /// Whether an operand's lanes lie side by side, four bytes each.
    fn is_contiguous(&self, slot: Slot) -> bool {
        let operand = &self.kernel.operands[slot];
        operand.element != Element::Bool && self.lane.is_some_and(|lane| operand.strides[lane.index()] == 1)
    }

    fn wide_value(&mut self, node: Node, t: &mut Translation<'_>) -> Option<wide::Value> {
        if let Some(value) = t.done[node] {
            return Some(value);
        }
        let value = self.fresh_wide_value(node, t)?;
        t.done[node] = Some(value);
        Some(value)
    }

    fn fresh_wide_value(&mut self, node: Node, t: &mut Translation<'_>) -> Option<wide::Value> {
        if let NodeData::Const(value) = self.rows.nodes[node] {
            return Some(t.body.constant(value));
        }
        if self.schedule.levels[node] != Level::Lane {
            let value = self.scalar(node);
            return Some(t.splat(value));
        }
        if self.schedule.is_read(self.rows, node, t.around.time) {
            let base = t.word(t.around.bases[node]?);
            return Some(t.body.load(base));
        }
        match &self.rows.nodes[node] {
            NodeData::Load { slot, .. } => {
                let place = self.places[node].filter(|place| place.mask.is_none())?;
                (self.schedule.is_plain(self.kernel, self.rows, node) && self.is_contiguous(*slot)).then_some(())?;
                let address = t.word(place.address);
                Some(t.body.load(address))
            }
            NodeData::Position { dim, micro } => self.wide_position(*dim, *micro, t),
            NodeData::Map { op, args } => {
                let values = args.iter().map(|arg| self.wide_value(*arg, t)).collect::<Option<Vec<_>>>()?;
                self.wide_map(*op, args, &values, t)
            }
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Coordinate(_) | NodeData::Reduce { .. } => None,
            NodeData::Scan { .. } | NodeData::Random { .. } => None,
        }
    }

    /// The numbers of the lanes: one counter in a loop.
    fn wide_position(&mut self, dim: meshwright_plan::kernel::Axis, micro: u64, t: &mut Translation<'_>) -> Option<wide::Value> {
        if t.counter.is_some() {
            return None;
        }
        let part = self.position(dim, micro);
        let part = self.b.ins().ireduce(types::I32, part);
        let slot = self.stack(64);
        let from = self.b.ins().stack_addr(types::I64, slot, 0);
        t.counter = Some((slot, part));
        let from = t.word(from);
        Some(t.body.count(from))
    }

    fn wide_map(&mut self, op: Map, args: &[Node], v: &[wide::Value], t: &mut Translation<'_>) -> Option<wide::Value> {
        let real = self.schedule.types[args[0]] == Element::F32;
        if let Some(two) = two(op, real) {
            return Some(t.body.two(two, v[0], v[1]));
        }
        if let Some(how) = comparison(op) {
            return Some(t.body.compare(real, how, v[0], v[1]));
        }
        Some(match op {
            Map::Neg if real => self.wide_bits(Two::Xor, v[0], i32::MIN, t),
            Map::Abs if real => self.wide_bits(Two::And, v[0], i32::MAX, t),
            Map::Not => self.wide_bits(Two::Xor, v[0], -1, t),
            Map::Exp if self.schedule.inline => t.body.exp(v[0]),
            Map::Tanh if self.schedule.inline => t.body.tanh(v[0]),
            Map::Sqrt => t.body.sqrt(v[0]),
            Map::Rsqrt => {
                let root = t.body.sqrt(v[0]);
                self.wide_reciprocal(root, t)
            }
            Map::Pow => self.wide_power(v[0], small_power(self.rows, args[1])?, t)?,
            Map::Where => t.body.choose(v[0], v[1], v[2]),
            Map::Real if self.schedule.types[args[0]] == Element::I32 => t.body.real(v[0]),
            Map::Real => self.wide_bits(Two::And, v[0], 1.0f32.to_bits() as i32, t),
            Map::RoundBf16 => self.wide_bf16(v[0], t),
            _ => return None,
        })
    }

    fn wide_bits(&self, op: Two, value: wide::Value, bits: i32, t: &mut Translation<'_>) -> wide::Value {
        let bits = t.body.bits(bits as u32);
        t.body.two(op, value, bits)
    }

    fn wide_reciprocal(&self, value: wide::Value, t: &mut Translation<'_>) -> wide::Value {
        let one = t.body.constant(1.0);
        t.body.two(Two::Div, one, value)
    }

    /// The nearest bf16, ties to even; NaN becomes the quiet one.
    fn wide_bf16(&self, x: wide::Value, t: &mut Translation<'_>) -> wide::Value {
        let upper = t.body.shift_right(x, 16);
        let odd = self.wide_bits(Two::And, upper, 1, t);
        let bias = self.wide_bits(Two::AddInt, odd, 0x7fff, t);
        let sum = t.body.two(Two::AddInt, x, bias);
        let rounded = self.wide_bits(Two::And, sum, 0xffff_0000_u32 as i32, t);
        let number = t.body.compare(true, Compare::Eq, x, x);
        let nan = t.body.constant(f32::NAN);
        t.body.choose(number, rounded, nan)
    }

    /// Products from the left, as a quotient if negative.
    fn wide_power(&self, x: wide::Value, exponent: i32, t: &mut Translation<'_>) -> Option<wide::Value> {
        if exponent == 0 {
            return None;
        }
        let product = (1..exponent.abs()).fold(x, |product, _| t.body.two(Two::Mul, product, x));
        Some(if exponent < 0 { self.wide_reciprocal(product, t) } else { product })
    }

    /// Calls a wide loop on the lanes `start..end`, whole groups of 16.
    pub(super) fn call_wide(&mut self, wide: &Wide, start: Value, end: Value) {
        if let Some((slot, part)) = wide.counter {
            self.start_counter(slot, part, start);
        }
        for (at, lane) in [start, end].into_iter().enumerate() {
            let bytes = self.b.ins().ishl_imm_u(lane, 2);
            self.b.ins().stack_store(types::I64, bytes, wide.arguments, 8 * at as i32);
        }
        for (at, value) in wide.inputs.iter().enumerate() {
            self.b.ins().stack_store(types::I64, *value, wide.arguments, 16 + 8 * at as i32);
        }
        let arguments = self.b.ins().stack_addr(types::I64, wide.arguments, 0);
        self.b.ins().call(wide.function, &[arguments]);
    }

    /// Writes the numbers of the first 16 lanes.
    fn start_counter(&mut self, slot: StackSlot, part: Value, start: Value) {
        let first = self.b.ins().ireduce(types::I32, start);
        let first = self.b.ins().iadd(first, part);
        for vector in 0..4 {
            let numbers = self.numbers_from(first, vector);
            self.b.ins().stack_store(types::I64, numbers, slot, 16 * vector as i32);
        }
    }
}

/// Operations of two arguments that are one instruction.
fn two(op: Map, real: bool) -> Option<Two> {
    match (op, real) {
        (Map::Add, true) => Some(Two::Add),
        (Map::Sub, true) => Some(Two::Sub),
        (Map::Mul, true) => Some(Two::Mul),
        (Map::Div, true) => Some(Two::Div),
        (Map::Min, true) => Some(Two::Min),
        (Map::Max, true) => Some(Two::Max),
        (Map::Add, false) => Some(Two::AddInt),
        (Map::Sub, false) => Some(Two::SubInt),
        (Map::Mul, false) => Some(Two::MulInt),
        (Map::Min, false) => Some(Two::MinInt),
        (Map::Max, false) => Some(Two::MaxInt),
        (Map::And, _) => Some(Two::And),
        (Map::Or, _) => Some(Two::Or),
        _ => None,
    }
}

fn comparison(op: Map) -> Option<Compare> {
    match op {
        Map::Lt => Some(Compare::Lt),
        Map::Le => Some(Compare::Le),
        Map::Eq => Some(Compare::Eq),
        Map::Ne => Some(Compare::Ne),
        _ => None,
    }
}
