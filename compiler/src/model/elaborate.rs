//! The state of elaboration: names, types, and the model's body from its inputs to its losses.
//!
//! Requires evaluated constants. Ensures a [`Tape`] on which every layer call is inlined and every operation is a primitive.

use super::constants::{Constant, Constants};
use super::error::{Errors, Fallible, dims as wrong, names, weights as weight_errors};
use super::item::{Item, Tensor};
use super::merge::Merged;
use super::scope::{Frame, Path};
use super::tape::Tape;
use super::weight::Weights;
use crate::op::{Dim, DimData, Dims, Element, Type, Value};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{self, Definition, DimRef, Name, ParamKind};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is known while bodies are elaborated.
pub(crate) struct Elaborator<'a> {
    /// The spec's definitions.
    pub merged: &'a Merged,
    /// Whether dropout drops.
    pub training: bool,
    /// The instructions so far.
    pub tape: Tape,
    /// The weights so far.
    pub weights: Weights,
    /// What was found wrong.
    pub errors: Errors,
    /// Open bodies, the innermost last.
    pub frames: Vec<Frame>,
    /// Dims and numbers of the spec.
    pub globals: BTreeMap<String, Item>,
    /// Layers by name.
    pub layers: BTreeMap<String, usize>,
    /// Layers that are being instantiated.
    pub open_layers: Vec<usize>,
    /// Layers that were called.
    pub called: BTreeSet<usize>,
    /// Dims that elementwise operators may add to an operand: those of `each`, and of a mask.
    pub loose: Vec<Dim>,
    /// The `repeat` whose iterations are pieces, while one is open: its number and the iteration.
    pub iteration: Option<(usize, u64)>,
    /// Number of such repeats so far.
    pub repeats: usize,
    /// Dims that some `repeat` runs over, by name.
    pub repeat_dims: BTreeSet<String>,
    /// For each random site its users: the repeats (0: none), and how often each iteration draws.
    pub sites: BTreeMap<String, SiteUsers>,
    /// Names bound by `let`, and whether any instantiation reads them.
    pub bound: BTreeMap<Span, (String, bool)>,
    /// Dims whose size is a bound on slots, and whether a `dispatch` fills them.
    pub ragged: BTreeMap<Dim, bool>,
    /// Dims and numbers of the spec that something names.
    pub used: BTreeSet<String>,
}

/// The repeats that draw from a site, and how often each iteration of them does.
pub(crate) type SiteUsers = (Vec<usize>, BTreeMap<(usize, u64), usize>);

/// What the tape computes, beside its reports.
pub(crate) struct Outline {
    /// Name, value and place of each input.
    pub inputs: Vec<(String, Value, Span)>,
    /// What the model returns.
    pub result: Option<Value>,
    /// The batch dim.
    pub batch: Dim,
}

impl<'a> Elaborator<'a> {
    /// Ready for the model's body.
    pub fn new(merged: &'a Merged, constants: &Constants, training: bool, errors: Errors) -> Self {
        let (mut dims, mut globals, mut ragged) = (Dims::new(), BTreeMap::new(), BTreeMap::new());
        for name in constants.names() {
            let item = match constants.get(name) {
                Some(Constant::Number(value)) => Item::Number(value),
                Some(Constant::Bool(value)) => Item::Bool(value),
                Some(Constant::None) => Item::None,
                None => Item::Unknown,
            };
            globals.insert(name.to_string(), item);
        }
        for name in &constants.dims {
            if let Some(Item::Number(size)) = globals.get(name) {
                let dim = dims.push(DimData { name: name.clone(), size: *size as u64, span: constants.span(name), axes: Vec::new() });
                globals.insert(name.clone(), Item::Dim(dim));
                if constants.ragged.contains(name) {
                    ragged.insert(dim, false);
                }
            }
        }
        globals.insert("training".to_string(), Item::Bool(training));
        let layers = merged.layers.iter().enumerate().map(|(at, (layer, _))| (layer.name.text.clone(), at)).collect();
        Elaborator {
            merged,
            training,
            tape: Tape::new(dims),
            weights: Weights::default(),
            errors,
            frames: Vec::new(),
            globals,
            layers,
            open_layers: Vec::new(),
            called: BTreeSet::new(),
            loose: Vec::new(),
            iteration: None,
            repeats: 0,
            repeat_dims: BTreeSet::new(),
            sites: BTreeMap::new(),
            bound: BTreeMap::new(),
            ragged,
            used: BTreeSet::new(),
        }
    }

