// o0 x, o1 gain, o2 rms, o3 y
extern "C" __global__ void k0_norm(const float* o0, const float* o1, float* o2, float* o3, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    __shared__ float shared[4];
    int thread = threadIdx.x;
    mw_i64 row = blockIdx.x;
    int i0 = (int)(row);
    mw_i64 r0 = i0 * 768ll;
    mw_i64 r2 = i0;
    mw_i64 r3 = i0 * 768ll;
    float a2 = mw_sum::start();
    float k0[8];
    #pragma unroll
    for (int j = 0; j < 2; j++) {
        int first = (j * 128 + thread) * 4ll;
        bool in = first < 768;
        float l0[4]; // x
        mw_load4(o0 + r0 + first, in, l0);
        #pragma unroll
        for (int e = 0; e < 4; e++) {
            float v0 = l0[e];
            k0[j * 4 + e] = v0;
            float v1 = v0 * v0;
            if (in) a2 = mw_sum::join(a2, v1);
        }
    }
    float v2 = mw_team<mw_sum, 128>(a2, shared);
    float v4 = v2 * 0.0013020834f;
    float v6 = v4 + 1e-6f;
    float v7 = mw_rsqrt(v6);
    #pragma unroll
    for (int j = 0; j < 2; j++) {
        int first = (j * 128 + thread) * 4ll;
        bool in = first < 768;
        float l9[4]; // gain
        mw_load4(o1 + first, in, l9);
        float s1[4]; // y
        #pragma unroll
        for (int e = 0; e < 4; e++) {
            float v0 = k0[j * 4 + e];
            float v8 = v0 * v7;
            float v9 = l9[e];
            float v10 = v8 * v9;
            s1[e] = v10;
        }
        mw_store4(o3 + r3 + first, in, s1, false);
    }
    __syncthreads();
    if (thread == 0) *(o2 + r2) = v7;
}

// o0 score, o1 best, o2 share
extern "C" __global__ void k1_choice(const float* o0, int* o1, float* o2, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    __shared__ float shared[1];
    __shared__ int places[1];
    int thread = threadIdx.x % 32;
    mw_i64 row = (mw_i64)blockIdx.x * 8 + threadIdx.x / 32;
    if (row >= 16) return;
    int i0 = (int)(row);
    mw_i64 r0 = i0 * 7ll;
    mw_i64 r1 = i0;
    mw_i64 r2 = i0 * 7ll;
    float a1 = mw_maximum::start();
    int p1 = 0;
    float a2 = mw_maximum::start();
    float k0[1];
    #pragma unroll
    for (int j = 0; j < 1; j++) {
        int lane = j * 32 + thread;
        bool in = lane < 7;
        float v0 = (in) ? *(o0 + r0 + lane) : 0.0f;
        k0[j] = v0;
        if (in && v0 > a1) a1 = v0, p1 = lane;
        if (in) a2 = mw_maximum::join(a2, v0);
    }
    int v1 = mw_team_argmax<32>(a1, p1, shared, places);
    float v2 = mw_team<mw_maximum, 32>(a2, shared);
    float a5 = mw_sum::start();
    float k4[1];
    #pragma unroll
    for (int j = 0; j < 1; j++) {
        int lane = j * 32 + thread;
        bool in = lane < 7;
        float v0 = k0[j];
        float v3 = v0 - v2;
        float v4 = expf(v3);
        k4[j] = v4;
        if (in) a5 = mw_sum::join(a5, v4);
    }
    float v5 = mw_team<mw_sum, 32>(a5, shared);
    #pragma unroll
    for (int j = 0; j < 1; j++) {
        int lane = j * 32 + thread;
        bool in = lane < 7;
        float v4 = k4[j];
        float v6 = v4 / v5;
        if (in) *(o2 + r2 + lane) = v6;
    }
    __syncwarp();
    if (thread == 0) *(o1 + r1) = v1;
}
