//! Claims about attention: it agrees with a plain loop in f64, forward and backward, for odd sizes, shared heads and all masks, and its bits
//! do not depend on threads.

use super::{Attend, DK, DOUT, DQ, DV, K, LSE, OPERANDS, OUT, PerOperand, Q, Start, V};
use crate::device::cpu::Scratch;
use crate::device::loops::Loop;
use crate::pool::Pool;
use meshwright_plan::Mesh;
use meshwright_plan::mesh::{Axis, Coordinate};

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    heads: usize,
    group: usize,
    queries: usize,
    keys: usize,
    feature: usize,
    value: usize,
    causal: bool,
    window: Option<usize>,
    shift: i64,
    /// How far behind the first halves of queries and keys their second halves stand, beyond their length; none: no runs.
    gaps: Option<[i64; 2]>,
}

const PLAIN: Case =
    Case { batch: 2, heads: 2, group: 1, queries: 70, keys: 70, feature: 16, value: 16, causal: true, window: None, shift: 0, gaps: None };

fn cases() -> Vec<Case> {
    vec![
        PLAIN,
        Case { causal: false, ..PLAIN },
        Case { group: 3, queries: 129, keys: 129, feature: 8, value: 20, ..PLAIN },
        Case { window: Some(9), queries: 150, keys: 150, ..PLAIN },
        Case { window: Some(1), ..PLAIN },
        Case { window: Some(200), queries: 65, keys: 65, ..PLAIN },
        Case { queries: 5, keys: 33, causal: false, value: 3, feature: 1, ..PLAIN },
        Case { queries: 100, keys: 20, window: Some(15), ..PLAIN },
        Case { queries: 80, keys: 40, group: 2, ..PLAIN },
        Case { queries: 1, keys: 1, ..PLAIN },
        Case { queries: 64, keys: 64, batch: 1, heads: 1, ..PLAIN },
        Case { queries: 90, keys: 90, causal: false, window: Some(20), ..PLAIN },
        Case { queries: 200, keys: 200, causal: false, window: Some(20), batch: 1, ..PLAIN },
        Case { shift: 70, ..PLAIN },
        Case { shift: -70, ..PLAIN },
        Case { shift: -33, queries: 130, ..PLAIN },
        Case { shift: 33, window: Some(50), group: 2, ..PLAIN },
        Case { shift: 128, window: Some(100), queries: 128, keys: 128, ..PLAIN },
        Case { shift: 500, window: Some(100), ..PLAIN },
        Case { shift: -100, queries: 200, keys: 40, window: Some(30), ..PLAIN },
        Case { shift: 40, causal: false, window: Some(30), ..PLAIN },
        Case { shift: -90, causal: false, window: Some(30), ..PLAIN },
        Case { gaps: Some([210, 210]), ..PLAIN },
        Case { gaps: Some([0, 0]), group: 3, window: Some(50), ..PLAIN },
        Case { shift: 35, gaps: Some([140, 210]), ..PLAIN },
        Case { shift: -35, gaps: Some([210, 140]), ..PLAIN },
        Case { shift: -70, gaps: Some([140, 0]), window: Some(100), ..PLAIN },
        Case { shift: 130, gaps: Some([30, 250]), queries: 260, keys: 40, ..PLAIN },
        Case { shift: -20, gaps: Some([30, 50]), causal: false, window: Some(30), ..PLAIN },
    ]
}

impl Case {
    /// Layouts [B, S, H, G, D] for q and its kind, [B, S, H, D] for k and v, [B, H, G, S] for lse.
    fn attend(&self) -> Attend {
        let s = |n: usize| n as isize;
        let (heads, group) = (self.heads, self.group);
        let mut attend = Attend {
            queries: self.queries,
            keys: self.keys,
            feature: self.feature,
            value: self.value,
            batch: vec![Loop { size: self.batch, strides: [0; OPERANDS] }, Loop { size: heads, strides: [0; OPERANDS] }],
            group: vec![Loop { size: group, strides: [0; OPERANDS] }],
            rows: [0; OPERANDS],
            columns: [1; OPERANDS],
            scale: 0.3,
            causal: self.causal,
            window: self.window,
            starts: if self.gaps.is_some() { [Start::Runs([1, 3]), Start::Runs([0, 2])] } else { [Start::At(1), Start::At(0)] },
        };
        for (operand, length) in [(Q, self.feature), (OUT, self.value), (DOUT, self.value), (DQ, self.feature)] {
            attend.group[0].strides[operand] = s(length);
            attend.batch[1].strides[operand] = s(length * group);
            attend.rows[operand] = s(length * group * heads);
            attend.batch[0].strides[operand] = s(length * group * heads * self.queries);
        }
        for (operand, length) in [(K, self.feature), (V, self.value), (DK, self.feature), (DV, self.value)] {
            attend.batch[1].strides[operand] = s(length);
            attend.rows[operand] = s(length * heads);
            attend.batch[0].strides[operand] = s(length * heads * self.keys);
        }
        attend.rows[LSE] = 1;
        attend.group[0].strides[LSE] = s(self.queries);
        attend.batch[1].strides[LSE] = s(self.queries * group);
        attend.batch[0].strides[LSE] = s(self.queries * group * heads);
        attend
    }

