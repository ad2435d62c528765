//! Tensors of the interpreter, and loops over named dims.
//!
//! Requires that every dim stands in the compilation's [`Dims`]. Ensures that elements lie row-major in the order of [`Tensor::dims`].

use crate::op::{Dim, Dims, Element, Type};

/// A tensor; every element, number or not, is an f64 (bool: 0 or 1; integers are exact).
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// What one element is.
    pub element: Element,
    /// Its dims, outermost first.
    pub dims: Vec<Dim>,
    /// Its elements, row-major.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor of type `ty` with these elements; panics if their number is wrong.
    pub fn new(ty: &Type, dims: &Dims, data: Vec<f64>) -> Tensor {
        assert_eq!(data.len() as u64, ty.elements(dims), "number of elements");
        Tensor { element: ty.element, dims: ty.dims.clone(), data }
    }

    /// A tensor of type `ty` with the same number everywhere.
    pub fn filled(ty: &Type, dims: &Dims, value: f64) -> Tensor {
        Tensor { element: ty.element, dims: ty.dims.clone(), data: vec![value; ty.elements(dims) as usize] }
    }

    /// A real number without dims.
    pub fn scalar(value: f64) -> Tensor {
        Tensor { element: Element::Real, dims: Vec::new(), data: vec![value] }
    }

    /// The one element of a tensor without dims.
    pub fn item(&self) -> f64 {
        assert_eq!(self.data.len(), 1, "a tensor with one element");
        self.data[0]
    }

    /// Whether `dim` is one of its dims.
    pub fn has(&self, dim: Dim) -> bool {
        self.dims.contains(&dim)
    }

    /// Elements per step along `dim`; 0 if the tensor lacks it.
    pub fn stride(&self, dim: Dim, dims: &Dims) -> usize {
        match self.dims.iter().position(|own| *own == dim) {
            Some(at) => self.dims[at + 1..].iter().map(|inner| dims[*inner].size as usize).product(),
            None => 0,
        }
    }

    /// The same tensor laid out in `order`; dims that only `order` has are repeated.
    pub fn arranged(&self, order: &[Dim], dims: &Dims) -> Tensor {
        if self.dims == order {
            return self.clone();
        }
        assert!(self.dims.iter().all(|dim| order.contains(dim)), "the new order has all dims of the tensor");
        let mut data = Vec::new();
        Nest::new(order.to_vec(), dims).run(&[self], |at| data.push(self.data[at[0]]));
        Tensor { element: self.element, dims: order.to_vec(), data }
    }

    /// The same elements under other dims.
    pub fn viewed(mut self, dims: Vec<Dim>) -> Tensor {
        self.dims = dims;
        self
    }
}

/// A loop nest over some dims, outermost first.
pub struct Nest<'a> {
    over: Vec<Dim>,
    dims: &'a Dims,
}

impl<'a> Nest<'a> {
    /// A nest over `over`.
    pub fn new(over: Vec<Dim>, dims: &'a Dims) -> Self {
        Nest { over, dims }
    }

    /// Calls `visit` at every point with each tensor's element offset there; a tensor does not move along dims that it lacks.
    pub fn run(&self, tensors: &[&Tensor], visit: impl FnMut(&[usize])) {
        let strides: Vec<Vec<usize>> =
            tensors.iter().map(|tensor| self.over.iter().map(|dim| tensor.stride(*dim, self.dims)).collect()).collect();
        self.run_strided(&strides, visit);
    }

    /// The same with a list of strides, one per dim of the nest, for each offset.
    pub fn run_strided(&self, strides: &[Vec<usize>], mut visit: impl FnMut(&[usize])) {
        let sizes: Vec<usize> = self.over.iter().map(|dim| self.dims[*dim].size as usize).collect();
        if sizes.contains(&0) {
            return;
        }
        let mut offsets = vec![0; strides.len()];
        let mut point = vec![0; sizes.len()];
        loop {
            visit(&offsets);
            if !advance(&mut point, &sizes, strides, &mut offsets) {
                return;
            }
        }
    }
}

/// Steps to the next point; false after the last one. (Plain loops: iterators are slow where nothing is optimised, as in tests.)
fn advance(point: &mut [usize], sizes: &[usize], strides: &[Vec<usize>], offsets: &mut [usize]) -> bool {
    let mut dim = sizes.len();
    while dim > 0 {
        dim -= 1;
        point[dim] += 1;
        let inside = point[dim] < sizes[dim];
        let mut at = 0;
        while at < offsets.len() {
            let stride = strides[at][dim];
            offsets[at] = if inside { offsets[at] + stride } else { offsets[at] - stride * (sizes[dim] - 1) };
            at += 1;
        }
        if inside {
            return true;
        }
        point[dim] = 0;
    }
    false
}

/// All dims of several lists, each once, in order of appearance.
pub fn union(lists: &[&[Dim]]) -> Vec<Dim> {
    let mut all = Vec::new();
    for dim in lists.iter().copied().flatten() {
        if !all.contains(dim) {
            all.push(*dim);
        }
    }
    all
}
