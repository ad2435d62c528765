//! Every exchange between 2, 3, 4 and 8 ranks and along two axes, against plain loops over the documentation's formulas.

use super::{Fleet, fleet, number, plan};
use meshwright_plan::kernel::{Collective, Exchange, KernelData, Reduce, Role, Skeleton};
use meshwright_plan::{Mesh, Plan};

/// Bytes of each of the two regions.
const BYTES: u64 = 1 << 18;

/// A mesh and the axes of a collective.
const MESHES: [(&str, &str, u64); 8] = [
    ("data 2", "data", 2),
    ("data 3", "data", 3),
    ("data 4", "data", 4),
    ("data 8", "data", 8),
    ("data 2, tensor 3", "data", 2),
    ("data 2, tensor 3", "tensor", 3),
    ("data 2, tensor 4", "data*tensor", 8),
    ("data 2, pipe 2, tensor 2", "tensor*data", 4),
];

/// Operands of a collective: what follows its name, with `N` for the members; rows of both operands.
struct Layout {
    rows: &'static str,
    from: &'static str,
    to: &'static str,
}

/// Contiguous, with a gap between rows, turned, and long enough for several tiles.
const LAYOUTS: [Layout; 4] = [
    Layout { rows: "[R 5, L 7]", from: "R, L", to: "R, L" },
    Layout { rows: "[R 5, L 8]", from: "R:11, L", to: "R:9, L" },
    Layout { rows: "[R 4, L 6]", from: "R, L", to: "L, R" },
    Layout { rows: "[R 5000]", from: "R", to: "R" },
];

/// What is taken of all parts, whether it is added to what is there, and the places that say so.
const REDUCTIONS: [(&str, bool, &str); 4] =
    [("sum", false, "from=x to=y"), ("sum", true, "from=x to+=y"), ("max", false, "from=x to=y"), ("min", false, "from=x to=y")];

/// A plan of one launch from region `x` to region `y`.
fn launch(mesh: &str, head: &str, operands: [&str; 2], places: &str) -> Plan {
    plan(&format!(
        "plan \"one\"\nformat 1\nmesh {mesh}\nmicrobatches 1\narena {}\nregion x data at 0 bytes {BYTES}\nregion y carries at {BYTES} bytes {BYTES}\n\
         kernel k0 it {head}\n  {}\n  {}\nprogram all\n  read x {BYTES}\n  write y {BYTES}\n  k0 it {places}\nentry step\n  call all x=x y=y\n",
        2 * BYTES,
        operands[0],
        operands[1],
    ))
}

/// The element of an operand at a point of the rows, for a member.
fn element(kernel: &KernelData, operand: usize, point: &[u64], member: u64) -> usize {
    let mut rows = point.iter();
    let strides = &kernel.operands.values().nth(operand).expect("two operands").strides;
    let index = |role: Role| if role == Role::Member { member } else { *rows.next().expect("an index per row") };
    kernel.dims.values().map(|dim| dim.role).map(index).zip(strides).map(|(index, stride)| index as i64 * stride).sum::<i64>() as usize
}

fn points(kernel: &KernelData) -> Vec<Vec<u64>> {
    let rows = kernel.dims.values().filter(|dim| dim.role == Role::Row);
    rows.fold(vec![vec![]], |points, dim| points.iter().flat_map(|point| (0..dim.size).map(|at| [&point[..], &[at]].concat())).collect())
}

fn combine(op: Reduce, old: f32, new: f32) -> f32 {
    match op {
        Reduce::Sum => old + new,
        Reduce::Max => old.max(new),
        Reduce::Min => old.min(new),
        Reduce::Argmax => panic!("no reduction between ranks"),
    }
}

/// What a rank's result is to be, by the documentation. `x` and `y` are what the ranks start with.
fn plain(mesh: &Mesh, kernel: &KernelData, rank: u64, x: &[Vec<f32>], y: &[f32], adds: bool) -> Vec<f32> {
    let Skeleton::Collective(Collective { exchange, axes }) = &kernel.skeleton else { panic!("a collective") };
    let (group, me) = (mesh.group(rank, axes), mesh.number(rank, axes));
    let members = group.len() as u64;
    let given = |member: u64, point: &[u64], part: u64| x[group[member as usize] as usize][element(kernel, 0, point, part)];
    let reduced = |op: Reduce, point: &[u64], part: u64| {
        (0..members).map(|member| given(member, point, part)).reduce(|old, new| combine(op, old, new)).expect("a member")
    };
    let mut out = y.to_vec();
    for point in points(kernel) {
        let mut put = |member: u64, value: f32| {
            let place = &mut out[element(kernel, 1, &point, member)];
            *place = if adds { *place + value } else { value };
        };
        match exchange {
            Exchange::AllGather => (0..members).for_each(|m| put(m, given(m, &point, 0))),
            Exchange::ReduceScatter(op) => put(0, reduced(*op, &point, me)),
            Exchange::AllReduce(op) => put(0, reduced(*op, &point, 0)),
            Exchange::AllToAll { .. } => (0..members).for_each(|m| put(m, given(m, &point, me))),
            Exchange::Permute { by } => put(0, given((me + members - by) % members, &point, 0)),
        }
    }
    out
}

