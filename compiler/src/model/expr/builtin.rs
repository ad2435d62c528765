//! The primitives by name, and which function types each of them.
//!
//! Requires nothing. Ensures that every name in [`Builtin::ALL`] is either typed or refused as not supported yet.

use super::activation::Activation;
use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, names};
use crate::model::item::{Item, Tensor};
use crate::op::{Map, Reduce};
use meshwright_grammar::Span;
use meshwright_grammar::tree::Arg;

/// A primitive of the language, or a shipped expansion into primitives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    Unary(Map),
    Ceil,
    Round,
    Mod,
    Extreme(Reduce, Map),
    Where,
    Clamp,
    Sum,
    Mean,
    Argmax,
    Softmax,
    LogSoftmax,
    Cumsum,
    Dot,
    Attention,
    Rotary,
    CrossEntropy,
    Lookup,
    OneHot,
    TopK,
    Dispatch,
    Combine,
    Split,
    Merge,
    Rename,
    Concat,
    Slice,
    Take,
    Shift,
    Window,
    Expand,
    Position,
    Dropout,
    Random,
    Stop,
    Cast,
    Activation(Activation),
    Missing,
}

impl Builtin {
    /// Name, primitive, and how it is written.
    pub const ALL: &[(&'static str, Builtin, &'static str)] = &[
        ("abs", Builtin::Unary(Map::Abs), "abs(x)"),
        ("sign", Builtin::Unary(Map::Sign), "sign(x)"),
        ("floor", Builtin::Unary(Map::Floor), "floor(x)"),
        ("exp", Builtin::Unary(Map::Exp), "exp(x)"),
        ("log", Builtin::Unary(Map::Log), "log(x)"),
        ("sin", Builtin::Unary(Map::Sin), "sin(x)"),
        ("cos", Builtin::Unary(Map::Cos), "cos(x)"),
        ("tanh", Builtin::Unary(Map::Tanh), "tanh(x)"),
        ("erf", Builtin::Unary(Map::Erf), "erf(x)"),
        ("sqrt", Builtin::Unary(Map::Sqrt), "sqrt(x)"),
        ("rsqrt", Builtin::Unary(Map::Rsqrt), "rsqrt(x)"),
        ("ceil", Builtin::Ceil, "ceil(x)"),
        ("round", Builtin::Round, "round(x)"),
        ("mod", Builtin::Mod, "mod(a, b)"),
        ("min", Builtin::Extreme(Reduce::Min, Map::Min), "min(x, D) or min(a, b)"),
        ("max", Builtin::Extreme(Reduce::Max, Map::Max), "max(x, D) or max(a, b)"),
        ("where", Builtin::Where, "where(condition, a, b)"),
        ("clamp", Builtin::Clamp, "clamp(x, low, high)"),
        ("sum", Builtin::Sum, "sum(x, D)"),
        ("mean", Builtin::Mean, "mean(x, D)"),
        ("argmax", Builtin::Argmax, "argmax(x, D)"),
        ("softmax", Builtin::Softmax, "softmax(x, D)"),
        ("log_softmax", Builtin::LogSoftmax, "log_softmax(x, D)"),
        ("cumsum", Builtin::Cumsum, "cumsum(x, D)"),
        ("dot", Builtin::Dot, "dot(a, b, over: D)"),
        ("attention", Builtin::Attention, "attention(q, k, v, sequence: Seq, feature: Head, causal: true)"),
        ("rotary", Builtin::Rotary, "rotary(x, sequence: Seq, feature: Head)"),
        ("cross_entropy", Builtin::CrossEntropy, "cross_entropy(logits, targets)"),
        ("lookup", Builtin::Lookup, "lookup(table, index)"),
        ("gather", Builtin::Lookup, "gather(table, index)"),
        ("one_hot", Builtin::OneHot, "one_hot(index, D)"),
        ("top_k", Builtin::TopK, "top_k(x, D, into: K)"),
        ("split", Builtin::Split, "split(x, D: [A, B])"),
        ("merge", Builtin::Merge, "merge(x, [A, B], into: D)"),
        ("rename", Builtin::Rename, "rename(x, A: B)"),
        ("concat", Builtin::Concat, "concat(a, b, from: [A, B], into: D)"),
        ("slice", Builtin::Slice, "slice(x, D, from: 0, into: Part)"),
        ("take", Builtin::Take, "take(x, D, at: 0)"),
        ("shift", Builtin::Shift, "shift(x, D, by: 1)"),
        ("expand", Builtin::Expand, "expand(x, D)"),
        ("index", Builtin::Position, "index(D)"),
        ("dropout", Builtin::Dropout, "dropout(x, 0.1)"),
        ("random", Builtin::Random, "random(A, B)"),
        ("stop", Builtin::Stop, "stop(x)"),
        ("cast", Builtin::Cast, "cast(x, real)"),
        ("relu", Builtin::Activation(Activation::Relu), "relu(x)"),
        ("gelu", Builtin::Activation(Activation::Gelu), "gelu(x)"),
        ("sigmoid", Builtin::Activation(Activation::Sigmoid), "sigmoid(x)"),
        ("silu", Builtin::Activation(Activation::Silu), "silu(x)"),
        ("softplus", Builtin::Activation(Activation::Softplus), "softplus(x)"),
        ("dispatch", Builtin::Dispatch, "dispatch(x, choice, over: Seq, to: Expert, slots: Slot)"),
        ("combine", Builtin::Combine, "combine(experts_out, spot, share)"),
        ("recur", Builtin::Missing, "recur(decay, input, over: Seq)"),
        ("window", Builtin::Window, "window(x, D, into: Tap)"),
    ];

