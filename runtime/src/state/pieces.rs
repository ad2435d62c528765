//! Which elements of a whole tensor a rank has, and where: dims cut by mesh axes, and pieces of flat blocks (ZeRO, FSDP).
//!
//! Requires: a plan's dims and mesh. Ensures: elements in ascending order, as runs that stand one behind the other both on the rank and in the
//! whole tensor; what pads a dim is none of them.

use meshwright_plan::{DimSize, Mesh, Rest};
use std::ops::Range;

/// Elements that stand one behind the other, on a rank and in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first one's number on the rank, before its flat block is cut.
    pub here: u64,
    /// Its number in the whole tensor.
    pub there: u64,
    /// How many.
    pub count: u64,
}

/// The whole sizes of dims.
pub fn whole(mesh: &Mesh, dims: &[DimSize]) -> Vec<u64> {
    dims.iter().map(|dim| dim.whole(mesh)).collect()
}

/// How many elements dims have over the whole mesh.
pub fn elements(mesh: &Mesh, dims: &[DimSize]) -> u64 {
    dims.iter().map(|dim| dim.whole(mesh)).product()
}

/// Calls with the runs of a rank's elements `part`, counted as the rank has them.
pub fn each_run(mesh: &Mesh, rank: u64, dims: &[DimSize], part: Range<u64>, run: &mut dyn FnMut(Run)) {
    // Within the last dim that is cut (of a balanced one within each half), and the dims behind it, a rank's elements are one run of the whole.
    let cut = dims.iter().rposition(|dim| mesh.size(&dim.axes) > 1).unwrap_or(0);
    let halves = if dims.get(cut).is_some_and(|dim| dim.balanced) { 2 } else { 1 };
    let length = dims[cut.min(dims.len())..].iter().map(|dim| dim.size).product::<u64>() / halves;
    if length == 0 {
        return;
    }
    let mut at = part.start;
    while at < part.end {
        let count = (length - at % length).min(part.end - at);
        let known = count.min(unpadded(mesh, rank, dims, at));
        if known > 0 {
            run(Run { here: at, there: element(mesh, rank, dims, at), count: known });
        }
        at += count;
    }
}

/// How many of a rank's elements from this one on are none of a padded dim's padding: those behind it in the last such dim, if no other is in its own.
fn unpadded(mesh: &Mesh, rank: u64, dims: &[DimSize], here: u64) -> u64 {
    let (mut rest, mut inner, mut known) = (here, 1, u64::MAX);
    for dim in dims.iter().rev() {
        if dim.padding > 0 {
            let own = dim.whole(mesh).saturating_sub(mesh.number(rank, &dim.axes) * dim.size).min(dim.size);
            let left = own.saturating_sub(rest % dim.size) * inner;
            known = known.min(left.saturating_sub(here % inner));
        }
        rest /= dim.size;
        inner *= dim.size;
    }
    known
}

/// The number in the whole tensor of a rank's element.
fn element(mesh: &Mesh, rank: u64, dims: &[DimSize], here: u64) -> u64 {
    let (mut rest, mut stride, mut there) = (here, 1, 0);
    for dim in dims.iter().rev() {
        let index = place(mesh, rank, dim, rest % dim.size);
        rest /= dim.size;
        there += index * stride;
        stride *= dim.whole(mesh);
    }
    there
}

/// The number in the whole dim of a rank's element along it.
fn place(mesh: &Mesh, rank: u64, dim: &DimSize, here: u64) -> u64 {
    let number = mesh.number(rank, &dim.axes);
    if !dim.balanced {
        return number * dim.size + here;
    }
    let (chunk, last) = (dim.size / 2, 2 * mesh.size(&dim.axes) - 1);
    if here < chunk { number * chunk + here } else { (last - number) * chunk + here - chunk }
}

