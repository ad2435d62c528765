// o0 up, o1 bias, o2 out
extern "C" __global__ void k0_gelu(const float* o0, const float* o1, float* o2, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    mw_i64 point = (mw_i64)blockIdx.x * 256 + threadIdx.x;
    if (point >= 512ll) return;
    mw_i64 row = point / 32;
    int first = (int)((point % 32) * 4ll);
    int i0 = (int)(row);
    mw_i64 r0 = i0 * 128ll;
    mw_i64 r2 = i0 * 128ll;
    float l0[4]; // up
    mw_load4(o0 + r0 + first, true, l0);
    float l1[4]; // bias
    mw_load4(o1 + first, true, l1);
    float s0[4]; // out
    #pragma unroll
    for (int e = 0; e < 4; e++) {
        float v0 = l0[e];
        float v1 = l1[e];
        float v2 = v0 + v1;
        float v3 = v2 * v2;
        float v5 = v3 * 0.044715f;
        float v7 = v5 + 1.0f;
        float v8 = v7 * v2;
        float v10 = v8 * 0.7978846f;
        float v11 = tanhf(v10);
        float v12 = v11 + 1.0f;
        float v14 = v2 * 0.5f;
        float v15 = v14 * v12;
        s0[e] = v15;
    }
    mw_store4(o2 + r2 + first, true, s0, false);
}

// o0 tokens, o1 table, o2 place, o3 x
extern "C" __global__ void k1_lookup(const int* o0, const float* o1, const float* o2, float* o3, const mw_step* step, mw_u32 iteration, mw_u32 micro, mw_u64 adds) {
    mw_i64 point = (mw_i64)blockIdx.x * 256 + threadIdx.x;
    if (point >= 192ll) return;
    mw_i64 row = point / 6;
    int lane = (int)(point % 6);
    int i0 = (int)(row / 8);
    int i1 = (int)(row % 8);
    mw_i64 r0 = i0 * 8ll + i1;
    mw_i64 r2 = i1 * 6ll;
    mw_i64 r3 = i0 * 48ll + i1 * 6ll;
    int v0 = *(o0 + r0);
    float v1 = *(o1 + lane + v0 * 6ll);
    float v2 = *(o2 + r2 + lane);
    float v3 = v1 + v2;
    *(o3 + r3 + lane) = v3;
}
