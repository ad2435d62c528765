// o0 x, o1 update, o2 gain, o3 y, o4 factor, o5 normed
extern "C" __global__ void k0_norm(const mw_bf16* o0, const mw_bf16* o1, const float* o2, mw_bf16* o3, float* o4, mw_bf16* o5, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    __shared__ float shared[1];
    int thread = threadIdx.x % 32;
    mw_i64 row = (mw_i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= 16) return;
    int i0 = (int)(row);
    mw_i64 r0 = i0 * 128ll;
    mw_i64 r1 = i0 * 128ll;
    mw_i64 r3 = i0 * 128ll;
    mw_i64 r4 = i0;
    mw_i64 r5 = i0 * 128ll;
    float a5 = mw_sum::start();
    float k3[8];
    #pragma unroll
    for (int j = 0; j < 1; j++) {
        int first = (j * 32 + thread) * 8ll;
        bool in = first < 128;
        float l0[8]; // x
        mw_load8(o0 + r0 + first, in, l0);
        float l1[8]; // update
        mw_load8(o1 + r1 + first, in, l1);
        #pragma unroll
        for (int e = 0; e < 8; e++) {
            float v0 = l0[e];
            float v1 = l1[e];
            float v2 = v0 + v1;
            float v3 = mw_round_bf16(v2);
            k3[j * 8 + e] = v3;
            float v4 = v3 * v3;
            if (in) a5 = mw_sum::join(a5, v4);
        }
    }
    float v5 = mw_team<mw_sum, 32>(a5, shared);
    float v7 = v5 * 0.0078125f;
    float v9 = v7 + 1e-6f;
    float v10 = mw_rsqrt(v9);
    #pragma unroll
    for (int j = 0; j < 1; j++) {
        int first = (j * 32 + thread) * 8ll;
        bool in = first < 128;
        float l12[8]; // gain
        mw_load8(o2 + first, in, l12);
        float s0[8]; // y
        float s2[8]; // normed
        #pragma unroll
        for (int e = 0; e < 8; e++) {
            float v3 = k3[j * 8 + e];
            float v11 = v3 * v10;
            float v12 = l12[e];
            float v13 = v11 * v12;
            float v14 = mw_round_bf16(v13);
            s0[e] = v3;
            s2[e] = v14;
        }
        mw_store8(o3 + r3 + first, in, s0, false);
        mw_store8(o5 + r5 + first, in, s2, false);
    }
    __syncwarp();
    if (thread == 0) *(o4 + r4) = v10;
}

struct k1_product_shape {
    struct a {
        typedef mw_bf16 stored;
        static constexpr int rows = 16, columns = 128;
        static constexpr mw_i64 row = 128, column = 1;
        static __device__ inline mw_i64 at(mw_i64 outer, mw_i64 inner) { return 0 + 0; }
    };
    struct b {
        typedef mw_bf16 stored;
        static constexpr int rows = 96, columns = 128;
        static constexpr mw_i64 row = 1, column = 96;
        static __device__ inline mw_i64 at(mw_i64 outer, mw_i64 inner) { return 0 + 0; }
    };
    struct c {
        typedef mw_bf16 stored;
        static constexpr int rows = 16, columns = 96;
        static constexpr mw_i64 row = 96, column = 1;
        static __device__ inline mw_i64 at(mw_i64 outer, mw_i64 inner) { return 0 + 0; }
    };
    static constexpr mw_i64 inner = 1;
    static constexpr float alpha = 1.0f;
};
// o0 a, o1 b, o2 c
extern "C" __global__ void k1_product(const mw_bf16* o0, const mw_bf16* o1, mw_bf16* o2, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    mw_contract_mma<k1_product_shape, 2, 2>(o0, o1, o2, adds >> 2 & 1);
}