/// What a rank has of a tensor of `elements` f32 in its own dims: which of them, and the byte in the region where number 0 stands or would stand.
pub fn held(mesh: &Mesh, rank: u64, rest: &Rest, elements: u64) -> (Range<u64>, i64) {
    let Some(flat) = &rest.flat else { return (0..elements, rest.offset as i64) };
    let start = mesh.number(rank, &flat.axes) * flat.bytes;
    let inside = |byte: u64| byte.saturating_sub(flat.start).div_ceil(4).min(elements);
    (inside(start)..inside(start + flat.bytes), rest.offset as i64 + flat.start as i64 - start as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshwright_plan::mesh::Axis;
    use meshwright_plan::{Flat, Region};

    fn mesh() -> Mesh {
        let axis = |name: &str, size| Axis { name: name.into(), size };
        Mesh { axes: vec![axis("data", 2), axis("tensor", 3)] }
    }

    fn dim(size: u64, axes: &[&str]) -> DimSize {
        DimSize { name: "D".into(), size, axes: axes.iter().map(|axis| axis.to_string()).collect(), balanced: false, padding: 0 }
    }

    fn balanced(size: u64, axes: &[&str]) -> DimSize {
        DimSize { balanced: true, ..dim(size, axes) }
    }

    #[test]
    fn ranks_together_have_every_element_once() {
        let cases: [&[DimSize]; 9] = [
            &[balanced(4, &["tensor"]), dim(2, &["data"])],
            &[dim(2, &["data"]), balanced(6, &["tensor"]), dim(2, &[])],
            &[balanced(2, &["tensor"]), dim(3, &[]), dim(2, &["data"])],
            &[dim(3, &[]), balanced(4, &["data", "tensor"])],
            &[dim(4, &["tensor", "data"]), dim(5, &[])],
            &[dim(2, &["data"]), dim(3, &["tensor"]), dim(2, &[])],
            &[dim(3, &[]), dim(2, &["tensor"]), dim(2, &["data"])],
            &[dim(2, &[]), dim(7, &["data", "tensor"])],
            &[dim(2, &["data", "tensor"])],
        ];
        for dims in cases {
            let sizes = whole(&mesh(), dims);
            let mut owner = vec![None; sizes.iter().product::<u64>() as usize];
            let own: u64 = dims.iter().map(|dim| dim.size).product();
            for rank in 0..6 {
                let mut next = 0;
                each_run(&mesh(), rank, dims, 0..own, &mut |run| {
                    assert_eq!(run.here, next);
                    next += run.count;
                    for at in run.there..run.there + run.count {
                        assert_eq!(owner[at as usize].replace(rank), None, "{dims:?}");
                    }
                });
                assert_eq!(next, own);
            }
            assert!(owner.iter().all(Option::is_some), "{dims:?}");
        }
    }

    #[test]
    fn a_balanced_part_is_two_runs_from_both_ends() {
        let dims = [balanced(4, &["tensor"]), dim(5, &[])];
        let mut runs = Vec::new();
        each_run(&mesh(), 1, &dims, 0..20, &mut |run| runs.push(run));
        assert_eq!(runs, [Run { here: 0, there: 10, count: 10 }, Run { here: 10, there: 40, count: 10 }]);
    }

    #[test]
    fn padding_is_nobodys() {
        let padded = |size, axes: &[&str], padding| DimSize { padding, ..dim(size, axes) };
        for dims in [
            vec![padded(2, &["tensor"], 1), dim(3, &[])],
            vec![padded(2, &["tensor", "data"], 5), dim(1, &[])],
            vec![dim(2, &["data"]), padded(3, &["tensor"], 4)],
            vec![padded(2, &["tensor"], 1), dim(2, &["data"])],
        ] {
            let mut owner = vec![0; elements(&mesh(), &dims) as usize];
            let own: u64 = dims.iter().map(|dim| dim.size).product();
            for rank in 0..6 {
                each_run(&mesh(), rank, &dims, 0..own, &mut |run| {
                    (run.there..run.there + run.count).for_each(|at| owner[at as usize] += 1);
                });
            }
            assert!(owner.iter().all(|count| *count > 0 && *count == owner[0]), "{dims:?}: {owner:?}");
        }
    }

    #[test]
    fn a_dim_of_a_tensor_without_cuts_is_itself() {
        let dims = [dim(3, &[]), dim(4, &[])];
        let mut runs = Vec::new();
        each_run(&mesh(), 4, &dims, 2..11, &mut |run| runs.push(run));
        assert_eq!(runs, [Run { here: 2, there: 2, count: 9 }]);
        runs.clear();
        each_run(&mesh(), 4, &[], 0..1, &mut |run| runs.push(run));
        assert_eq!(runs, [Run { here: 0, there: 0, count: 1 }]);
    }

    #[test]
    fn pieces_of_a_block_meet_its_tensors_where_they_overlap() {
        let flat = |start| Flat { axes: vec!["tensor".into()], bytes: 40, start };
        let rest = |start| Rest { region: Region::from_u32(0), offset: 100, stride: 0, flat: Some(flat(start)) };
        // A block of three pieces of 10 elements; the tensor takes elements 6 to 25 of it.
        let held = |rank| held(&mesh(), rank, &rest(24), 19);
        assert_eq!(held(0), (0..4, 124));
        assert_eq!(held(1), (4..14, 84));
        assert_eq!(held(5), (14..19, 44));
    }
}
