//! The statements of a `rows` kernel.
//!
//! Ensures that arguments come before their users and that nothing deeper than `DEPTH` is read. Types and levels are `verify`'s business.

use super::kernel::{dim, find, strides};
use super::{DEPTH, cursor::Cursor, error::ParseError, lex::Line};
use crate::KernelData;
use crate::kernel::{Access, Effect, Gather, Map, Move, Node, NodeData, Reduce, Rows, Runs, Skeleton, Slot};
use cranelift_entity::PrimaryMap;
use std::collections::BTreeMap;

/// More statements than this make no kernel.
const MOST_STATEMENTS: usize = 4096;

/// Reads all statements into the kernel.
pub(super) fn parse(kernel: &mut KernelData, lines: &[Line]) -> Result<(), ParseError> {
    let Skeleton::Rows(Rows { folded, blocks, .. }) = kernel.skeleton else {
        return lines.first().map_or(Ok(()), |line| Err(line.error("no statements in a kernel that is not `rows`")));
    };
    let (nodes, effects) = {
        let mut body = Body { kernel, nodes: PrimaryMap::new(), effects: Vec::new(), locals: BTreeMap::new(), stored: BTreeMap::new() };
        for (index, line) in lines.iter().enumerate() {
            if index >= MOST_STATEMENTS {
                return Err(line.error("at most 4096 statements"));
            }
            body.statement(line)?;
        }
        (body.nodes, body.effects)
    };
    kernel.skeleton = Skeleton::Rows(Rows { nodes, effects, folded, blocks });
    Ok(())
}

struct Body<'k> {
    kernel: &'k KernelData,
    nodes: PrimaryMap<Node, NodeData>,
    effects: Vec<Effect>,
    /// Values that statements named.
    locals: BTreeMap<String, Node>,
    /// Values that were stored in operands that are only written, which go by the operand's name.
    stored: BTreeMap<Slot, Node>,
}

