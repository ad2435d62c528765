//! Dims of a kernel as loops with a stride per operand, merged where they can be.
//!
//! Requires: a kernel whose operands have a stride per dim. Ensures: loops keep the dims' order; points of size one are gone; two neighbours
//! are one loop if every operand walks through both with one stride.

use cranelift_entity::EntityRef;
use meshwright_plan::Element;
use meshwright_plan::kernel::{KernelData, Role, Slot};

/// A loop: its number of steps and the elements per step in each of `N` operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop<const N: usize> {
    /// Number of steps.
    pub size: usize,
    /// Elements per step.
    pub strides: [isize; N],
}

/// The loops of all dims with a role, over the first `N` operands.
pub(super) fn loops<const N: usize>(kernel: &KernelData, role: Role) -> Vec<Loop<N>> {
    let mut loops: Vec<Loop<N>> = Vec::new();
    for (axis, dim) in kernel.dims.iter().filter(|(_, dim)| dim.role == role && dim.size != 1) {
        let stride = |operand: usize| kernel.operands.get(Slot::new(operand)).map_or(0, |operand| operand.strides[axis.index()] as isize);
        let inner = Loop { size: dim.size as usize, strides: std::array::from_fn(stride) };
        match loops.last_mut() {
            Some(outer) if (0..N).all(|i| outer.strides[i] == inner.strides[i] * inner.size as isize) => {
                *outer = Loop { size: outer.size * inner.size, strides: inner.strides };
            }
            Some(_) | None => loops.push(inner),
        }
    }
    loops
}

/// The one loop of a role (of size 1 with strides 0 if there is none).
pub(crate) fn single<const N: usize>(kernel: &KernelData, role: Role) -> Result<Loop<N>, String> {
    match loops(kernel, role)[..] {
        [] => Ok(Loop { size: 1, strides: [0; N] }),
        [one] => Ok(one),
        _ => Err(format!("the dims with the role {role:?} do not merge into one")),
    }
}

/// Takes the longest loop out of a list (of size 1 with strides 0 if it is empty).
fn take_longest<const N: usize>(loops: &mut Vec<Loop<N>>) -> Loop<N> {
    let longest = (0..loops.len()).max_by_key(|index| loops[*index].size);
    longest.map_or(Loop { size: 1, strides: [0; N] }, |index| loops.remove(index))
}

/// The loops of a contraction over operands a, b and c: of each kind of dim the longest one, and the others around the product or inside its sum.
pub(super) struct Contraction {
    /// The longest of rows, columns and summed dims.
    pub(super) product: [Loop<3>; 3],
    /// Points that have a product each.
    pub(super) outer: Vec<Loop<3>>,
    /// Points over which products are summed.
    pub(super) inner: Vec<Loop<3>>,
}

impl Contraction {
    /// Those of a kernel.
    pub(super) fn new(kernel: &KernelData) -> Contraction {
        let mut outer = loops::<3>(kernel, Role::Batch);
        let [mut rows, mut columns, mut inner] = [Role::M, Role::N, Role::K].map(|role| loops::<3>(kernel, role));
        let product = [&mut rows, &mut columns, &mut inner].map(take_longest);
        outer.extend(rows);
        outer.extend(columns);
        Contraction { product, outer, inner }
    }
}

/// Number of points of nested loops.
pub(crate) fn points<const N: usize>(loops: &[Loop<N>]) -> usize {
    loops.iter().map(|each| each.size).product()
}

/// Offsets in elements of a point of nested loops, the last loop running fastest.
pub(crate) fn offsets<const N: usize>(loops: &[Loop<N>], point: usize) -> [isize; N] {
    let mut rest = point;
    let mut sum = [0; N];
    for each in loops.iter().rev() {
        let index = (rest % each.size) as isize;
        rest /= each.size;
        for (sum, stride) in sum.iter_mut().zip(each.strides) {
            *sum += index * stride;
        }
    }
    sum
}

/// That a kernel has `count` operands, of which those with an index in `integers` hold i32 and all others real numbers.
pub(super) fn expect_operands(kernel: &KernelData, count: usize, integers: &[usize]) -> Result<(), String> {
    if kernel.operands.len() != count {
        return Err(format!("it has {} operands, not {count}", kernel.operands.len()));
    }
    for (slot, operand) in kernel.operands.iter() {
        let wanted = if integers.contains(&slot.index()) { Element::I32 } else { Element::F32 };
        if operand.element.value() != wanted {
            return Err(format!("operand `{}` is {}, not {wanted}", operand.name, operand.element));
        }
    }
    Ok(())
}
