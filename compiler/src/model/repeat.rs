//! `repeat` and `carry`: every iteration is elaborated, those of an outermost `repeat` as pieces of the tape.
//!
//! Requires an open frame around. Ensures that carried values keep their type and layout, and end in an anchor.

use super::elaborate::Elaborator;
use super::error::{Fallible, Stop, layers};
use super::item::{Item, Tensor};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{Body, Expr, ExprKind, Name, StatementKind};
use std::mem::take;

/// Iterations of one `repeat`.
const MOST_ITERATIONS: u64 = 10_000;

/// Instructions of a model before functions are cut.
const MOST_INSTRUCTIONS: usize = 4_000_000;

impl Elaborator<'_> {
    /// `repeat Layers as i { … }`
    pub fn repeat(&mut self, dim: &Name, index: Option<&Name>, body: &Body, span: Span) -> Fallible<()> {
        let dim_id = self.dim_named(dim)?;
        let count = self.tape.size(dim_id);
        if count > MOST_ITERATIONS {
            return Err(self.errors.stop(layers::too_many(dim.span, &dim.text, count)));
        }
        self.repeat_dims.insert(dim.text.clone());
        let outermost = self.iteration.is_none();
        if outermost {
            self.repeats += 1;
        }
        if !body
            .statements
            .iter()
            .any(|one| matches!(one.kind, StatementKind::Carry { .. } | StatementKind::Loss { .. } | StatementKind::Repeat { .. }))
        {
            self.errors.push(layers::repeat_idle(span));
        }
        let name = piece_name(body).unwrap_or_else(|| dim.text.clone());
        let before = self.errors.count();
        for at in 0..count {
            if self.tape.body.insts.len() > MOST_INSTRUCTIONS {
                self.errors.push(layers::too_many(dim.span, &dim.text, count));
                break;
            }
            if outermost {
                self.iteration = Some((self.repeats, at));
                self.tape.cut(Some(name.clone()), at);
            }
            let path = self.frame().path.iteration(at, count);
            let frame = self.frame().iteration(path);
            self.frames.push(frame);
            if let Some(index) = index {
                self.bind(index, Item::Number(at as f64));
            }
            self.statements(body);
            let frame = self.frame_mut();
            let (carried, called, repeated) = (take(&mut frame.carried), take(&mut frame.called), take(&mut frame.repeated));
            self.pop();
            if at == 0 {
                self.named_once(called.into_iter().chain(repeated).collect());
            }
            self.hand_on(carried);
            if self.errors.count() > before {
                break;
            }
        }
        if outermost {
            self.iteration = None;
            self.tape.cut(None, 0);
        }
        if self.errors.count() > before { Err(Stop) } else { Ok(()) }
    }

    /// Two `repeat`s of a body must not give weights the same paths.
    fn named_once(&mut self, names: Vec<(String, Span)>) {
        for (name, span) in names {
            match self.frame_mut().repeated.insert(name.clone(), span) {
                Some(before) if name.starts_with(|letter: char| letter.is_uppercase()) => {
                    self.errors.push(layers::called_twice(&name, span, before))
                }
                Some(before) => self.errors.push(layers::declared_twice(&name, span, before)),
                None => {}
            }
        }
    }

    /// Gives the carried names their new values, where they are bound.
    fn hand_on(&mut self, carried: Vec<(String, crate::op::Value, Span)>) {
        for (name, value, _) in carried {
            let Some((at, _)) = self.visible(&name) else { continue };
            if let Some(binding) = self.frames[at].names.get_mut(&name) {
                binding.item = Item::Tensor(Tensor::plain(value));
            }
        }
    }

    /// `carry x = Block(x)`
    pub fn carry(&mut self, names: &[Name], value: &Expr, span: Span) -> Fallible<()> {
        if !self.frame().open {
            return Err(self.errors.stop(layers::carry_place(span)));
        }
        let item = self.eval(value)?;
        let items = self.spread(item, names.len(), value.span)?;
        for (name, item) in names.iter().zip(items) {
            let new = self.tensor_of(item, value.span)?;
            self.carry_one(name, new, value.span)?;
        }
        Ok(())
    }

    fn carry_one(&mut self, name: &Name, new: Tensor, span: Span) -> Fallible<()> {
        let own = self.frames.len() - 1;
        let item = match self.visible(&name.text) {
            Some((at, item)) if at < own => item.clone(),
            Some(_) | None => {
                let all = self.all_names();
                return Err(self.errors.stop(layers::carry_unknown(name, all.iter().map(String::as_str))));
            }
        };
        if let Some((_, _, before)) = self.frame().carried.iter().find(|(other, _, _)| *other == name.text) {
            let before = *before;
            return Err(self.errors.stop(layers::carry_twice(name, before)));
        }
        let old = self.tensor_of(item, name.span)?;
        let (before, after) = (self.tape.ty(old.value).clone(), self.tape.ty(new.value).clone());
        if !before.same_set(&after) {
            return Err(self.errors.stop(layers::carry_type(span, &self.tape, &name.text, &before, &after)));
        }
        self.here(span);
        let value =
            if self.tape.is_anchor(new.value) && after.dims == before.dims { new.value } else { self.tape.anchor(new.value, before.dims) };
        self.name_value(value, &name.text);
        self.frame_mut().carried.push((name.text.clone(), value, name.span));
        Ok(())
    }
}

/// `Block` for `repeat Layers { carry x = Block(x) }`.
fn piece_name(body: &Body) -> Option<String> {
    let [one] = body.statements.as_slice() else { return None };
    let StatementKind::Carry { value, .. } = &one.kind else { return None };
    let ExprKind::Call { callee, .. } = &value.kind else { return None };
    callee.single().map(|name| name.text.clone())
}
