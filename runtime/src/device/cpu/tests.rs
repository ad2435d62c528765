//! Claims about the device: kernels given as a plan gives them run as the plan's documentation says.

use super::attention::Attend;
use super::{Cpu, Launch, Worker};
use crate::pool::Pool;
use cranelift_entity::{EntityRef, PrimaryMap};
use meshwright_plan::kernel::{Access, Attention, KernelData, KernelDim, Operand, Role, Rows, Skeleton, Slot};
use meshwright_plan::{Element, Kernel, Plan};

/// A kernel from (role, size) of its dims and (element, access, strides) of its operands.
fn kernel(dims: &[(Role, u64)], operands: &[(Element, Access, &[i64])], skeleton: Skeleton) -> KernelData {
    let dim = |(at, (role, size)): (usize, &(Role, u64))| KernelDim { name: format!("D{at}"), size: *size, role: *role, axes: Vec::new() };
    let operand = |(at, (element, access, strides)): (usize, &(Element, Access, &[i64]))| {
        let last: i64 = dims.iter().zip(*strides).map(|((_, size), stride)| (*size as i64 - 1) * stride).sum();
        Operand { name: format!("o{at}"), element: *element, access: *access, strides: strides.to_vec(), extent: last as u64 + 1 }
    };
    KernelData {
        name: "test".into(),
        dims: dims.iter().enumerate().map(dim).collect(),
        operands: operands.iter().enumerate().map(operand).collect(),
        skeleton,
    }
}

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 9) as f32 / 4_194_304.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn load(kernel: KernelData, threads: usize) -> (Cpu, Worker) {
    let mut plan = Plan::default();
    plan.kernels.push(kernel);
    let cpu = Cpu::load(&plan).expect("a kernel that loads");
    let worker = cpu.worker(Pool::new(threads, false));
    (cpu, worker)
}

/// Runs the only kernel of a device on operands given as f32 (or the bits of i32).
fn launch((cpu, worker): &mut (Cpu, Worker), operands: &mut [Vec<f32>], accumulate: bool) {
    let places: Vec<*mut u8> = operands.iter_mut().map(|operand| operand.as_mut_ptr().cast()).collect();
    let accumulate = if accumulate { u64::MAX } else { 0 };
    let launch = Launch {
        operands: &places,
        accumulate,
        scalars: &[],
        coordinates: &[],
        seed: 0,
        step: 1,
        iteration: 0,
        micro: 0,
        numbers: std::ptr::null(),
    };
    // SAFETY: the operands are as large as the kernel's extents.
    unsafe { cpu.launch(worker, Kernel::new(0), &launch) };
}

/// All points of the iteration space.
fn points(kernel: &KernelData) -> Vec<Vec<usize>> {
    let start = vec![vec![]];
    kernel.dims.values().fold(start, |points, dim| {
        let longer = |point: &Vec<usize>| (0..dim.size as usize).map(|index| [&point[..], &[index]].concat()).collect::<Vec<_>>();
        points.iter().flat_map(longer).collect()
    })
}

fn element(kernel: &KernelData, slot: usize, point: &[usize]) -> usize {
    kernel.operands[Slot::new(slot)].strides.iter().zip(point).map(|(stride, index)| *stride as usize * index).sum()
}