    /// Elaborates the model; none if its signature is wrong or errors leave nothing to go on with.
    pub fn model(&mut self, model: &Definition) -> Fallible<Outline> {
        let frame = Frame::closed(Path::root(&model.name.text), Vec::new(), None);
        self.frames.push(frame);
        let inputs = self.inputs(model)?;
        let results = self.body(&model.body, model)?;
        let result = self.model_result(model, results)?;
        self.pop();
        let batch = self.tape.batch.ok_or_else(|| self.errors.stop(weight_errors::no_inputs(model.header)))?;
        Ok(Outline { inputs, result, batch })
    }

    fn inputs(&mut self, model: &Definition) -> Fallible<Vec<(String, Value, Span)>> {
        let mut inputs = Vec::new();
        for param in &model.params {
            let ParamKind::Tensor(kind) = &param.kind else {
                return Err(self.errors.stop(weight_errors::model_parameter(param.span)));
            };
            let ty = self.type_of(kind, None)?;
            let batch = match (self.tape.batch, ty.dims.first()) {
                (Some(batch), _) => batch,
                (None, Some(first)) => *first,
                (None, None) => return Err(self.errors.stop(weight_errors::no_inputs(param.span))),
            };
            self.tape.batch = Some(batch);
            self.tape.outer.insert(batch);
            if !ty.has(batch) {
                return Err(self.errors.stop(weight_errors::input_batch(param.span, &self.tape, &param.name.text, &ty, batch)));
            }
            let dims = self.tape.arrange(ty.dims);
            let value = self.tape.body.input(Type { element: ty.element, dims }, &param.name.text);
            inputs.push((param.name.text.clone(), value, param.name.span));
            self.bind(&param.name, Item::Tensor(Tensor::plain(value)));
        }
        if inputs.is_empty() {
            return Err(self.errors.stop(weight_errors::no_inputs(model.header)));
        }
        Ok(inputs)
    }

    /// Puts the model's result into the declared layout.
    fn model_result(&mut self, model: &Definition, results: Vec<Tensor>) -> Fallible<Option<Value>> {
        let Some(result) = results.first() else { return Ok(None) };
        if let Some(second) = model.results.get(1) {
            return Err(self.errors.stop(names::not_supported(
                second.span,
                "a second result of the model",
                "return one tensor; report others with `metric`",
            )));
        }
        let dims = match model.results.first() {
            Some(declared) => {
                let dims = self.dim_list(&declared.dims, None)?;
                self.tape.arrange(dims)
            }
            None => self.tape.ty(result.value).dims.clone(),
        };
        let weight = self.weights.all.iter().any(|weight| weight.value == result.value);
        if self.tape.ty(result.value).dims == dims && !weight {
            return Ok(Some(result.value));
        }
        self.tape.at(model.header, &model.name.text);
        Ok(Some(self.tape.anchor(result.value, dims)))
    }

    /// The innermost body.
    pub fn frame(&self) -> &Frame {
        self.frames.last().expect("a body is open while statements are elaborated")
    }

    /// The innermost body, to bind names in.
    pub fn frame_mut(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a body is open while statements are elaborated")
    }

    /// Closes the innermost body and notes which of its names were read.
    pub fn pop(&mut self) {
        if let Some(frame) = self.frames.pop() {
            for binding in frame.names.into_values() {
                if let Some((_, read)) = self.bound.get_mut(&binding.span) {
                    *read |= binding.read;
                }
            }
        }
    }

