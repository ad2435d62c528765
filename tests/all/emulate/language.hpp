// What NVRTC knows without a header: qualifiers, built-in variables and types, barriers, exchanges of a warp, mathematics.

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __constant__ static
// Of one block after the other. Before each function this becomes MW_SECTION, so that a block does not find what another one left.
#define __shared__ static
// hardware.cuh has `extern __shared__ unsigned char name[];`
#define MW_DYNAMIC_SHARED(name) unsigned char* const name = mw_play::dynamic

#define threadIdx (mw_play::self->index)
#define blockIdx mw_play::block
#define blockDim mw_play::block_size
#define gridDim mw_play::grid_size
static const int warpSize = 32;

// ---- Types of several numbers

struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct alignas(16) longlong2 { long long x, y; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline uchar4 make_uchar4(unsigned char x, unsigned char y, unsigned char z, unsigned char w) { return {x, y, z, w}; }
static inline longlong2 make_longlong2(long long x, long long y) { return {x, y}; }

// ---- Bits

template <class To, class From> static inline To mw_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "equal sizes");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float x) { return mw_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return mw_bits<float>(x); }
static inline int __float_as_int(float x) { return mw_bits<int>(x); }
static inline float __int_as_float(int x) { return mw_bits<float>(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline unsigned __brev(unsigned x) {
    unsigned y = 0;
    for (int bit = 0; bit < 32; bit++) y |= (x >> bit & 1u) << (31 - bit);
    return y;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
template <class T> static inline T __ldg(const T* from) { return *from; }
template <class T> static inline T __ldcs(const T* from) { return *from; }
template <class T> static inline void __stcs(T* to, T value) { *to = value; }

// ---- Mathematics beyond math.h

static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fdividef(float a, float b) { return a / b; }
// Macros: the C library has functions of these names.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float fdividef(float a, float b) { return a / b; }
static inline int __float2int_rz(float x) { return (int)x; }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline long long min(long long a, long long b) { return a < b ? a : b; }
static inline long long max(long long a, long long b) { return a > b ? a : b; }
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }

// ---- Barriers

namespace mw_play {
static const Meeting BARRIER = {"__syncthreads", nullptr};

// Barriers that also count: every thread brings a condition in `in[0]`, all get the number of true ones.
static void count_block(Warp&, unsigned) {
    unsigned count = 0;
    for (unsigned at = 0; at < thread_count; at++) count += threads[at].state == State::at_block && threads[at].in[0];
    for (unsigned at = 0; at < thread_count; at++) threads[at].out[0] = count, threads[at].out[1] = 0;
    for (unsigned at = 0; at < thread_count; at++) threads[0].out[1] += threads[at].state == State::at_block;
    for (unsigned at = 1; at < thread_count; at++) threads[at].out[1] = threads[0].out[1];
}
static const Meeting COUNT = {"__syncthreads_count", count_block}, EITHER = {"__syncthreads_or", count_block};
static const Meeting BOTH = {"__syncthreads_and", count_block};
static Thread& counted(const Meeting& meeting, int condition) {
    self->in[0] = condition != 0;
    meet_block(meeting);
    return *self;
}

static void nothing(Warp&, unsigned) {}
static const Meeting SYNC_WARP = {"__syncwarp", nothing};
}  // namespace mw_play

static inline void __syncthreads() { mw_play::meet_block(mw_play::BARRIER); }
static inline int __syncthreads_count(int condition) { return (int)mw_play::counted(mw_play::COUNT, condition).out[0]; }
static inline int __syncthreads_or(int condition) { return mw_play::counted(mw_play::EITHER, condition).out[0] != 0; }
static inline int __syncthreads_and(int condition) {
    mw_play::Thread& thread = mw_play::counted(mw_play::BOTH, condition);
    return thread.out[0] == thread.out[1];
}
static inline void __syncwarp(unsigned mask = ~0u) { mw_play::meet_warp(mw_play::SYNC_WARP, mask); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

// ---- Exchanges of a warp

#pragma GCC push_options
#pragma GCC optimize("O2")
namespace mw_play {
// Every lane brings a word in `in[0]` and gets that of lane `from(thread)`: poison if that one is not there.
template <class From> static void shuffle(Warp& warp, unsigned present, From from) {
    for (unsigned lane = 0; lane < LANES; lane++) {
        if (!(present >> lane & 1)) continue;
        Thread& thread = warp.threads[lane];
        unsigned source = from(thread);
        thread.out[0] = present >> source & 1 ? warp.threads[source].in[0] : MW_POISON;
    }
}
static int first(const Thread& thread) { return (int)thread.lane / thread.width * thread.width; }
static unsigned inside(const Thread& thread, int lane) {
    return lane < first(thread) || lane >= first(thread) + thread.width ? thread.lane : (unsigned)lane;
}
static void shuffle_from(Warp& warp, unsigned present) {
    shuffle(warp, present, [](const Thread& thread) { return (unsigned)(first(thread) + (thread.by & (thread.width - 1))); });
}
static void shuffle_up(Warp& warp, unsigned present) {
    shuffle(warp, present, [](const Thread& thread) { return inside(thread, (int)thread.lane - thread.by); });
}
static void shuffle_down(Warp& warp, unsigned present) {
    shuffle(warp, present, [](const Thread& thread) { return inside(thread, (int)thread.lane + thread.by); });
}
static void shuffle_across(Warp& warp, unsigned present) {
    shuffle(warp, present, [](const Thread& thread) {
        int lane = (int)thread.lane ^ thread.by;
        return lane >= first(thread) + thread.width ? thread.lane : (unsigned)lane & 31;
    });
}
static const Meeting FROM = {"__shfl_sync", shuffle_from}, UP = {"__shfl_up_sync", shuffle_up};
static const Meeting DOWN = {"__shfl_down_sync", shuffle_down}, ACROSS = {"__shfl_xor_sync", shuffle_across};

template <class T> static T exchange(const Meeting& meeting, unsigned mask, T value, int by, int width) {
    static_assert(sizeof(T) == 4, "words are exchanged");
    self->in[0] = mw_bits<unsigned>(value);
    self->by = by, self->width = width;
    meet_warp(meeting, mask);
    return mw_bits<T>(self->out[0]);
}

static void vote(Warp& warp, unsigned present) {
    unsigned votes = 0;
    for (unsigned lane = 0; lane < LANES; lane++) votes |= (present >> lane & 1 && warp.threads[lane].in[0] ? 1u : 0u) << lane;
    for (unsigned lane = 0; lane < LANES; lane++) {
        Thread& thread = warp.threads[lane];
        if (present >> lane & 1) thread.out[0] = votes, thread.out[1] = present;
    }
}
static const Meeting BALLOT = {"__ballot_sync", vote}, ANY = {"__any_sync", vote}, ALL = {"__all_sync", vote};
static Thread& voted(const Meeting& meeting, unsigned mask, int condition) {
    self->in[0] = condition != 0;
    meet_warp(meeting, mask);
    return *self;
}
}  // namespace mw_play
#pragma GCC pop_options

template <class T> static inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    return mw_play::exchange(mw_play::FROM, mask, value, lane, width);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return mw_play::exchange(mw_play::UP, mask, value, (int)by, width);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return mw_play::exchange(mw_play::DOWN, mask, value, (int)by, width);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
    return mw_play::exchange(mw_play::ACROSS, mask, value, with, width);
}
static inline unsigned __ballot_sync(unsigned mask, int condition) { return mw_play::voted(mw_play::BALLOT, mask, condition).out[0]; }
static inline int __any_sync(unsigned mask, int condition) { return mw_play::voted(mw_play::ANY, mask, condition).out[0] != 0; }
static inline int __all_sync(unsigned mask, int condition) {
    mw_play::Thread& thread = mw_play::voted(mw_play::ALL, mask, condition);
    return thread.out[0] == thread.out[1];
}
