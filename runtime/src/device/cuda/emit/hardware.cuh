// Instructions beyond CUDA C, each behind a function: products of matrices by a warp, and what feeds them. All are in sm_80 and newer.
//
// The layouts are those of the PTX ISA, "Warp-level matrix instructions". Tests put C++ that plays these functions in place of this file.

// The dynamic shared memory of a function; tiles begin where the banks do.
#define MW_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

__device__ __forceinline__ unsigned mw_shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// blockIdx.x, read again: what is computed from it behind a loop is not held in registers through the loop.
__device__ __forceinline__ int mw_block_again() {
    int block;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
    return block;
}

// Two bf16 in a word, the first in the lower half.
__device__ __forceinline__ unsigned mw_bf16x2(float low, float high) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// Two to the power of x, to two units in the last place; 0 where that is below the normal numbers.
__device__ __forceinline__ float mw_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// d = c + a * b with a of 16 x 16 and b of 16 x 8 bf16.
__device__ __forceinline__ void mw_mma_bf16_16816(float d[4], const unsigned a[4], const unsigned b[2], const float c[4]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// Four matrices of 8 x 8 halves; lanes 8i..8i+8 point to the rows of matrix i.
__device__ __forceinline__ void mw_ldmatrix_x4(unsigned r[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(mw_shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void mw_ldmatrix_x4_trans(unsigned r[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(mw_shared_address(row))
                 : "memory");
}

// Begins to copy to shared memory: `bytes` of 16, the rest is zeroed.
__device__ __forceinline__ void mw_cp_async16(void* to, const void* from, unsigned bytes = 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(mw_shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
// The same of 4 bytes.
__device__ __forceinline__ void mw_cp_async4(void* to, const void* from, unsigned bytes = 4) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(mw_shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void mw_cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All groups of copies but the last `N` have arrived.
template <int N> __device__ __forceinline__ void mw_cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