    /// Binds a new name in the innermost body; a name that is bound already is an error.
    pub fn bind(&mut self, name: &Name, item: Item) {
        let before = self.visible(&name.text).map(|(frame, _)| self.frames[frame].names[&name.text].span);
        match before {
            Some(before) if before != name.span => self.errors.push(names::rebound(name, before)),
            Some(_) | None => {}
        }
        self.frame_mut().bind(&name.text, item, name.span);
    }

    /// The frame that binds a name, from the innermost outwards to the layer's own.
    pub fn visible(&self, name: &str) -> Option<(usize, &Item)> {
        for (at, frame) in self.frames.iter().enumerate().rev() {
            if let Some(binding) = frame.names.get(name) {
                return Some((at, &binding.item));
            }
            if !frame.open {
                return None;
            }
        }
        None
    }

    /// What a name stands for here.
    pub fn resolve(&mut self, name: &str) -> Option<Item> {
        if let Some((at, item)) = self.visible(name) {
            let item = item.clone();
            if let Some(binding) = self.frames[at].names.get_mut(name) {
                binding.read = true;
            }
            return Some(item);
        }
        let item = self.globals.get(name).cloned();
        if item.is_some() {
            self.used.insert(name.to_string());
        }
        item
    }

    /// All names that can be read here.
    pub fn all_names(&self) -> Vec<String> {
        let mut all: Vec<String> = self.globals.keys().cloned().collect();
        for frame in self.frames.iter().rev() {
            all.extend(frame.names.keys().cloned());
            if !frame.open {
                break;
            }
        }
        all
    }

    /// A dim by name.
    pub fn dim_named(&mut self, name: &Name) -> Fallible<Dim> {
        match self.resolve(&name.text) {
            Some(Item::Dim(dim)) => Ok(dim),
            Some(Item::Unknown) => Err(super::error::Stop),
            Some(other) => Err(self.errors.stop(names::wrong_kind(name.span, other.what(), "a dim", "declare it in `dims { … }`"))),
            None => {
                let all = self.dim_names();
                Err(self.errors.stop(names::unknown_dim(&name.text, name.span, all.iter().map(String::as_str))))
            }
        }
    }

    /// Names of all dims that can be written here.
    pub fn dim_names(&self) -> Vec<String> {
        let is_dim = |name: &String| {
            let item = self.visible(name).map(|(_, item)| item).or(self.globals.get(name));
            matches!(item, Some(Item::Dim(_)))
        };
        self.all_names().into_iter().filter(is_dim).collect()
    }

    /// Dims of a type; `..` is `rest`.
    pub fn dim_list(&mut self, refs: &[DimRef], rest: Option<&[Dim]>) -> Fallible<Vec<Dim>> {
        let mut dims: Vec<Dim> = Vec::new();
        for one in refs {
            match one {
                DimRef::Named(name) => {
                    let dim = self.dim_named(name)?;
                    if dims.contains(&dim) {
                        return Err(self.errors.stop(wrong::twice(name.span, &name.text)));
                    }
                    dims.push(dim);
                }
                DimRef::Rest(span) => match rest {
                    Some(rest) => dims.extend(rest),
                    None => return Err(self.errors.stop(wrong::no_rest(*span))),
                },
            }
        }
        Ok(dims)
    }

    /// A written type without an arrow; `..` is `rest`.
    pub fn type_of(&mut self, kind: &tree::Type, rest: Option<&[Dim]>) -> Fallible<Type> {
        if kind.to.is_some() {
            return Err(self.errors.stop(weight_errors::arrow_place(kind.span)));
        }
        let element = self.element(kind)?;
        Ok(Type { element, dims: self.dim_list(&kind.dims, rest)? })
    }

    /// The element of a written type; real where none is written.
    pub fn element(&mut self, kind: &tree::Type) -> Fallible<Element> {
        Ok(match &kind.element {
            None | Some(tree::Element::Real(_)) => Element::Real,
            Some(tree::Element::Bool(_)) => Element::Bool,
            Some(tree::Element::Index(name, _)) => Element::Index(self.dim_named(name)?),
        })
    }
}
