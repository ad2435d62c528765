//! `attention`: softmax attention over named dims.
//!
//! Requires q with the sequence and feature dims, k and v with the sequence's (or the `keys:`) dim. Ensures one primitive for scale, causal and
//! window; with `softcap:`, `mask:` or `bias:` the same mathematics in smaller primitives. Dims of q that k and v lack share them.

use super::arguments::Args;
use crate::model::elaborate::Elaborator;
use crate::model::error::{Fallible, dims as wrong, operators};
use crate::model::item::Item;
use crate::op::{Attention, Dim, Element, Map, Op, Type, Value};
use meshwright_grammar::Span;
use meshwright_grammar::tree::Expr;

/// What of an attention is written in expressions.
struct Extra<'e> {
    softcap: Option<f64>,
    mask: Option<&'e Expr>,
    bias: Option<&'e Expr>,
}

impl Elaborator<'_> {
    /// `attention(q, k, v, sequence: Seq, feature: Head, …)`
    pub fn attention(&mut self, args: &mut Args) -> Fallible<Value> {
        let q = self.real_argument(args, "q")?;
        let (k, v) = (self.real_argument(args, "k")?, self.real_argument(args, "v")?);
        let query = args.needed(self, "sequence")?;
        let query = self.dim(query)?;
        let feature = args.needed(self, "feature")?;
        let feature = self.dim(feature)?;
        let keys = match args.named("keys") {
            Some(expr) => Some(self.dim(expr)?),
            None => None,
        };
        let scale = self.attention_scale(args, feature)?;
        let causal = match args.named("causal") {
            Some(expr) => self.truth(expr)?,
            None => false,
        };
        let window = self.attention_window(args)?;
        let softcap = args.named("softcap");
        let extra = Extra { softcap: self.optional_number(softcap)?, mask: args.named("mask"), bias: args.named("bias") };
        args.finish(self)?;
        self.here(args.span);
        let (k, key) = self.key_side(args.span, k, query, keys, "k")?;
        let (v, _) = self.key_side(args.span, v, query, keys, "v")?;
        let spec = Attention { scale, causal, window, ..Attention::new(query, key, feature) };
        self.check_attention(args.span, &spec, q, k, v)?;
        match extra.softcap.is_none() && extra.mask.is_none() && extra.bias.is_none() {
            true => Ok(self.whole_attention(spec, q, k, v)),
            false => self.open_attention(&spec, &extra, keys.is_none(), [q, k, v], args.span),
        }
    }

    fn attention_scale(&mut self, args: &mut Args, feature: Dim) -> Fallible<f64> {
        let given = args.named("scale");
        Ok(self.optional_number(given)?.unwrap_or(1.0 / (self.tape.size(feature) as f64).sqrt()))
    }

    fn attention_window(&mut self, args: &mut Args) -> Fallible<Option<u64>> {
        let Some(expr) = args.named("window") else { return Ok(None) };
        match self.optional_number(Some(expr))? {
            None => Ok(None),
            Some(size) if size >= 1.0 && size == size.trunc() => Ok(Some(size as u64)),
            Some(size) => Err(self.errors.stop(operators::range(expr.span, "a window", "a whole number from 1", size))),
        }
    }

    /// k or v with its positions along the key dim.
    fn key_side(&mut self, span: Span, value: Value, query: Dim, keys: Option<Dim>, name: &str) -> Fallible<(Value, Dim)> {
        let ty = self.tape.ty(value).clone();
        let key = match keys {
            Some(key) => key,
            None => self.tape.prime(query),
        };
        if ty.has(key) {
            return Ok((value, key));
        }
        if !ty.has(query) {
            let needed = keys.unwrap_or(query);
            return Err(self.lacks(span, &format!("`{name}` of `attention`"), &ty, &[needed]));
        }
        if self.tape.size(query) != self.tape.size(key) {
            let (a, b) = (&self.tape.dims[query], &self.tape.dims[key]);
            let arithmetic = format!("{} = {}, {} = {}", a.name, a.size, b.name, b.size);
            return Err(self.errors.stop(wrong::sizes(span, &format!("`{name}` stands over the query's positions"), &arithmetic)));
        }
        Ok((self.tape.rename(value, query, key), key))
    }

    fn check_attention(&mut self, span: Span, spec: &Attention, q: Value, k: Value, v: Value) -> Fallible<()> {
        let (qt, kt, vt) = (self.tape.ty(q).clone(), self.tape.ty(k).clone(), self.tape.ty(v).clone());
        let lacking: Vec<Dim> = [spec.query, spec.feature].into_iter().filter(|dim| !qt.has(*dim)).collect();
        if !lacking.is_empty() {
            return Err(self.lacks(span, "`q` of `attention`", &qt, &lacking));
        }
        if qt.has(spec.key) {
            return Err(self.errors.stop(wrong::already(span, &self.tape, spec.key, &qt)));
        }
        if !kt.has(spec.feature) {
            return Err(self.lacks(span, "`k` of `attention`", &kt, &[spec.feature]));
        }
        let surplus: Vec<Dim> = kt.dims.iter().filter(|dim| **dim != spec.key && !qt.has(**dim)).copied().collect();
        if !surplus.is_empty() {
            return Err(self.errors.stop(wrong::unexpected(span, &self.tape, "`q` of `attention`", &kt, &surplus)));
        }
        let lacking: Vec<Dim> = kt.dims.iter().filter(|dim| **dim != spec.feature && !vt.has(**dim)).copied().collect();
        if !lacking.is_empty() {
            return Err(self.lacks(span, "`v` of `attention`", &vt, &lacking));
        }
        let mixed: Vec<Dim> = vt.dims.iter().filter(|dim| **dim != spec.feature && qt.has(**dim) && !kt.has(**dim)).copied().collect();
        if !mixed.is_empty() {
            return Err(self.lacks(span, "`k` of `attention`", &kt, &mixed));
        }
        Ok(())
    }

    /// Dims of the result: those of q without the feature, then those that only v has.
    fn attention_dims(&self, spec: &Attention, q: Value, v: Value) -> Vec<Dim> {
        let q = self.tape.ty(q).dims.iter().filter(|dim| **dim != spec.feature);
        let v = self.tape.ty(v).dims.iter().filter(|dim| **dim != spec.key);
        self.tape.arrange(q.chain(v).copied())
    }

    fn whole_attention(&mut self, spec: Attention, q: Value, k: Value, v: Value) -> Value {
        let out = Type::real(self.attention_dims(&spec, q, v));
        let lse = Type::real(self.tape.ty(q).dims.iter().filter(|dim| **dim != spec.feature).copied().collect());
        self.tape.push_many(Op::Attention(spec), vec![q, k, v], vec![out, lse])[0]
    }

    /// Scores, softcap, bias, masks, softmax, mean of v.
    fn open_attention(&mut self, spec: &Attention, extra: &Extra, name_key: bool, [q, k, v]: [Value; 3], span: Span) -> Fallible<Value> {
        let scores = self.tape.contract(q, k, &[spec.feature]);
        let mut scores = self.tape.with(Map::Mul, scores, spec.scale);
        if let Some(cap) = extra.softcap {
            let scaled = self.tape.with(Map::Mul, scores, 1.0 / cap);
            let tanh = self.tape.real_map(Map::Tanh, &[scaled]);
            scores = self.tape.with(Map::Mul, tanh, cap);
        }
        if let Some(bias) = extra.bias {
            let value = self.over_positions(bias, spec, name_key)?;
            let value = self.inside_scores(bias, value, scores, "real")?;
            self.here(span);
            scores = self.tape.real_map(Map::Add, &[scores, value]);
        }
        let mut masks = self.position_masks(spec);
        if let Some(mask) = extra.mask {
            let value = self.over_positions(mask, spec, name_key)?;
            masks.push(self.inside_scores(mask, value, scores, "bool")?);
        }
        self.here(span);
        for mask in masks {
            let least = self.tape.real(-1e30);
            scores = self.tape.map(Map::Where, &[mask, scores, least], Element::Real);
        }
        let share = self.softmax(scores, &[spec.key]);
        let dims = self.attention_dims(spec, q, v);
        Ok(self.tape.push(Op::Contract(vec![spec.key]), vec![share, v], Type::real(dims)))
    }

    /// Evaluates a mask or bias: it may combine both position dims, and `Key` names the keys' unless a dim has that name.
    fn over_positions(&mut self, expr: &Expr, spec: &Attention, name_key: bool) -> Fallible<Value> {
        let before = self.loose.clone();
        self.loose.extend([spec.query, spec.key]);
        let bound = name_key && self.resolve("Key").is_none();
        if bound {
            self.frame_mut().bind("Key", Item::Dim(spec.key), expr.span);
        }
        let value = self.tensor(expr);
        if bound {
            self.frame_mut().names.remove("Key");
        }
        self.loose = before;
        Ok(value?.value)
    }

    fn inside_scores(&mut self, expr: &Expr, value: Value, scores: Value, needed: &str) -> Fallible<Value> {
        let (ty, whole) = (self.tape.ty(value).clone(), self.tape.ty(scores).clone());
        let extra: Vec<Dim> = ty.dims.iter().filter(|dim| !whole.has(**dim)).copied().collect();
        if !extra.is_empty() {
            return Err(self.errors.stop(wrong::unexpected(expr.span, &self.tape, "`attention`", &ty, &extra)));
        }
        if (ty.element == Element::Bool) != (needed == "bool") {
            return Err(self.errors.stop(wrong::element(expr.span, &self.tape, "this", needed, &ty)));
        }
        self.here(expr.span);
        Ok(if needed == "real" { self.tape.as_real(value) } else { value })
    }

    /// `causal` and `window` as masks over both positions.
    fn position_masks(&mut self, spec: &Attention) -> Vec<Value> {
        let dims = self.tape.arrange([spec.query, spec.key]);
        let (i, j) = (self.tape.position(spec.query), self.tape.position(spec.key));
        let mut masks = Vec::new();
        if spec.causal {
            masks.push(self.tape.push(Op::Map(Map::Le), vec![j, i], Type { element: Element::Bool, dims: dims.clone() }));
        }
        if let Some(window) = spec.window {
            let behind = self.tape.push(Op::Map(Map::Sub), vec![i, j], Type { element: Element::Integer, dims: dims.clone() });
            let size = self.tape.integer(window as i64);
            masks.push(self.tape.push(Op::Map(Map::Lt), vec![behind, size], Type { element: Element::Bool, dims }));
        }
        masks
    }
}
