// What all kernels need, without headers. Nothing here depends on the architecture: instructions beyond CUDA C stand in hardware.cuh.

typedef unsigned int mw_u32;
typedef unsigned long long mw_u64;
typedef long long mw_i64;

#define MW_INFINITY __int_as_float(0x7f800000)

// The numbers of a step, in device memory.
struct mw_step {
    mw_u64 seed;
    mw_u32 number;
    mw_u32 unused;
    mw_i64 coordinates[MW_COORDINATES];
    float scalars[MW_SCALARS];
};

// The operands of all members of a group.
struct mw_members {
    void* of[MW_MEMBERS];
};

// The finaliser of SplitMix64.
__device__ inline mw_u64 mw_mix(mw_u64 x) {
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// The first word of Philox4x32-10 as a uniform number in [0, 1) with 24 bits.
__device__ inline float mw_random(mw_u64 seed, mw_u64 site, mw_u64 element, mw_u32 step, mw_u32 iteration) {
    mw_u64 key = mw_mix(mw_mix(seed) ^ site);
    mw_u32 k0 = (mw_u32)key, k1 = (mw_u32)(key >> 32);
    mw_u32 c0 = (mw_u32)element, c1 = (mw_u32)(element >> 32), c2 = step, c3 = iteration;
    for (int round = 0; round < 10; round++) {
        mw_u64 a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
        c0 = (mw_u32)(b >> 32) ^ c1 ^ k0;
        c2 = (mw_u32)(a >> 32) ^ c3 ^ k1;
        c1 = (mw_u32)b;
        c3 = (mw_u32)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (float)(c0 >> 8) * (1.0f / 16777216.0f);
}

__device__ inline float mw_sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
__device__ inline int mw_sign(int x) { return (x > 0) - (x < 0); }
__device__ inline float mw_abs(float x) { return fabsf(x); }
__device__ inline int mw_abs(int x) { return x < 0 ? (int)(0u - (mw_u32)x) : x; }
// Unlike fminf: a NaN in the second place wins, as it does on the CPU.
__device__ inline float mw_min(float a, float b) { return a < b ? a : b; }
__device__ inline int mw_min(int a, int b) { return a < b ? a : b; }
__device__ inline float mw_max(float a, float b) { return a > b ? a : b; }
__device__ inline int mw_max(int a, int b) { return a > b ? a : b; }
__device__ inline int mw_add(int a, int b) { return (int)((mw_u32)a + (mw_u32)b); }
__device__ inline int mw_sub(int a, int b) { return (int)((mw_u32)a - (mw_u32)b); }
__device__ inline int mw_mul(int a, int b) { return (int)((mw_u32)a * (mw_u32)b); }
__device__ inline int mw_neg(int a) { return (int)(0u - (mw_u32)a); }
__device__ inline int mw_div(int a, int b) { return b == 0 ? 0 : b == -1 ? mw_neg(a) : a / b; }
// The remainder with the sign of the divisor.
__device__ inline int mw_rem(int a, int b) {
    if (b == 0 || b == -1) return 0;
    int rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
// Towards zero; beyond the range the nearest, NaN gives 0.
__device__ inline int mw_int(float x) {
    return x != x ? 0 : x >= 2147483648.0f ? 2147483647 : x <= -2147483648.0f ? -2147483647 - 1 : (int)x;
}
__device__ inline float mw_rsqrt(float x) { return 1.0f / sqrtf(x); }
// The nearest bf16, ties to even, as an f32.
__device__ inline float mw_round_bf16(float x) {
    mw_u32 bits = __float_as_uint(x);
    return x != x ? __uint_as_float(0x7fc00000u) : __uint_as_float((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}

// A number stored in two bytes; reads as an f32, rounds what is assigned.
struct alignas(2) mw_bf16 {
    unsigned short bits;
    __device__ inline operator float() const { return __uint_as_float((mw_u32)bits << 16); }
    __device__ inline mw_bf16& operator=(float x) {
        bits = (unsigned short)(__float_as_uint(mw_round_bf16(x)) >> 16);
        return *this;
    }
};

// Reductions: how two values become one, and what changes nothing.
struct mw_sum {
    static __device__ inline float start() { return 0.0f; }
    static __device__ inline float join(float a, float b) { return a + b; }
};
struct mw_maximum {
    static __device__ inline float start() { return -MW_INFINITY; }
    static __device__ inline float join(float a, float b) { return b > a ? b : a; }
};
struct mw_minimum {
    static __device__ inline float start() { return MW_INFINITY; }
    static __device__ inline float join(float a, float b) { return b < a ? b : a; }
};

// Over the 32 threads of a warp; all get the result.
template <class Op> __device__ inline float mw_warp(float x) {
    for (int apart = 16; apart > 0; apart >>= 1) {
        float other = __shfl_xor_sync(0xffffffffu, x, apart);
        // in one order on both sides, so that all threads have the same bits
        x = threadIdx.x & apart ? Op::join(other, x) : Op::join(x, other);
    }
    return x;
}

// Over the threads of a row: a warp, or the whole block. `shared` has one place a warp.
template <class Op, int TEAM> __device__ inline float mw_team(float x, float* shared) {
    x = mw_warp<Op>(x);
    if (TEAM == 32) return x;
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
    for (int warp = 1; warp < TEAM / 32; warp++) x = Op::join(x, shared[warp]);
    return x;
}

// The position of the first maximum.
template <int TEAM> __device__ inline int mw_team_argmax(float x, int at, float* shared, int* places) {
    for (int apart = 16; apart > 0; apart >>= 1) {
        float other = __shfl_xor_sync(0xffffffffu, x, apart);
        int there = __shfl_xor_sync(0xffffffffu, at, apart);
        if (other > x || (other == x && there < at)) x = other, at = there;
    }
    if (TEAM == 32) return at;
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x, places[threadIdx.x / 32] = at;
    __syncthreads();
    x = shared[0], at = places[0];
    for (int warp = 1; warp < TEAM / 32; warp++)
        if (shared[warp] > x || (shared[warp] == x && places[warp] < at)) x = shared[warp], at = places[warp];
    return at;
}

// The running sum over the threads of a row, this thread's value included; `total` becomes the sum of all.
template <int TEAM> __device__ inline float mw_team_scan(float x, float* total, float* shared) {
    int lane = threadIdx.x % 32;
    for (int apart = 1; apart < 32; apart <<= 1) {
        float before = __shfl_up_sync(0xffffffffu, x, apart);
        if (lane >= apart) x = before + x;
    }
    float all = __shfl_sync(0xffffffffu, x, 31);
    if (TEAM > 32) {
        __syncthreads();
        if (lane == 0) shared[threadIdx.x / 32] = all;
        __syncthreads();
        float before = 0.0f;
        all = 0.0f;
        for (int warp = 0; warp < TEAM / 32; warp++) {
            if (warp == (int)threadIdx.x / 32) before = all;
            all += shared[warp];
        }
        x = before + x;
    }
    *total = all;
    return x;
}

// Four neighbours: one access where the place allows it. `in`: whether they are there.
__device__ inline void mw_load4(const float* from, bool in, float* to) {
    if (in && ((mw_u64)from & 15) == 0) {
        float4 four = *(const float4*)from;
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
    } else {
        for (int i = 0; i < 4; i++) to[i] = in ? from[i] : 0.0f;
    }
}
__device__ inline void mw_store4(float* to, bool in, const float* from, bool add) {
    if (!in) return;
    if (((mw_u64)to & 15) == 0) {
        float4 four = add ? *(float4*)to : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        *(float4*)to = add ? make_float4(four.x + from[0], four.y + from[1], four.z + from[2], four.w + from[3])
                           : make_float4(from[0], from[1], from[2], from[3]);
    } else {
        for (int i = 0; i < 4; i++) to[i] = add ? to[i] + from[i] : from[i];
    }
}
// Two neighbours in one register, the first in its lower half.
__device__ inline mw_u32 mw_pair(float a, float b) {
    return __float_as_uint(mw_round_bf16(a)) >> 16 | __float_as_uint(mw_round_bf16(b));
}
__device__ inline void mw_load4(const mw_bf16* from, bool in, float* to) {
    if (in && ((mw_u64)from & 7) == 0) {
        uint2 four = *(const uint2*)from;
        to[0] = __uint_as_float(four.x << 16), to[1] = __uint_as_float(four.x & 0xffff0000u);
        to[2] = __uint_as_float(four.y << 16), to[3] = __uint_as_float(four.y & 0xffff0000u);
    } else {
        for (int i = 0; i < 4; i++) to[i] = in ? (float)from[i] : 0.0f;
    }
}
__device__ inline void mw_store4(mw_bf16* to, bool in, const float* from, bool) {
    if (!in) return;
    if (((mw_u64)to & 7) == 0) {
        *(uint2*)to = make_uint2(mw_pair(from[0], from[1]), mw_pair(from[2], from[3]));
    } else {
        for (int i = 0; i < 4; i++) to[i] = from[i];
    }
}
// Eight neighbours.
__device__ inline void mw_load8(const float* from, bool in, float* to) { mw_load4(from, in, to), mw_load4(from + 4, in, to + 4); }
__device__ inline void mw_store8(float* to, bool in, const float* from, bool add) {
    mw_store4(to, in, from, add), mw_store4(to + 4, in, from + 4, add);
}
__device__ inline void mw_load8(const mw_bf16* from, bool in, float* to) {
    if (!in || ((mw_u64)from & 15) != 0) {
        mw_load4(from, in, to), mw_load4(from + 4, in, to + 4);
        return;
    }
    uint4 eight = *(const uint4*)from;
    mw_u32 pairs[4] = {eight.x, eight.y, eight.z, eight.w};
    for (int i = 0; i < 4; i++) to[2 * i] = __uint_as_float(pairs[i] << 16), to[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
}
__device__ inline void mw_store8(mw_bf16* to, bool in, const float* from, bool add) {
    if (!in || ((mw_u64)to & 15) != 0) {
        mw_store4(to, in, from, add), mw_store4(to + 4, in, from + 4, add);
        return;
    }
    *(uint4*)to = make_uint4(mw_pair(from[0], from[1]), mw_pair(from[2], from[3]), mw_pair(from[4], from[5]), mw_pair(from[6], from[7]));
}
// An index that runs around.
__device__ inline mw_i64 mw_wrap(mw_i64 index, mw_i64 size) {
    index %= size;
    return index < 0 ? index + size : index;
}