impl Body<'_> {
    /// `name = value`, `operand = value` or `operand = fold sum(value) via partials`.
    fn statement(&mut self, line: &Line) -> Result<(), ParseError> {
        let mut cursor = Cursor::new(line);
        let fresh = cursor.here("a name that is not taken");
        let name = cursor.name("a name or an operand")?;
        cursor.sign("=")?;
        match find(self.kernel, &name) {
            Some(slot) if cursor.skip_word("fold") => self.fold(&mut cursor, slot)?,
            Some(slot) => {
                let value = self.value(&mut cursor, DEPTH)?;
                self.effects.push(Effect::Store { slot, value });
                if self.kernel.operands[slot].access == Access::Write {
                    self.stored.entry(slot).or_insert(value);
                }
            }
            None => {
                let value = self.value(&mut cursor, DEPTH)?;
                if self.locals.insert(name, value).is_some() {
                    return Err(fresh);
                }
            }
        }
        cursor.finish()
    }

    fn fold(&mut self, cursor: &mut Cursor<'_>, slot: Slot) -> Result<(), ParseError> {
        let op = reduction_word(cursor)?;
        cursor.sign("(")?;
        let value = self.value(cursor, DEPTH)?;
        cursor.sign(")")?;
        let partials = if cursor.skip_word("via") { Some(self.operand(cursor)?) } else { None };
        self.effects.push(Effect::Fold { slot, partials, op, value });
        Ok(())
    }

    fn operand(&self, cursor: &mut Cursor<'_>) -> Result<Slot, ParseError> {
        let error = cursor.here("an operand of the kernel");
        let name = cursor.name("an operand of the kernel")?;
        find(self.kernel, &name).ok_or(error)
    }

    fn map(&mut self, op: Map, args: &[Node]) -> Node {
        self.nodes.push(NodeData::Map { op, args: args.to_vec() })
    }

    fn value(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Result<Node, ParseError> {
        let left = left.checked_sub(1).ok_or_else(|| cursor.here("an expression that is less deep"))?;
        let mut value = self.both(cursor, left)?;
        while cursor.skip_word("or") {
            let next = self.both(cursor, left)?;
            value = self.map(Map::Or, &[value, next]);
        }
        Ok(value)
    }

    fn both(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Result<Node, ParseError> {
        let mut value = self.not(cursor, left)?;
        while cursor.skip_word("and") {
            let next = self.not(cursor, left)?;
            value = self.map(Map::And, &[value, next]);
        }
        Ok(value)
    }

    fn not(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Result<Node, ParseError> {
        let mut count = 0u32;
        while cursor.skip_word("not") {
            count += 1;
        }
        let mut value = self.comparison(cursor, left)?;
        for _ in 0..count {
            value = self.map(Map::Not, &[value]);
        }
        Ok(value)
    }

    fn comparison(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Result<Node, ParseError> {
        let first = self.sum(cursor, left)?;
        let Some(sign) = cursor.any_sign(&["<", "<=", "==", "!="]) else { return Ok(first) };
        let second = self.sum(cursor, left)?;
        let op = match sign {
            "<" => Map::Lt,
            "<=" => Map::Le,
            "==" => Map::Eq,
            _ => Map::Ne,
        };
        Ok(self.map(op, &[first, second]))
    }

    fn sum(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Result<Node, ParseError> {
        let mut value = self.product(cursor, left)?;
        while let Some(sign) = cursor.any_sign(&["+", "-"]) {
            let next = self.product(cursor, left)?;
            value = self.map(if sign == "+" { Map::Add } else { Map::Sub }, &[value, next]);
        }
        Ok(value)
    }

    fn product(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Result<Node, ParseError> {
        let mut value = self.signed(cursor, left)?;
        while let Some(sign) = cursor.any_sign(&["*", "/", "%"]) {
            let next = self.signed(cursor, left)?;
            let op = match sign {
                "*" => Map::Mul,
                "/" => Map::Div,
                _ => Map::Rem,
            };
            value = self.map(op, &[value, next]);
        }
        Ok(value)
    }

    /// A minus right before a number belongs to the number.
    fn signed(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Result<Node, ParseError> {
        if !cursor.skip_sign("-") {
            return self.atom(cursor, left);
        }
        match self.literal(cursor, true)? {
            Some(node) => Ok(node),
            None => {
                let value = self.atom(cursor, left)?;
                Ok(self.map(Map::Neg, &[value]))
            }
        }
    }

    /// A number: f32 if it has a fraction or an exponent, else i32.
    fn literal(&mut self, cursor: &mut Cursor<'_>, negative: bool) -> Result<Option<Node>, ParseError> {
        let error = cursor.here("a number that 32 bits hold");
        if cursor.skip_word("inf") {
            return Ok(Some(self.nodes.push(NodeData::Const(if negative { f32::NEG_INFINITY } else { f32::INFINITY }))));
        }
        let Some(text) = cursor.number() else { return Ok(None) };
        let signed = format!("{}{text}", if negative { "-" } else { "" });
        let data = if text.chars().all(|char| char.is_ascii_digit()) {
            NodeData::Integer(signed.parse().map_err(|_| error)?)
        } else {
            let value: f32 = signed.parse().map_err(|_| error.clone())?;
            NodeData::Const(if value.is_finite() { value } else { return Err(error) })
        };
        Ok(Some(self.nodes.push(data)))
    }

    fn atom(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Result<Node, ParseError> {
        if let Some(node) = self.literal(cursor, false)? {
            return Ok(node);
        }
        if cursor.skip_sign("(") {
            let value = self.value(cursor, left)?;
            cursor.sign(")")?;
            return Ok(value);
        }
        if cursor.skip_sign("$") {
            let name = cursor.name("a scalar's name")?;
            return Ok(self.nodes.push(NodeData::Scalar(name)));
        }
        let start = cursor.clone();
        let name = cursor.name("a value")?;
        if name == "coord" && cursor.is_sign(0, "(") {
            let coordinate = cursor.coordinate()?;
            return Ok(self.nodes.push(NodeData::Coordinate(coordinate)));
        }
        if cursor.skip_sign("(") {
            let value = self.call(cursor, &start, &name, left)?;
            cursor.sign(")")?;
            return Ok(value);
        }
        match find(self.kernel, &name) {
            Some(slot) if cursor.is_sign(0, "[") => self.load(cursor, slot, left),
            Some(slot) => self.mention(slot, &start),
            None => self.locals.get(&name).copied().ok_or_else(|| start.here("an operand or a name given above")),
        }
    }

    /// An operand's name: what it holds if it is read, what was stored in it if it is only written.
    fn mention(&mut self, slot: Slot, start: &Cursor<'_>) -> Result<Node, ParseError> {
        match self.kernel.operands[slot].access {
            Access::Read => Ok(self.nodes.push(NodeData::Load { slot, gather: None, moved: None })),
            Access::Write => {
                self.stored.get(&slot).copied().ok_or_else(|| start.here("a value: this operand is only written, and not yet"))
            }
            Access::Accumulate | Access::Scratch => Err(start.here("a value that can be read here")),
        }
    }

    /// `[Seq - 1 wrap]`, `[index in 0..size by stride]`, or both.
    fn load(&mut self, cursor: &mut Cursor<'_>, slot: Slot, left: u32) -> Result<Node, ParseError> {
        cursor.sign("[")?;
        let moved = self.moved(cursor);
        let mut gather = None;
        if moved.is_none() || cursor.skip_sign(",") {
            let index = self.value(cursor, left)?;
            cursor.keyword("in")?;
            let zero = cursor.here("0");
            if cursor.integer()? != 0 {
                return Err(zero);
            }
            cursor.sign("..")?;
            let size = cursor.integer()?;
            let span = self.kernel.span(&self.kernel.operands[slot].strides).and_then(|span| i64::try_from(span).ok());
            let missing = cursor.here("`by` and a stride");
            let stride = if cursor.skip_word("by") { cursor.signed()? } else { span.ok_or(missing)? };
            gather = Some(Gather { index, stride, size });
        }
        cursor.sign("]")?;
        Ok(self.nodes.push(NodeData::Load { slot, gather, moved }))
    }

    /// `Seq - 1 wrap`, if that stands here.
    fn moved(&self, cursor: &mut Cursor<'_>) -> Option<Move> {
        let mut ahead = cursor.clone();
        let dim = dim(self.kernel, &mut ahead).ok()?;
        let sign = ahead.any_sign(&["+", "-"])?;
        let size = ahead.integer().ok()?;
        let by = if sign == "-" { 0i64.checked_sub_unsigned(size)? } else { i64::try_from(size).ok()? };
        let wrap = ahead.skip_word("wrap");
        if !ahead.is_sign(0, "]") && !ahead.is_sign(0, ",") {
            return None;
        }
        *cursor = ahead;
        Some(Move { dim, by, wrap })
    }

    /// What stands in a function's parentheses.
    fn call(&mut self, cursor: &mut Cursor<'_>, start: &Cursor<'_>, name: &str, left: u32) -> Result<Node, ParseError> {
        match name {
            "index" => return self.position(cursor),
            "random" => return self.random(cursor),
            "load" => {
                let slot = self.operand(cursor)?;
                return Ok(self.nodes.push(NodeData::Load { slot, gather: None, moved: None }));
            }
            _ => {}
        }
        let mut args = vec![self.value(cursor, left)?];
        while cursor.skip_sign(",") {
            args.push(self.value(cursor, left)?);
        }
        if let (Some(op), [arg]) = (reduction(name), &args[..]) {
            return Ok(self.nodes.push(NodeData::Reduce { op, arg: *arg }));
        }
        if let ("scan", [arg]) = (name, &args[..]) {
            return Ok(self.nodes.push(NodeData::Scan { arg: *arg }));
        }
        match function(name) {
            Some(op) if op.arity() == args.len() => Ok(self.map(op, &args)),
            Some(op) => Err(start.here(&format!("{} arguments for this function", op.arity()))),
            None => Err(start.here("a function of kernels")),
        }
    }

    /// `Seq` or `Batch, micro 8`.
    fn position(&mut self, cursor: &mut Cursor<'_>) -> Result<Node, ParseError> {
        let dim = dim(self.kernel, cursor)?;
        let micro = self.micro(cursor)?;
        Ok(self.nodes.push(NodeData::Position { dim, micro }))
    }

    /// `0x1234, [Batch, Seq, Embed], micro 98304, coord(data, times 49152), runs Seq coord(context, times 256)`.
    fn random(&mut self, cursor: &mut Cursor<'_>) -> Result<Node, ParseError> {
        let site = cursor.integer()?;
        cursor.sign(",")?;
        let error = cursor.here("strides that are not negative");
        let strides = strides(self.kernel, cursor)?.into_iter().map(u64::try_from).collect::<Result<_, _>>().map_err(|_| error)?;
        let micro = self.micro(cursor)?;
        let (mut origin, mut runs) = (Vec::new(), Vec::new());
        while cursor.skip_sign(",") {
            let along = if cursor.skip_word("runs") { Some(dim(self.kernel, cursor)?) } else { None };
            cursor.keyword("coord")?;
            let coordinate = cursor.coordinate()?;
            match along {
                Some(dim) => runs.push(Runs { dim, first: coordinate }),
                None => origin.push(coordinate),
            }
        }
        Ok(self.nodes.push(NodeData::Random { site, strides, micro, origin, runs }))
    }

    fn micro(&self, cursor: &mut Cursor<'_>) -> Result<u64, ParseError> {
        if !cursor.skip_sign(",") {
            return Ok(0);
        }
        cursor.keyword("micro")?;
        cursor.integer()
    }
}

/// The name of a reduction.
pub(super) fn reduction_word(cursor: &mut Cursor<'_>) -> Result<Reduce, ParseError> {
    let error = cursor.here("`sum`, `max`, `min` or `argmax`");
    cursor.word().as_deref().and_then(reduction).ok_or(error)
}

fn reduction(word: &str) -> Option<Reduce> {
    Some(match word {
        "sum" => Reduce::Sum,
        "max" => Reduce::Max,
        "min" => Reduce::Min,
        "argmax" => Reduce::Argmax,
        _ => return None,
    })
}

/// Elementwise functions that are called by a word; the others have signs.
fn function(word: &str) -> Option<Map> {
    Some(match word {
        "pow" => Map::Pow,
        "min" => Map::Min,
        "max" => Map::Max,
        "abs" => Map::Abs,
        "sign" => Map::Sign,
        "floor" => Map::Floor,
        "exp" => Map::Exp,
        "log" => Map::Log,
        "sin" => Map::Sin,
        "cos" => Map::Cos,
        "tanh" => Map::Tanh,
        "erf" => Map::Erf,
        "sqrt" => Map::Sqrt,
        "rsqrt" => Map::Rsqrt,
        "where" => Map::Where,
        "real" => Map::Real,
        "int" => Map::Int,
        "bf16" => Map::RoundBf16,
        _ => return None,
    })
}
