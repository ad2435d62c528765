// o0 dy, o1 x, o2 rms, o3 d_gain, o4 partials
extern "C" __global__ void k0_norm_grad(const float* o0, const float* o1, const float* o2, float* o3, float* o4, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    int thread = threadIdx.x % 32;
    float f0[4];
    #pragma unroll
    for (int i = 0; i < 4; i++) f0[i] = mw_sum::start();
    __shared__ float area[1024];
    mw_i64 from = 64ll * blockIdx.x / 2, end = 64ll * (blockIdx.x + 1) / 2;
    for (mw_i64 row = from + threadIdx.x / 32; row < end; row += 8) {
        int i0 = (int)(row);
        mw_i64 r0 = i0 * 96ll;
        mw_i64 r1 = i0 * 96ll;
        mw_i64 r2 = i0;
        float v2 = *(o2 + r2);
        #pragma unroll
        for (int j = 0; j < 1; j++) {
            int first = (j * 32 + thread) * 4ll;
            bool in = first < 96;
            float l0[4]; // dy
            mw_load4(o0 + r0 + first, in, l0);
            float l1[4]; // x
            mw_load4(o1 + r1 + first, in, l1);
            #pragma unroll
            for (int e = 0; e < 4; e++) {
                float v0 = l0[e];
                float v1 = l1[e];
                float v3 = v1 * v2;
                float v4 = v0 * v3;
                f0[j * 4 + e] = mw_sum::join(f0[j * 4 + e], v4);
            }
        }
    }
    int team = threadIdx.x / 32;
    #pragma unroll
    for (int j = 0; j < 1; j++) {
        __syncthreads();
        for (int e = 0; e < 4; e++) area[(team * 32 + thread) * 4 + e] = f0[j * 4 + e];
        __syncthreads();
        for (int e = 0; e < 4; e++) {
            int lane = (j * 32 + thread) * 4 + e;
            if (team != 0 || lane >= 96) continue;
            float total = f0[j * 4 + e];
            for (int i = 1; i < 8; i++) total = mw_sum::join(total, area[(i * 32 + thread) * 4 + e]);
            o4[blockIdx.x * 96ll + lane] = total;
        }
    }
}

// o0 dy, o1 x, o2 rms, o3 d_gain, o4 partials
extern "C" __global__ void k0_norm_grad_combine(const float* o0, const float* o1, const float* o2, float* o3, float* o4, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    int lane = blockIdx.x * 256 + threadIdx.x;
    if (lane < 96) {
        float total = o4[lane];
        for (int i = 1; i < 2; i++) total = mw_sum::join(total, o4[i * 96ll + lane]);
        *(o3 + lane) = adds >> 3 & 1 ? *(o3 + lane) + total : total;
    }
}

// o0 x, o1 mean
extern "C" __global__ void k1_mean(const float* o0, float* o1, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    int thread = threadIdx.x % 32;
    float f0[4];
    #pragma unroll
    for (int i = 0; i < 4; i++) f0[i] = mw_sum::start();
    __shared__ float area[1024];
    mw_i64 from = 32ll * blockIdx.x / 4, end = 32ll * (blockIdx.x + 1) / 4;
    for (mw_i64 row = from + threadIdx.x / 32; row < end; row += 8) {
        int i0 = (int)(row / 8);
        int i1 = (int)(row % 8);
        mw_i64 r0 = i0 * 768ll + i1 * 96ll;
        mw_i64 r1 = i0 * 96ll;
        #pragma unroll
        for (int j = 0; j < 1; j++) {
            int first = (j * 32 + thread) * 4ll;
            bool in = first < 96;
            float l0[4]; // x
            mw_load4(o0 + r0 + first, in, l0);
            #pragma unroll
            for (int e = 0; e < 4; e++) {
                float v0 = l0[e];
                float v2 = v0 * 0.125f;
                f0[j * 4 + e] = mw_sum::join(f0[j * 4 + e], v2);
            }
        }
    }
    mw_i64 row = from;
    int i0 = (int)(row / 8);
    int i1 = (int)(row % 8);
    mw_i64 r1 = i0 * 96ll;
    int team = threadIdx.x / 32;
    #pragma unroll
    for (int j = 0; j < 1; j++) {
        __syncthreads();
        for (int e = 0; e < 4; e++) area[(team * 32 + thread) * 4 + e] = f0[j * 4 + e];
        __syncthreads();
        for (int e = 0; e < 4; e++) {
            int lane = (j * 32 + thread) * 4 + e;
            if (team != 0 || lane >= 96) continue;
            float total = f0[j * 4 + e];
            for (int i = 1; i < 8; i++) total = mw_sum::join(total, area[(i * 32 + thread) * 4 + e]);
            *(o1 + r1 + lane) = adds >> 1 & 1 ? *(o1 + r1 + lane) + total : total;
        }
    }
}