    /// The primitive of that name.
    pub fn find(name: &str) -> Option<Builtin> {
        Self::ALL.iter().find(|(known, _, _)| *known == name).map(|(_, builtin, _)| *builtin)
    }
}

impl Elaborator<'_> {
    /// A call of a primitive.
    pub fn builtin(&mut self, name: &str, args: &[Arg], span: Span) -> Fallible<Item> {
        let Some((callee, builtin, form)) = Builtin::ALL.iter().find(|(known, _, _)| *known == name) else {
            return Err(self.unknown_callee(name, span));
        };
        let mut args = Args::new(callee, form, span, args);
        let args = &mut args;
        let value = match *builtin {
            Builtin::Unary(map) => return self.unary_map(map, args),
            Builtin::Ceil | Builtin::Round => return self.rounding(*builtin, args),
            Builtin::Mod => return self.modulo(args),
            Builtin::Extreme(reduce, map) => return self.extreme(reduce, map, args),
            Builtin::Clamp => return self.clamp(args),
            Builtin::TopK => return self.top_k(args),
            Builtin::Dispatch => return self.dispatch(args),
            Builtin::Combine => self.combine(args)?,
            Builtin::Where => self.where_(args)?,
            Builtin::Sum => self.sum(args, false)?,
            Builtin::Mean => self.sum(args, true)?,
            Builtin::Argmax => self.argmax(args)?,
            Builtin::Softmax => self.softmax_call(args, false)?,
            Builtin::LogSoftmax => self.softmax_call(args, true)?,
            Builtin::Cumsum => self.cumsum(args)?,
            Builtin::Dot => self.dot(args)?,
            Builtin::Attention => self.attention(args)?,
            Builtin::Rotary => self.rotary(args)?,
            Builtin::CrossEntropy => self.cross_entropy(args)?,
            Builtin::Lookup => self.lookup(args)?,
            Builtin::OneHot => self.one_hot(args)?,
            Builtin::Split => self.split(args)?,
            Builtin::Merge => self.merge(args)?,
            Builtin::Rename => self.rename(args)?,
            Builtin::Concat => self.concat(args)?,
            Builtin::Slice => self.slice(args)?,
            Builtin::Take => self.take(args)?,
            Builtin::Shift => self.shift(args)?,
            Builtin::Window => self.window(args)?,
            Builtin::Expand => self.expand(args)?,
            Builtin::Position => self.position(args)?,
            Builtin::Dropout => self.dropout(args)?,
            Builtin::Random => self.random(args)?,
            Builtin::Stop => self.stop_gradient(args)?,
            Builtin::Cast => self.cast(args)?,
            Builtin::Activation(which) => self.activation(which, args)?,
            Builtin::Missing => {
                return Err(self.errors.stop(names::not_supported(span, &format!("`{callee}`"), "write the layer without it for now")));
            }
        };
        Ok(Item::Tensor(Tensor::plain(value)))
    }
}