/// Runs a plan in several ways; every rank must have what the plain loop says, bit by bit.
fn check(plan: &Plan, adds: bool, in_place: bool) {
    let count = BYTES / 4;
    let y = if in_place { 0 } else { BYTES };
    let (ranks, kernel) = (plan.mesh.ranks() as usize, plan.kernels.values().next().expect("a kernel"));
    let start = |rank: usize, seed: usize| (0..count as usize).map(|at| number(rank + seed, at)).collect::<Vec<f32>>();
    let given: Vec<Vec<f32>> = (0..ranks).map(|rank| start(rank, 0)).collect();
    let ways: [&dyn Fn() -> Fleet; 4] = [&|| fleet(plan, 1), &|| fleet(plan, 2), &|| fleet(plan, 3), &|| {
        let mut fleet = fleet(plan, 2);
        fleet.interleave(5);
        fleet
    }];
    for way in ways {
        let mut fleet = way();
        for (rank, given) in given.iter().enumerate() {
            fleet.memory(rank, BYTES, count).copy_from_slice(&start(rank, 50));
            fleet.memory(rank, 0, count).copy_from_slice(given);
        }
        fleet.run("step", 1).expect("the ranks meet");
        for rank in 0..ranks {
            let before = if in_place { given[rank].clone() } else { start(rank, 50) };
            let want = plain(&plan.mesh, kernel, rank as u64, &given, &before, adds);
            let got = fleet.memory(rank, y, count);
            let wrong = got.iter().zip(&want).position(|(got, want)| got.to_bits() != want.to_bits());
            if let Some(at) = wrong {
                panic!("rank {rank} at {at}: {}, not {}\n{}", got[at], want[at], meshwright_plan::print::print(plan));
            }
        }
    }
}

#[test]
fn gathers() {
    for (mesh, axes, members) in MESHES {
        for Layout { rows, from, to } in LAYOUTS {
            let head = format!("all_gather along {axes} member [m {members}] {rows}");
            check(
                &launch(mesh, &head, [&format!("read from: f32[{from}]"), &format!("write to: f32[m:6000, {to}]")], "from=x to=y"),
                false,
                false,
            );
        }
    }
}

#[test]
fn members_may_stand_inside_of_rows() {
    for (mesh, axes, members) in MESHES {
        let head = format!("all_gather along {axes} [R 6] member [m {members}] [L 4]");
        check(&launch(mesh, &head, ["read from: i32[R, L]", "write to: i32[R, m, L]"], "from=x to=y"), false, false);
        let head = format!("reduce_scatter sum along {axes} [R 6] member [m {members}] [L 4]");
        check(&launch(mesh, &head, ["read from: f32[R, m, L]", "accumulate to: f32[R, L]"], "from=x to=y"), false, false);
        let head = format!("all_to_all R to L along {axes} [R 6] member [m {members}] [L 4]");
        check(&launch(mesh, &head, ["read from: f32[R, m, L]", "write to: f32[m, R, L]"], "from=x to=y"), false, false);
    }
}

#[test]
fn scattered_sums() {
    for (mesh, axes, members) in MESHES {
        for Layout { rows, from, to } in LAYOUTS {
            for (op, adds, places) in REDUCTIONS {
                let head = format!("reduce_scatter {op} along {axes} member [m {members}] {rows}");
                let operands = [&*format!("read from: f32[m:6000, {from}]"), &*format!("accumulate to: f32[{to}]")];
                check(&launch(mesh, &head, operands, places), adds, false);
            }
        }
    }
}

#[test]
fn sums_for_all() {
    for (mesh, axes, _) in MESHES {
        for Layout { rows, from, to } in LAYOUTS {
            for (op, adds, places) in REDUCTIONS {
                let head = format!("all_reduce {op} along {axes} {rows}");
                let operands = [&*format!("read from: f32[{from}]"), &*format!("accumulate to: f32[{to}]")];
                check(&launch(mesh, &head, operands, places), adds, false);
            }
            let head = format!("all_reduce sum along {axes} {rows}");
            let operands = [&*format!("read from: f32[{from}]"), &*format!("write to: f32[{from}]")];
            let mut plan = launch(mesh, &head, operands, "from=x to=y");
            // The program's second parameter is bound to the place of the first.
            for entry in &mut plan.entries {
                for item in &mut entry.body {
                    let meshwright_plan::program::Item::Call(call) = item else { continue };
                    call.bindings[1] = call.bindings[0];
                }
            }
            check(&plan, false, true);
        }
    }
}

#[test]
fn everyone_to_everyone() {
    for (mesh, axes, members) in MESHES {
        for Layout { rows, from, to } in LAYOUTS {
            let head = format!("all_to_all R to L along {axes} member [m {members}] {rows}");
            let operands = [&*format!("read from: f32[m:5500, {from}]"), &*format!("write to: f32[m:6000, {to}]")];
            check(&launch(mesh, &head, operands, "from=x to=y"), false, false);
        }
    }
}

#[test]
fn around_the_ring() {
    for (mesh, axes, members) in MESHES {
        for Layout { rows, from, to } in LAYOUTS {
            for by in [1, members - 1] {
                let head = format!("permute {by} along {axes} {rows}");
                check(
                    &launch(mesh, &head, [&format!("read from: f32[{from}]"), &format!("write to: f32[{to}]")], "from=x to=y"),
                    false,
                    false,
                );
            }
        }
    }
}