#[test]
fn contractions_over_any_dims() {
    use Role::{Batch, K, M, N};
    let (read, sum) = ((Element::F32, Access::Read), (Element::F32, Access::Accumulate));
    type Case<'a> = (&'a [(Role, u64)], [&'a [i64]; 3]);
    let cases: [Case<'_>; 5] = [
        // x[B, S, E] @ w[E, H, D]: rows merge, columns merge.
        (&[(M, 3), (M, 5), (N, 2), (N, 4), (K, 6)], [&[30, 6, 0, 0, 1], &[0, 0, 4, 1, 8], &[40, 8, 4, 1, 0]]),
        // Its weight gradient: the sum runs over two merged dims.
        (&[(M, 6), (N, 8), (K, 3), (K, 5)], [&[1, 0, 30, 6], &[0, 1, 40, 8], &[8, 1, 0, 0]]),
        // Dims that do not merge, of every kind.
        (
            &[(Batch, 2), (M, 3), (M, 4), (N, 5), (N, 2), (K, 3), (K, 2)],
            [&[72, 4, 12, 0, 0, 48, 1], &[60, 0, 0, 2, 10, 20, 1], &[1, 2, 6, 24, 120, 0, 0]],
        ),
        // Without rows, without columns.
        (&[(N, 70), (K, 9)], [&[0, 1], &[9, 1], &[1, 0]]),
        (&[(Batch, 3), (M, 7), (K, 33)], [&[231, 33, 1], &[33, 0, 1], &[7, 1, 0]]),
    ];
    for (dims, [a, b, c]) in cases {
        let contract = kernel(dims, &[(read.0, read.1, a), (read.0, read.1, b), (sum.0, sum.1, c)], Skeleton::Contract { alpha: 0.5 });
        for accumulate in [false, true] {
            let mut operands: Vec<Vec<f32>> =
                contract.operands.iter().map(|(slot, operand)| numbers(operand.extent as usize, slot.index() as u32)).collect();
            let mut want: Vec<f64> = operands[2].iter().map(|x| f64::from(*x)).collect();
            if !accumulate {
                points(&contract).iter().for_each(|point| want[element(&contract, 2, point)] = 0.0);
            }
            for point in points(&contract) {
                let [x, y] = [0, 1].map(|slot| f64::from(operands[slot][element(&contract, slot, &point)]));
                want[element(&contract, 2, &point)] += 0.5 * x * y;
            }
            launch(&mut load(contract.clone(), 2), &mut operands, accumulate);
            for (got, want) in operands[2].iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 1e-5, "{dims:?}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn rows_are_added_to_their_segments() {
    use Role::{Lane, Row, Segment};
    for lanes in [1, 16, 37, 200] {
        let size = lanes as i64;
        let sums = kernel(
            &[(Row, 5), (Row, 3), (Lane, lanes), (Segment, 4)],
            &[
                (Element::I32, Access::Read, &[3, 1, 0, 0]),
                (Element::F32, Access::Read, &[3 * size, size, 1, 0]),
                (Element::F32, Access::Accumulate, &[0, 0, 1, size]),
            ],
            Skeleton::Segmented,
        );
        for (accumulate, threads) in [(false, 1), (true, 1), (false, 3), (true, 3)] {
            let ids: Vec<i32> = (0..15).map(|row| row * 7 % 6 - 1).collect();
            let (values, start) = (numbers(15 * lanes as usize, 1), numbers(4 * lanes as usize, 2));
            let mut want = if accumulate { start.clone() } else { vec![0.0; start.len()] };
            for (row, id) in ids.iter().enumerate().filter(|(_, id)| (0..4).contains(*id)) {
                for lane in 0..lanes as usize {
                    want[*id as usize * lanes as usize + lane] += values[row * lanes as usize + lane];
                }
            }
            let ids: Vec<f32> = ids.into_iter().map(|id| f32::from_bits(id as u32)).collect();
            let mut operands = [ids, values, start];
            launch(&mut load(sums.clone(), threads), &mut operands, accumulate);
            assert_eq!(operands[2], want, "{lanes} lanes, {threads} threads, accumulate {accumulate}");
        }
    }
}

/// index and value [B, R, L], out [B, S, L]: each batch has segments of its own.
#[test]
fn batches_have_segments_of_their_own() {
    use Role::{Batch, Lane, Row, Segment};
    for lanes in [1, 37] {
        let size = lanes as i64;
        let sums = kernel(
            &[(Batch, 3), (Row, 5), (Segment, 4), (Lane, lanes)],
            &[
                (Element::I32, Access::Read, &[5, 1, 0, 0]),
                (Element::F32, Access::Read, &[5 * size, size, 0, 1]),
                (Element::F32, Access::Accumulate, &[4 * size, 0, size, 1]),
            ],
            Skeleton::Segmented,
        );
        let lanes = lanes as usize;
        let ids: Vec<usize> = (0..15).map(|row| row * 7 % 4).collect();
        let values = numbers(15 * lanes, 1);
        let mut want = vec![0.0; 12 * lanes];
        for (row, id) in ids.iter().enumerate() {
            (0..lanes).for_each(|lane| want[(row / 5 * 4 + id) * lanes + lane] += values[row * lanes + lane]);
        }
        for threads in [1, 3] {
            let ids: Vec<f32> = ids.iter().map(|id| f32::from_bits(*id as u32)).collect();
            let mut operands = [ids, values.clone(), numbers(12 * lanes, 2)];
            launch(&mut load(sums.clone(), threads), &mut operands, false);
            assert_eq!(operands[2], want, "{lanes} lanes, {threads} threads");
        }
    }
}

/// q [B, S, H, G, D], k and v [B, S, H, D]: what the kernel's dims become.
#[test]
fn attention_reads_its_dims() {
    use Role::{Batch, Feature, Key, M, Query, Value};
    let dims = [(Batch, 2), (Batch, 3), (M, 2), (Query, 20), (Key, 20), (Feature, 8), (Value, 4)];
    let read = |strides: &'static [i64]| (Element::F32, Access::Read, strides);
    let forward = [
        read(&[960, 16, 8, 48, 0, 1, 0]),
        read(&[480, 8, 0, 0, 24, 1, 0]),
        read(&[240, 4, 0, 0, 12, 0, 1]),
        (Element::F32, Access::Write, &[480, 8, 4, 24, 0, 0, 1][..]),
        (Element::F32, Access::Write, &[120, 40, 20, 1, 0, 0, 0][..]),
    ];
    let shape = Attention { query: None, key: None, scale: 0.5, causal: true, window: None, balanced: false };
    let attention = kernel(&dims, &forward, Skeleton::Attention(shape.clone()));
    let attend = Attend::new(&attention, &shape, &[], false).expect("an attention kernel");
    assert_eq!((attend.queries, attend.keys, attend.feature, attend.value), (20, 20, 8, 4));
    assert_eq!(&attend.rows[..5], &[48, 24, 12, 24, 1]);
    assert_eq!((attend.batch.len(), attend.group.len()), (2, 1));
    let mut operands: Vec<Vec<f32>> =
        attention.operands.iter().map(|(slot, operand)| numbers(operand.extent as usize, slot.index() as u32)).collect();
    let first_value = operands[2][..4].to_vec();
    launch(&mut load(attention, 2), &mut operands, false);
    // The first query sees the first key only.
    for (out, value) in operands[3][..4].iter().zip(first_value) {
        assert!((out - value).abs() < 1e-6);
    }
}

#[test]
fn what_cannot_run_is_refused() {
    let two = [(Element::F32, Access::Read, &[1_i64][..]), (Element::F32, Access::Read, &[1_i64][..])];
    let rows = Rows { nodes: PrimaryMap::new(), effects: vec![], folded: 0, blocks: 1 };
    let mut unknown = rows.clone();
    unknown.nodes.push(meshwright_plan::kernel::NodeData::Scalar("speed".into()));
    let cases = [
        (Skeleton::Contract { alpha: 1.0 }, "it has 2 operands, not 3"),
        (Skeleton::Segmented, "it has 2 operands, not 3"),
        (Skeleton::Rows(unknown), "there is no scalar `speed`"),
    ];
    for (skeleton, message) in cases {
        let mut plan = Plan::default();
        plan.kernels.push(kernel(&[(Role::Row, 4)], &two, skeleton));
        let Err(error) = Cpu::load(&plan) else { panic!("{message} is accepted") };
        assert_eq!(error.message, message);
        assert_eq!(error.kernel.as_deref(), Some("test"));
    }
}