    fn length(&self, operand: usize) -> usize {
        match operand {
            Q | DQ => self.batch * self.queries * self.heads * self.group * self.feature,
            K | DK => self.batch * self.keys * self.heads * self.feature,
            V | DV => self.batch * self.keys * self.heads * self.value,
            LSE => self.batch * self.queries * self.heads * self.group,
            _ => self.batch * self.queries * self.heads * self.group * self.value,
        }
    }

    /// First and second runs of keys and queries, in turn.
    fn coordinates(&self) -> [i64; 4] {
        let [queries, keys] = self.gaps.unwrap_or_default();
        [5, self.shift + 5, 5 + keys, self.shift + 5 + queries]
    }

    fn sees(&self, query: usize, key: usize) -> bool {
        let [queries, keys] = self.gaps.unwrap_or_default();
        let behind = |gap: i64, at: usize, size: usize| if at < size / 2 { 0 } else { gap };
        let i = query as i64 + self.shift + behind(queries, query, self.queries);
        let j = key as i64 + behind(keys, key, self.keys);
        (!self.causal || j <= i) && self.window.is_none_or(|window| i - j < window as i64)
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

/// Runs forward and backward on given threads; results stand in all operands.
fn run(case: Case, threads: usize) -> PerOperand<Vec<f32>> {
    let attend = case.attend();
    let mut operands: PerOperand<Vec<f32>> = std::array::from_fn(|operand| match operand {
        Q | K | V | DOUT => numbers(case.length(operand), operand as u32 + 1),
        _ => vec![f32::NAN; case.length(operand)],
    });
    let pool = Pool::new(threads, false);
    let each = attend.scratch();
    let mut scratch = vec![f32::NAN; each * threads / 4];
    let scratch = Scratch { base: scratch.as_mut_ptr().cast(), each };
    let places = operands.each_mut().map(|operand| operand.as_mut_ptr());
    let [q, k, v, out, lse, ..] = places;
    // SAFETY: the layouts are those of the vectors.
    unsafe {
        let stands = attend.stands(&case.coordinates());
        attend.forward(&pool, [q, k, v, out, lse], stands, scratch);
        attend.backward(&pool, places, stands, scratch);
    }
    operands
}

/// The plain loop in f64 over one head: gives all operands' contributions into `want`.
fn plain(case: Case, attend: &Attend, given: &PerOperand<Vec<f32>>, want: &mut PerOperand<Vec<f64>>, point: [usize; 3]) {
    let base = |operand: usize| -> isize {
        let loops = [&attend.batch[0], &attend.batch[1], &attend.group[0]];
        loops.iter().zip(point).map(|(around, index)| around.strides[operand] * index as isize).sum()
    };
    let at = |operand: usize, row: usize, column: usize| (base(operand) + row as isize * attend.rows[operand] + column as isize) as usize;
    let read = |operand: usize, row: usize, column: usize| f64::from(given[operand][at(operand, row, column)]);
    for i in 0..case.queries {
        let seen: Vec<usize> = (0..case.keys).filter(|&j| case.sees(i, j)).collect();
        let score = |j: &usize| (0..case.feature).map(|d| read(Q, i, d) * read(K, *j, d)).sum::<f64>() * f64::from(attend.scale);
        let scores: Vec<f64> = seen.iter().map(score).collect();
        let lse = scores.iter().map(|s| s.exp()).sum::<f64>().ln();
        let p: Vec<f64> = scores.iter().map(|s| (s - lse).exp()).collect();
        want[LSE][at(LSE, i, 0)] = lse;
        let dp: Vec<f64> = seen.iter().map(|&j| (0..case.value).map(|d| read(DOUT, i, d) * read(V, j, d)).sum()).collect();
        let delta: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
        for ((&j, p), dp) in seen.iter().zip(&p).zip(&dp) {
            let ds = p * (dp - delta) * f64::from(attend.scale);
            for d in 0..case.value {
                want[OUT][at(OUT, i, d)] += p * read(V, j, d);
                want[DV][at(DV, j, d)] += p * read(DOUT, i, d);
            }
            for d in 0..case.feature {
                want[DQ][at(DQ, i, d)] += ds * read(K, j, d);
                want[DK][at(DK, j, d)] += ds * read(Q, i, d);
            }
        }
    }
}

#[test]
fn attention_agrees_with_a_plain_loop() {
    for case in cases() {
        let attend = case.attend();
        let got = run(case, 2);
        let mut want: PerOperand<Vec<f64>> = std::array::from_fn(|operand| vec![0.0; case.length(operand)]);
        for b in 0..case.batch {
            for h in 0..case.heads {
                (0..case.group).for_each(|g| plain(case, &attend, &got, &mut want, [b, h, g]));
            }
        }
        for operand in [OUT, LSE, DQ, DK, DV] {
            for (at, (got, want)) in got[operand].iter().zip(&want[operand]).enumerate() {
                let close = (f64::from(*got) - want).abs() < 2e-5 * (1.0 + want.abs()) || (want.is_infinite() && f64::from(*got) == *want);
                assert!(close, "{case:?}: operand {operand} at {at}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for case in [PLAIN, Case { group: 3, queries: 129, keys: 129, window: Some(70), ..PLAIN }] {
        let bits = |threads| run(case, threads).map(|operand| operand.into_iter().map(f32::to_bits).collect::<Vec<u32>>());
        let one = bits(1);
        for threads in [2, 3, 5] {
            assert!(one == bits(threads), "{case:?} with {threads} threads");
        }
    }
}

/// Scores that one rank of a ring of `members` computes in all steps, with `size` positions a rank.
fn scores_of(rank: u64, members: u64, size: usize, balanced: bool) -> usize {
    let case = Case { queries: size, keys: size, ..PLAIN };
    let runs = |first: usize| if balanced { Start::Runs([first, first + 1]) } else { Start::At(first) };
    let attend = Attend { starts: [runs(0), runs(2)], ..case.attend() };
    let mesh = Mesh { axes: vec![Axis { name: "context".into(), size: members }] };
    let stands = |back: u64| {
        let times = if balanced { size / 2 } else { size } as u64;
        [false, true].map(|second| {
            let own = Coordinate { axes: vec!["context".into()], times, back, second };
            if second && !balanced { 0 } else { mesh.value(rank, &own) as i64 }
        })
    };
    let step = |back: u64| {
        let ([a, b], [c, d]) = (stands(0), stands(back));
        let stands = attend.stands(&[a, b, c, d]);
        (0..attend.blocks()).map(|block| attend.block(block, stands)).map(|block| block.rows * block.keys).sum::<usize>()
    };
    (0..members).map(step).sum()
}

/// What is masked is not computed: with balanced parts every rank computes as many scores, with blocks the last one many times those of the first.
#[test]
fn balanced_parts_give_every_rank_of_a_ring_the_same_work() {
    for (members, size) in [(2, 128), (4, 256), (4, 384), (8, 128)] {
        let work = |balanced| (0..members).map(|rank| scores_of(rank, members, size, balanced)).collect::<Vec<usize>>();
        let (ring, blocks) = (work(true), work(false));
        assert!(ring.iter().all(|one| *one == ring[0]), "{members} ranks of {size}: {ring:?}");
        assert!(blocks[members as usize - 1] > (members as usize - 1) * blocks[0], "{members} ranks of {size}: {blocks:?}");
        // Of all pairs of a sequence a causal mask leaves half, and blocks of queries round their diagonal up.
        let all = (members as usize * size).pow(2);
        let least = all / 2 + members as usize * size / 2;
        let diagonal = members as usize * size * super::BLOCK / 2;
        let sum: usize = ring.iter().sum();
        assert!((least..least + diagonal).contains(&sum), "{members} ranks of {size}: {sum} of {all}");
    }
}
