// o0 index, o1 value, o2 out
extern "C" __global__ void k0_scatter(const int* o0, const float* o1, float* o2, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    int thread = threadIdx.x % 32;
    mw_i64 warp = (mw_i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (warp >= 100) return;
    int part = warp % 1, segment = warp / 1 % 100;
    mw_i64 batch = warp / 100;
    const int* index = o0 + 0;
    const float* value = o1 + 0;
    float* out = o2 + segment * 6ll;
    int first = part * 256 + thread, end = mw_min(part * 256 + 256, 6);
    if (!(adds >> 2 & 1)) for (int lane = first; lane < end; lane += 32) out[lane] = 0.0f;
    for (int start = 0; start < 32; start += 32) {
        int row = start + thread;
        int own = row < 32 ? index[row] : -1;
        mw_u32 hits = __ballot_sync(0xffffffffu, own == segment);
        while (hits) {
            int hit = start + __ffs(hits) - 1;
            hits &= hits - 1;
            const float* from = value + hit * 6ll;
            for (int lane = first; lane < end; lane += 32) out[lane] += from[lane];
        }
    }
}

struct k1_product_shape {
    struct a {
        typedef float stored;
        static constexpr int rows = 32, columns = 6;
        static constexpr mw_i64 row = 6, column = 1;
        static __device__ inline mw_i64 at(mw_i64 outer, mw_i64 inner) { return 0 + 0; }
    };
    struct b {
        typedef float stored;
        static constexpr int rows = 24, columns = 6;
        static constexpr mw_i64 row = 1, column = 24;
        static __device__ inline mw_i64 at(mw_i64 outer, mw_i64 inner) { return 0 + 0; }
    };
    struct c {
        typedef float stored;
        static constexpr int rows = 32, columns = 24;
        static constexpr mw_i64 row = 24, column = 1;
        static __device__ inline mw_i64 at(mw_i64 outer, mw_i64 inner) { return 0 + 0; }
    };
    static constexpr mw_i64 inner = 1;
    static constexpr float alpha = 1.0f;
};
// o0 a, o1 b, o2 c
extern "C" __global__ void k1_product(const float* o0, const float* o1, float* o2, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    mw_contract<k1_product_shape>(o0, o1, o2, adds >> 2 & 1);
}

extern "C" __global__ void k2_sum(mw_members in, mw_members out, int me, int adds) {
    mw_i64 point = (mw_i64)blockIdx.x * 256 + threadIdx.x;
    if (point >= 12ll) return;
    point += me * 12ll;
    if (point >= 24ll) return;
    float total = ((const float*)in.of[0])[point];
    for (int r = 1; r < 2; r++) total = mw_sum::join(total, ((const float*)in.of[r])[point]);
    for (int r = 0; r < 2; r++) {
        float* to = (float*)out.of[r] + point;
        *to = adds ? *to + total : total;
    }
}

extern "C" __global__ void k3_gather(mw_members in, mw_members out, int me, int adds) {
    mw_i64 point = (mw_i64)blockIdx.x * 256 + threadIdx.x;
    if (point >= 48ll) return;
    int from = (int)(point / 24);
    point %= 24;
    ((float*)out.of[me])[from * 24ll + point] = ((const float*)in.of[from])[point];
}
