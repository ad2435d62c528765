//! Analysis: which values are strided views of others, so that renaming, splitting, merging, slicing and repeating copy nothing.
//!
//! Requires a body in order. Ensures that every value has a view; a value that is computed is the dense view of itself, in the layout of its
//! type. Offsets and strides count elements of the base.

use crate::op::{Body, Dim, Dims, Inst, Op, Shape, Type, Value};
use cranelift_entity::SecondaryMap;

/// Where the elements of a value stand.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The computed (or incoming) value that holds them.
    pub base: Value,
    /// Element 0, in elements of the base.
    pub offset: u64,
    /// Elements of the base per step along each dim of the value.
    pub strides: Vec<(Dim, u64)>,
    /// The value differs from its base only by being repeated along dims that the base lacks.
    pub plain: bool,
}

/// A view for every value.
pub type Views = SecondaryMap<Value, Option<View>>;

impl View {
    /// A computed value: itself.
    pub fn dense(value: Value, ty: &Type, dims: &Dims) -> Self {
        View { base: value, offset: 0, strides: dense_strides(&ty.dims, dims), plain: true }
    }

    /// Elements per step along a dim; 0 where the value lacks it.
    pub fn stride(&self, dim: Dim) -> u64 {
        self.strides.iter().find(|(other, _)| *other == dim).map_or(0, |(_, stride)| *stride)
    }

    /// Whether the value's elements, in the layout of `ty`, are the base's elements in the order in which they stand in memory.
    pub fn covers(&self, ty: &Type, base: &Type, dims: &Dims) -> bool {
        let same = |(dim, stride): (Dim, u64)| dims[dim].size == 1 || self.stride(dim) == stride;
        self.offset == 0 && ty.elements(dims) == base.elements(dims) && dense_strides(&ty.dims, dims).into_iter().all(same)
    }
}

/// Strides of a dense tensor with these dims, outermost first.
pub fn dense_strides(layout: &[Dim], dims: &Dims) -> Vec<(Dim, u64)> {
    let mut stride = 1;
    let mut strides: Vec<(Dim, u64)> = layout
        .iter()
        .rev()
        .map(|dim| {
            let here = (*dim, stride);
            stride *= dims[*dim].size;
            here
        })
        .collect();
    strides.reverse();
    strides
}

/// The views of all values of a body.
pub fn views(body: &Body, dims: &Dims) -> Views {
    let mut views = Views::new();
    for (value, data) in body.values.iter() {
        views[value] = Some(View::dense(value, &data.ty, dims));
    }
    for inst in &body.insts {
        if let Some(view) = of_inst(inst, body, &views, dims) {
            views[inst.results[0]] = Some(view);
        }
    }
    views
}

/// The view that an instruction's result is of its argument, if it is one.
pub fn of_inst(inst: &Inst, body: &Body, views: &Views, dims: &Dims) -> Option<View> {
    match &inst.op {
        Op::Shape(shape) => {
            let arg = views[*inst.args.first()?].as_ref()?;
            through(shape, arg, body.ty(inst.results[0]), dims)
        }
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Reduce(..) | Op::Contract(_) | Op::Index(_) => None,
        Op::Random(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Anchor | Op::Stop | Op::Collective(_) => None,
    }
}

/// What a shape operator makes of a view; none if strides cannot say it, or if new elements arise.
fn through(shape: &Shape, arg: &View, result: &Type, dims: &Dims) -> Option<View> {
    let mut view = arg.clone();
    view.plain &= matches!(shape, Shape::Expand);
    match shape {
        Shape::Rename { from, to } => rename(&mut view, *from, *to),
        Shape::Split { from, into } => split(&mut view, *from, into, dims),
        Shape::Merge { from, into } => merge(&mut view, from, *into, dims)?,
        Shape::Slice { from, start, into } => {
            view.offset += start * view.stride(*from);
            rename(&mut view, *from, *into);
        }
        Shape::Take { from, at } => {
            view.offset += at * view.stride(*from);
            view.strides.retain(|(dim, _)| dim != from);
        }
        Shape::Expand => view.strides = result.dims.iter().map(|dim| (*dim, arg.stride(*dim))).collect(),
        Shape::Pad { .. } | Shape::Concat { .. } | Shape::Shift { .. } | Shape::Roll { .. } => return None,
    }
    Some(view)
}

fn rename(view: &mut View, from: Dim, to: Dim) {
    for (dim, _) in &mut view.strides {
        if *dim == from {
            *dim = to;
        }
    }
}

fn split(view: &mut View, from: Dim, into: &[Dim], dims: &Dims) {
    let whole = view.stride(from);
    view.strides.retain(|(dim, _)| *dim != from);
    view.strides.extend(dense_strides(into, dims).into_iter().map(|(dim, stride)| (dim, stride * whole)));
}

fn merge(view: &mut View, from: &[Dim], into: Dim, dims: &Dims) -> Option<()> {
    let real: Vec<Dim> = from.iter().copied().filter(|dim| dims[*dim].size > 1).collect();
    let chained = real.windows(2).all(|pair| view.stride(pair[0]) == view.stride(pair[1]) * dims[pair[1]].size);
    let stride = real.last().map_or(0, |dim| view.stride(*dim));
    view.strides.retain(|(dim, _)| !from.contains(dim));
    view.strides.push((into, stride));
    chained.then_some(())
}
