//! Claims about the instructions that the emulator plays: products of matrices, loads of fragments, copies to shared memory.

use super::snippets::{function, results};

/// Words of a block, in every order.
fn outcome(body: &str, given: &[u32], written: usize) -> Vec<u32> {
    let mut one = function(body, 32, 4096);
    one.grid = 1;
    let all = results(&one, given, written);
    assert!(all.iter().all(|result| *result == all[0]), "{all:?}");
    all.into_iter().next().expect("an order").expect("a result")
}

/// Small whole numbers, exact in bf16.
fn number(at: usize) -> f32 {
    (at * 29 % 17) as f32 - 8.0
}

fn bf16(pair: [f32; 2]) -> u32 {
    pair[0].to_bits() >> 16 | pair[1].to_bits() & 0xffff_0000
}

/// c + a b^T of a [16, k], b [8, k], c [16, 8].
fn product(k: usize) -> Vec<u32> {
    let of = |at: usize| {
        let (row, column) = (at / 8, at % 8);
        number(7000 + at) + (0..k).map(|i| number(row * k + i) * number(3000 + column * k + i)).sum::<f32>()
    };
    (0..128).map(|at| of(at).to_bits()).collect()
}

/// The accumulator from row-major c at words `from`, and back to o1.
fn accumulator(from: usize, multiply: &str) -> String {
    format!(
        "const float* start = (const float*)(o0 + {from}); float c[4], d[4]; int g = threadIdx.x / 4, t = threadIdx.x % 4;
         for (int i = 0; i < 4; i++) c[i] = start[(g + i / 2 * 8) * 8 + t * 2 + i % 2];
         {multiply}
         for (int i = 0; i < 4; i++) o1[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = __float_as_int(d[i]);"
    )
}

#[test]
fn products_of_bf16() {
    let pairs = |first: usize, count: usize| (0..count / 2).map(move |at| bf16([number(first + 2 * at), number(first + 2 * at + 1)]));
    let given: Vec<u32> = pairs(0, 256).chain(pairs(3000, 128)).chain((0..128).map(|at| number(7000 + at).to_bits())).collect();
    // Row-major words of two: a has 8 a row, b (by columns) as well.
    let plain = "unsigned a[4] = {(unsigned)o0[g * 8 + t], (unsigned)o0[(g + 8) * 8 + t], (unsigned)o0[g * 8 + t + 4], (unsigned)o0[(g + 8) * 8 + t + 4]};
         unsigned b[2] = {(unsigned)o0[128 + g * 8 + t], (unsigned)o0[128 + g * 8 + t + 4]};
         mw_mma_bf16_16816(d, a, b, c);";
    assert_eq!(outcome(&accumulator(192, plain), &given, 128), product(16));
    // The same from shared memory: copies, then fragments.
    let loaded = "MW_DYNAMIC_SHARED(bytes);
         for (int i = threadIdx.x; i < 48; i += 32) mw_cp_async16(bytes + i * 16, o0 + i * 4);
         mw_cp_async_commit(); mw_cp_async_wait<0>(); __syncthreads();
         unsigned a[4], b[4]; int row = threadIdx.x % 8, part = threadIdx.x / 8;
         mw_ldmatrix_x4(a, bytes + (row + part % 2 * 8) * 32 + part / 2 * 16);
         mw_ldmatrix_x4(b, bytes + 512 + row * 32 + part % 2 * 16);
         mw_mma_bf16_16816(d, a, b, c);";
    assert_eq!(outcome(&accumulator(192, loaded), &given, 128), product(16));
}

#[test]
fn products_of_tf32() {
    let given: Vec<u32> = (0..128)
        .map(number)
        .chain((0..64).map(|at| number(3000 + at)))
        .chain((0..128).map(|at| number(7000 + at)))
        .map(f32::to_bits)
        .collect();
    let plain = "unsigned a[4] = {(unsigned)o0[g * 8 + t], (unsigned)o0[(g + 8) * 8 + t], (unsigned)o0[g * 8 + t + 4], (unsigned)o0[(g + 8) * 8 + t + 4]};
         unsigned b[2] = {(unsigned)o0[128 + g * 8 + t], (unsigned)o0[128 + g * 8 + t + 4]};
         mw_mma_tf32_1688(d, a, b, c);";
    assert_eq!(outcome(&accumulator(192, plain), &given, 128), product(8));
}

#[test]
fn a_transposed_fragment_has_columns_for_rows() {
    let halves: Vec<u32> = (0..128).map(|pair| (pair * 2) | ((pair * 2 + 1) << 16)).collect();
    let body = "MW_DYNAMIC_SHARED(bytes); for (int i = threadIdx.x; i < 128; i += 32) ((int*)bytes)[i] = o0[i]; __syncthreads();
         unsigned r[4]; mw_ldmatrix_x4_trans(r, bytes + threadIdx.x * 16);
         for (int i = 0; i < 4; i++) o1[threadIdx.x * 4 + i] = r[i];";
    let half = |matrix: u32, row: u32, column: u32| matrix * 64 + row * 8 + column;
    let word = |lane: u32, matrix: u32| half(matrix, lane % 4 * 2, lane / 4) | half(matrix, lane % 4 * 2 + 1, lane / 4) << 16;
    let wanted: Vec<u32> = (0..128).map(|at| word(at / 4, at % 4)).collect();
    assert_eq!(outcome(body, &halves, 128), wanted);
}

#[test]
fn copies_arrive_when_they_are_waited_for() {
    let body = "MW_DYNAMIC_SHARED(bytes); int* words = (int*)bytes;
         if (threadIdx.x == 0) {
             mw_cp_async16(bytes, o0); mw_cp_async_commit();
             mw_cp_async16(bytes + 16, o0 + 4, 8); mw_cp_async_commit();
             o1[0] = words[0]; mw_cp_async_wait<1>(); o1[1] = words[0], o1[2] = words[4]; mw_cp_async_wait<0>();
             for (int i = 0; i < 4; i++) o1[3 + i] = words[4 + i];
         }";
    assert_eq!(outcome(body, &[1, 2, 3, 4, 5, 6, 7, 8], 7), [0x7fc0_dead, 1, 0x7fc0_dead, 5, 6, 0, 0]);
}

#[test]
fn formats_round() {
    let given = [1.0f32, 1.003_906_3, 1.011_718_8, f32::INFINITY, -3.7e-3, 1.000_488_3].map(f32::to_bits);
    let body = "if (threadIdx.x < 6) { float x = __int_as_float(o0[threadIdx.x]);
         o1[threadIdx.x] = mw_bf16x2(x, mw_round_bf16(x)); o1[6 + threadIdx.x] = mw_tf32(x); }";
    let found = outcome(body, &given, 12);
    for pair in &found[..6] {
        assert_eq!(pair & 0xffff, pair >> 16, "both ways of rounding agree");
    }
    assert_eq!((found[0], found[6], found[11]), (0x3f80_3f80, 0x3f80_0000, 0x3f80_2000));
    assert_eq!((found[1] >> 16, found[2] >> 16), (0x3f80, 0x3f82));
}
