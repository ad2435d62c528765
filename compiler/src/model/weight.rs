//! Weights: declarations, initialisers, and one entry per path and iteration.
//!
//! Requires paths from [`super::scope::Path`]. Ensures that a weight declared again at the same path is the same weight, and that a dim on both
//! sides of an arrow is primed on the right.
//!
//! Without an initialiser a weight starts normal with deviation 1 / √n: with an arrow, n is the number of elements left of the arrow (fan-in);
//! without one, the size of its last dim.

use super::elaborate::Elaborator;
use super::error::{Fallible, dims as wrong, weights};
use super::item::{Arrow, Item, Tensor};
use crate::op::{Dim, Type, Value};
use meshwright_grammar::Span;
use meshwright_grammar::tree::{self, Element, Expr, ExprKind};
use meshwright_plan::Init;
use std::collections::BTreeMap;

/// One weight of one iteration.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// Path with `[*]`.
    pub template: String,
    /// Path by the names of layers, without numbers.
    pub layers: String,
    /// Iteration that `[*]` stands for, and of how many.
    pub star: Option<(u64, u64)>,
    /// Dims that `each` adds.
    pub stacked: Vec<Dim>,
    /// Left of the arrow.
    pub inputs: Vec<Dim>,
    /// Right of the arrow, or all.
    pub outputs: Vec<Dim>,
    /// How it starts.
    pub init: Init,
    /// Whether it has an arrow.
    pub arrow: bool,
    /// Whether `next` changes it, and not training.
    pub state: bool,
    /// Where it was declared.
    pub span: Span,
    /// Its value on the tape.
    pub value: Value,
}

/// All weights of the model.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    /// In order of declaration.
    pub all: Vec<Declared>,
    by_path: BTreeMap<(String, Option<u64>), usize>,
}

/// Dims and initialiser of a declaration.
struct Shape {
    inputs: Vec<Dim>,
    outputs: Vec<Dim>,
    arrow: bool,
    init: Init,
    state: bool,
}

impl Elaborator<'_> {
    /// `weight query, key: [Embed -> Heads, Head] = normal(init)`, `state bias: [Route] = zeros`
    pub fn declare_weights(&mut self, declaration: &tree::Weight, state: bool) -> Fallible<()> {
        let shape = Shape { state, ..self.weight_shape(declaration)? };
        for name in &declaration.names {
            let tensor = self.weight(&name.text, name.span, &shape)?;
            self.frame_mut().called.insert(name.text.clone(), name.span);
            self.bind(name, Item::Tensor(tensor));
        }
        Ok(())
    }

    fn weight_shape(&mut self, declaration: &tree::Weight) -> Fallible<Shape> {
        let kind = &declaration.kind;
        if let Some(Element::Bool(span) | Element::Index(_, span)) = &kind.element {
            return Err(self.errors.stop(weights::not_real(*span)));
        }
        let left = self.dim_list(&kind.dims, None)?;
        let (inputs, mut outputs) = match &kind.to {
            Some(to) => (left, self.dim_list(to, None)?),
            None => (Vec::new(), left),
        };
        for dim in inputs.iter().chain(&outputs) {
            if Some(*dim) == self.tape.batch {
                let name = self.tape.dims[*dim].name.clone();
                return Err(self.errors.stop(weights::batch_weight(kind.span, &name)));
            }
        }
        for dim in &mut outputs {
            if inputs.contains(dim) {
                *dim = self.tape.prime(*dim);
            }
        }
        let arrow = kind.to.is_some();
        let fan_in = match arrow {
            true => self.tape.count(&inputs),
            false => outputs.last().map_or(1.0, |dim| self.tape.size(*dim) as f64),
        };
        let init = match &declaration.init {
            Some(expr) => self.init(expr, fan_in)?,
            None => Init::Normal((1.0 / fan_in.sqrt()) as f32),
        };
        Ok(Shape { inputs, outputs, arrow, init, state: false })
    }

    /// One weight at the path of this body; the known one if it was declared there before.
    fn weight(&mut self, name: &str, span: Span, shape: &Shape) -> Fallible<Tensor> {
        let (path, stacked) = (self.frame().path.join(name), self.frame().stacked.clone());
        let dims: Vec<Dim> = stacked.iter().chain(&shape.inputs).chain(&shape.outputs).copied().collect();
        if let Some(at) = dims.iter().enumerate().find(|(at, dim)| dims[..*at].contains(dim)).map(|(_, dim)| *dim) {
            let name = self.tape.dims[at].name.clone();
            return Err(self.errors.stop(wrong::twice(span, &name)));
        }
        let key = (path.template.clone(), path.star.map(|(at, _)| at));
        let ty = Type::real(dims);
        let arrow = shape.arrow.then(|| Arrow { inputs: shape.inputs.clone(), outputs: shape.outputs.clone() });
        if let Some(at) = self.weights.by_path.get(&key) {
            let value = self.weights.all[*at].value;
            if *self.tape.ty(value) != ty {
                let (before, now) = (self.tape.spell(self.tape.ty(value)), self.tape.spell(&ty));
                return Err(self.errors.stop(weights::other_type(span, &path.template, &before, &now)));
            }
            return Ok(Tensor { value, arrow });
        }
        let value = self.tape.body.input(ty, name);
        let declared = Declared {
            template: path.template,
            layers: path.layers,
            star: path.star,
            stacked,
            inputs: shape.inputs.clone(),
            outputs: shape.outputs.clone(),
            init: shape.init,
            arrow: shape.arrow,
            state: shape.state,
            span,
            value,
        };
        self.weights.by_path.insert(key, self.weights.all.len());
        self.weights.all.push(declared);
        Ok(Tensor { value, arrow })
    }

    /// `zeros`, `normal(0.02)`, or a number.
    fn init(&mut self, expr: &Expr, fan_in: f64) -> Fallible<Init> {
        let (name, args) = match &expr.kind {
            ExprKind::Path(path) if self.resolve(&path.text()).is_none() => (path.text(), None),
            ExprKind::Call { callee, args } if self.numeric(&callee.text()).is_none() => (callee.text(), Some(args)),
            _ => return Ok(Init::Constant(self.number(expr)? as f32)),
        };
        let form = match name.as_str() {
            "zeros" | "ones" if args.is_none() => return Ok(Init::Constant(if name == "ones" { 1.0 } else { 0.0 })),
            "normal" if args.is_none() => return Ok(Init::Normal((1.0 / fan_in.sqrt()) as f32)),
            "zeros" | "ones" => name.clone(),
            "normal" => "normal(0.02)".to_string(),
            "uniform" => "uniform(0.1)".to_string(),
            "constant" => "constant(0.5)".to_string(),
            _ => return Err(self.errors.stop(weights::unknown_init(expr.span, &name))),
        };
        let value = match args.map(Vec::as_slice) {
            Some([arg]) if arg.name.is_none() && name != "zeros" && name != "ones" => self.number(&arg.value)?,
            Some(_) | None => return Err(self.errors.stop(weights::init_arguments(expr.span, &form))),
        };
        match name.as_str() {
            "constant" => Ok(Init::Constant(value as f32)),
            _ if value < 0.0 => Err(self.errors.stop(weights::init_arguments(expr.span, &form))),
            "normal" => Ok(Init::Normal(value as f32)),
            _ => Ok(Init::Uniform(value as f32)),
        }
    }
}
