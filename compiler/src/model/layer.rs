//! Calls of layers and instances: arguments are bound to parameters, the body is inlined, its results are anchored.
//!
//! Requires definitions from the merged spec. Ensures that `..` means the same dims throughout a signature, that declared types hold, and that
//! weights are named by where the layer or instance stands.

use super::elaborate::Elaborator;
use super::error::{Fallible, Stop, dims as wrong, layers, names};
use super::item::{Instance, Item, Tensor};
use super::scope::Frame;
use crate::op::{Dim, Type};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{self, Arg, Definition, DimRef, Param, ParamKind};

/// A layer about to be called.
pub(crate) struct Callee {
    /// Number of the layer.
    pub layer: usize,
    /// Parameters that an instance has already.
    pub bound: Vec<(String, Item)>,
    /// The body's frame.
    pub frame: Frame,
    /// Where it is called.
    pub span: Span,
}

impl Elaborator<'_> {
    /// `weight before, after: LayerNorm(Embed)`
    pub fn declare_instances(&mut self, declaration: &tree::Instance) -> Fallible<()> {
        let layer = self.layer_named(&declaration.layer)?;
        let definition = &self.merged.layers[layer].0;
        self.called.insert(layer);
        let settings: Vec<&Param> = definition.params.iter().filter(|param| !matches!(param.kind, ParamKind::Tensor(_))).collect();
        let bound = self.arguments(definition, &settings, &declaration.args)?;
        for name in &declaration.names {
            let path = self.frame().path.join_instance(&name.text, &definition.name.text);
            let stacked = self.frame().stacked.clone();
            let instance = Instance { layer, bound: bound.clone(), path, stacked };
            self.frame_mut().called.insert(name.text.clone(), name.span);
            self.bind(name, Item::Instance(Box::new(instance)));
        }
        Ok(())
    }

    fn layer_named(&mut self, path: &tree::Path) -> Fallible<usize> {
        let name = path.text();
        match self.resolve(&name) {
            Some(Item::Layer(layer)) => return Ok(layer),
            Some(Item::Unknown) => return Err(Stop),
            Some(other) => return Err(self.errors.stop(names::wrong_kind(path.span, other.what(), "a layer", "name a layer here"))),
            None => {}
        }
        match self.layers.get(&name) {
            Some(layer) => Ok(*layer),
            None => Err(self.unknown_callee(&name, path.span)),
        }
    }

    /// A call of a layer without an instance: its weights are named by the layer.
    pub fn call_layer(&mut self, layer: usize, args: &[Arg], span: Span) -> Fallible<Item> {
        let name = &self.merged.layers[layer].0.name.text;
        if let Some(before) = self.frame().called.get(name) {
            let before = *before;
            return Err(self.errors.stop(layers::called_twice(name, span, before)));
        }
        self.frame_mut().called.insert(name.clone(), span);
        let frame = Frame::closed(self.frame().path.join(name), self.frame().stacked.clone(), Some(layer));
        self.instantiate(Callee { layer, bound: Vec::new(), frame, span }, args)
    }

    /// A call of an instance.
    pub fn call_instance(&mut self, instance: Instance, args: &[Arg], span: Span) -> Fallible<Item> {
        let stacked = match instance.stacked.len() < self.frame().stacked.len() {
            true => self.frame().stacked.clone(),
            false => instance.stacked,
        };
        let frame = Frame::closed(instance.path, stacked, Some(instance.layer));
        self.instantiate(Callee { layer: instance.layer, bound: instance.bound, frame, span }, args)
    }

    fn instantiate(&mut self, callee: Callee, args: &[Arg]) -> Fallible<Item> {
        let definition = &self.merged.layers[callee.layer].0;
        self.called.insert(callee.layer);
        if self.open_layers.contains(&callee.layer) {
            return Err(self.errors.stop(layers::recursive(&definition.name.text, callee.span)));
        }
        let free: Vec<&Param> =
            definition.params.iter().filter(|param| !callee.bound.iter().any(|(name, _)| *name == param.name.text)).collect();
        let mut given = callee.bound;
        given.extend(self.arguments(definition, &free, args)?);
        self.open_layers.push(callee.layer);
        self.frames.push(callee.frame);
        let before = self.errors.found();
        let results = self.inside(definition, given, callee.span);
        self.errors.called_from(before, callee.span);
        self.pop();
        self.open_layers.pop();
        let mut results = results?;
        match results.len() {
            1 => Ok(Item::Tensor(results.remove(0))),
            _ => Ok(Item::Several(results)),
        }
    }

    /// Binds parameters, elaborates the body, anchors the results.
    fn inside(&mut self, definition: &Definition, given: Vec<(String, Item)>, span: Span) -> Fallible<Vec<Tensor>> {
        let value = |name: &str| given.iter().find(|(given, _)| given == name).map(|(_, item)| item.clone());
        for param in &definition.params {
            let item = match (value(&param.name.text), &param.default) {
                (Some(item), _) => item,
                (None, Some(default)) => self.eval(default)?,
                (None, None) => {
                    return Err(self.errors.stop(layers::missing_argument(
                        &definition.name.text,
                        &param.name.text,
                        span,
                        &form(definition),
                    )));
                }
            };
            let item = self.fit(param, item, span)?;
            self.frame_mut().bind(&param.name.text, item, param.name.span);
        }
        self.check_tensors(definition, span)?;
        let results = self.body(&definition.body, definition)?;
        let anchor = |this: &mut Self, result: Tensor| {
            this.here(span);
            let dims = this.tape.ty(result.value).dims.clone();
            Tensor::plain(this.tape.anchor(result.value, dims))
        };
        Ok(results.into_iter().map(|result| anchor(self, result)).collect())
    }

    /// Arguments by position and name; the positions are those of `params`.
    fn arguments(&mut self, definition: &Definition, params: &[&Param], args: &[Arg]) -> Fallible<Vec<(String, Item)>> {
        let mut given: Vec<(String, Item)> = Vec::new();
        let callee = &definition.name.text;
        let mut position = params.iter();
        for arg in args {
            let param = match &arg.name {
                None => position.next(),
                Some(name) => match params.iter().find(|param| param.name.text == name.text) {
                    None if definition.params.iter().any(|param| param.name.text == name.text) => {
                        return Err(self.errors.stop(layers::argument_twice(callee, &name.text, arg.span)));
                    }
                    None => {
                        let known: Vec<String> = params.iter().map(|param| param.name.text.clone()).collect();
                        return Err(self.errors.stop(layers::unknown_argument(callee, name, &known)));
                    }
                    found => found,
                },
            };
            let Some(param) = param else {
                return Err(self.errors.stop(layers::surplus_argument(callee, arg.span, &form(definition))));
            };
            if given.iter().any(|(name, _)| *name == param.name.text) {
                return Err(self.errors.stop(layers::argument_twice(callee, &param.name.text, arg.span)));
            }
            let item = self.argument(param, arg)?;
            given.push((param.name.text.clone(), item));
        }
        Ok(given)
    }

    fn argument(&mut self, param: &Param, arg: &Arg) -> Fallible<Item> {
        if matches!(param.kind, ParamKind::Layer)
            && let tree::ExprKind::Path(path) = &arg.value.kind
        {
            if let Some(Item::Instance(instance)) = self.resolve(&path.text()) {
                return Ok(Item::Instance(instance));
            }
            return Ok(Item::Layer(self.layer_named(path)?));
        }
        let item = self.eval(&arg.value)?;
        self.fit(param, item, arg.value.span)
    }

    /// The item as the parameter takes it.
    fn fit(&mut self, param: &Param, item: Item, span: Span) -> Fallible<Item> {
        let (needed, help) = match &param.kind {
            ParamKind::Tensor(_) => ("a tensor", "give it a tensor, by name or position"),
            ParamKind::Dim => ("a dim", "give it a dim of `dims { … }`"),
            ParamKind::Number => ("a number", "give it a number or `none`"),
            ParamKind::Bool => ("a truth value", "give it `true`, `false` or a comparison of numbers"),
            ParamKind::Layer => ("a layer", "give it the name of a layer or an instance"),
        };
        let found = item.what();
        let fits = match (&param.kind, item) {
            (_, Item::Unknown) => return Err(Stop),
            (ParamKind::Tensor(_), item @ (Item::Tensor(_) | Item::Number(_))) => Some(Item::Tensor(self.tensor_of(item, span)?)),
            (ParamKind::Dim, item @ Item::Dim(_)) => Some(item),
            (ParamKind::Number, Item::Dim(dim)) => Some(Item::Number(self.tape.size(dim) as f64)),
            (ParamKind::Number, item @ (Item::Number(_) | Item::None)) => Some(item),
            (ParamKind::Bool, item @ Item::Bool(_)) => Some(item),
            (ParamKind::Layer, item @ (Item::Layer(_) | Item::Instance(_))) => Some(item),
            _ => None,
        };
        fits.ok_or_else(|| self.errors.stop(names::wrong_kind(span, found, &format!("`{}`: {needed}", param.name.text), help)))
    }

    /// Checks tensor arguments against the signature and finds what `..` means.
    fn check_tensors(&mut self, definition: &Definition, span: Span) -> Fallible<()> {
        let mut rest: Option<Vec<Dim>> = None;
        for param in &definition.params {
            let ParamKind::Tensor(kind) = &param.kind else { continue };
            let Some(Item::Tensor(tensor)) = self.resolve(&param.name.text) else { continue };
            let found = self.tape.ty(tensor.value).clone();
            let extra = self.check_tensor(definition, param, kind, &found, span)?;
            if !kind.dims.iter().any(|one| matches!(one, DimRef::Rest(_))) {
                continue;
            }
            match &rest {
                None => rest = Some(extra),
                Some(before) => {
                    let same = before.len() == extra.len() && before.iter().all(|dim| extra.contains(dim));
                    if !same {
                        return Err(self.errors.stop(wrong::rest_differs(span, &self.tape, &extra, before)));
                    }
                }
            }
        }
        self.frame_mut().rest = rest;
        Ok(())
    }

    /// Checks one argument; its dims that the signature does not name.
    fn check_tensor(&mut self, definition: &Definition, param: &Param, kind: &tree::Type, found: &Type, span: Span) -> Fallible<Vec<Dim>> {
        let what = format!("`{}` of `{}`", param.name.text, definition.name.text);
        let open = kind.dims.iter().any(|one| matches!(one, DimRef::Rest(_)));
        let named = self.dim_list(&kind.dims, Some(&[]))?;
        let element = self.element(kind)?;
        if element != found.element {
            let needed = self.tape.spell(&Type { element, dims: Vec::new() }).replace("[]", "");
            let needed = if needed.is_empty() { "real" } else { &needed };
            return Err(self.errors.stop(wrong::element(span, &self.tape, &what, needed, found)));
        }
        let lacking: Vec<Dim> = named.iter().filter(|dim| !found.has(**dim)).copied().collect();
        if !lacking.is_empty() {
            return Err(self.errors.stop(wrong::missing(span, &self.tape, &what, found, &lacking)));
        }
        let extra: Vec<Dim> = found.dims.iter().filter(|dim| !named.contains(dim)).copied().collect();
        let surplus: Vec<Dim> = extra.iter().filter(|dim| !self.frame().stacked.contains(dim)).copied().collect();
        if !open && !surplus.is_empty() {
            return Err(self.errors.stop(wrong::unexpected(span, &self.tape, &what, found, &surplus)));
        }
        Ok(extra)
    }

    /// `each Expert: Feed(slots)`: the layer's weights gain the dim.
    pub fn each(&mut self, dim: &tree::Name, callee: &tree::Path, args: &[Arg], span: Span) -> Fallible<Item> {
        let dim_id = self.dim_named(dim)?;
        let (stacked, loose) = (self.frame().stacked.clone(), self.loose.clone());
        if stacked.contains(&dim_id) {
            return Err(self.errors.stop(wrong::twice(dim.span, &dim.text)));
        }
        self.frame_mut().stacked.push(dim_id);
        self.loose.push(dim_id);
        let item = self.call(callee, args, span);
        self.frame_mut().stacked = stacked;
        self.loose = loose;
        item
    }
}

/// How a layer is called: `Norm(x, D, eps: …)`.
fn form(definition: &Definition) -> String {
    let param = |param: &Param| match &param.default {
        Some(_) => format!("{}: …", param.name.text),
        None => param.name.text.clone(),
    };
    let params: Vec<String> = definition.params.iter().map(param).collect();
    format!("`{}({})`", definition.name.text, params.join(", "))
}
