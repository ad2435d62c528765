// What the tests have in place of hardware.cuh, instruction by instruction: the layouts are those of the PTX ISA, "Warp-level matrix instructions".
//
// On a GPU a source begins with hardware.cuh; here block.hpp, language.hpp and this file stand before it. Both sides declare the same functions.

// ---- bf16: the upper half of an f32

static inline unsigned mw_bf16_bits(float x) {
    unsigned bits = __float_as_uint(x);
    return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
// Two of them in a word, the first in the lower half.
static inline unsigned mw_bf16x2(float low, float high) { return mw_bf16_bits(low) | mw_bf16_bits(high) << 16; }
static inline float mw_bf16_low(unsigned pair) { return __uint_as_float(pair << 16); }
static inline float mw_bf16_high(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

static inline int mw_block_again() { return (int)blockIdx.x; }

static inline float mw_exp2(float x) { return exp2f(x); }

// The nearest number with ten bits of mantissa, ties away from zero.
static inline unsigned mw_tf32(float x) { return x != x ? 0x7fffffffu : (__float_as_uint(x) + 0x1000u) & ~0x1fffu; }

// ---- Products of matrices, by a warp

namespace mw_play {
static float real(unsigned word) { return mw_bits<float>(word); }

// Element `at` of an accumulator of 16 x 8 is at this row and column.
static unsigned row_of(unsigned lane, unsigned at) { return lane / 4 + at / 2 * 8; }
static unsigned column_of(unsigned lane, unsigned at) { return lane % 4 * 2 + at % 2; }

// d = c + a * b with a of 16 x K in in[0..4], b of K x 8 in in[4..6], c in in[6..10].
template <int K> static void multiply(Warp& warp, unsigned present, const float (&a)[16][K], const float (&b)[K][8]) {
    if (present != ~0u) return note("a product of matrices by a part of a warp: %08x", present);
    for (unsigned lane = 0; lane < LANES; lane++)
        for (unsigned at = 0; at < 4; at++) {
            Thread& thread = warp.threads[lane];
            double sum = real(thread.in[6 + at]);
            for (int k = 0; k < K; k++) sum += (double)a[row_of(lane, at)][k] * b[k][column_of(lane, at)];
            thread.out[at] = mw_bits<unsigned>((float)sum);
        }
}
static void multiply_bf16(Warp& warp, unsigned present) {
    float a[16][16], b[16][8];
    for (unsigned lane = 0; lane < LANES; lane++) {
        const unsigned* in = warp.threads[lane].in;
        for (unsigned word = 0; word < 6; word++)
            for (unsigned half = 0; half < 2; half++) {
                float value = half ? mw_bf16_high(in[word]) : mw_bf16_low(in[word]);
                unsigned k = lane % 4 * 2 + half;
                if (word < 4) a[lane / 4 + word % 2 * 8][k + word / 2 * 8] = value;
                else b[k + (word - 4) * 8][lane / 4] = value;
            }
    }
    multiply<16>(warp, present, a, b);
}
static void multiply_tf32(Warp& warp, unsigned present) {
    float a[16][8], b[8][8];
    for (unsigned lane = 0; lane < LANES; lane++) {
        const unsigned* in = warp.threads[lane].in;
        for (unsigned word = 0; word < 6; word++) {
            // The hardware ignores the lower bits.
            float value = real(in[word] & ~0x1fffu);
            if (word < 4) a[lane / 4 + word % 2 * 8][lane % 4 + word / 2 * 4] = value;
            else b[lane % 4 + (word - 4) * 4][lane / 4] = value;
        }
    }
    multiply<8>(warp, present, a, b);
}
static const Meeting MMA_BF16 = {"mma.m16n8k16.bf16", multiply_bf16}, MMA_TF32 = {"mma.m16n8k8.tf32", multiply_tf32};

static void product(const Meeting& meeting, float d[4], const unsigned a[4], const unsigned b[2], const float c[4]) {
    memcpy(self->in, a, 16), memcpy(self->in + 4, b, 8), memcpy(self->in + 6, c, 16);
    meet_warp(meeting, ~0u);
    memcpy(d, self->out, 16);
}

// Lanes 8i..8i+8 point to the rows of matrix i, of 8 x 8 halves.
static void load_matrices(Warp& warp, unsigned present, bool transposed) {
    if (present != ~0u) return note("ldmatrix by a part of a warp: %08x", present);
    for (unsigned lane = 0; lane < LANES; lane++)
        for (unsigned matrix = 0; matrix < 4; matrix++) {
            unsigned halves[2];
            for (unsigned half = 0; half < 2; half++) {
                unsigned row = lane / 4, column = lane % 4 * 2 + half;
                const Thread& there = warp.threads[matrix * 8 + (transposed ? column : row)];
                uint16_t value;
                memcpy(&value, (const unsigned char*)there.address + 2 * (transposed ? row : column), 2);
                halves[half] = value;
            }
            warp.threads[lane].out[matrix] = halves[0] | halves[1] << 16;
        }
}
static void load_plain(Warp& warp, unsigned present) { load_matrices(warp, present, false); }
static void load_transposed(Warp& warp, unsigned present) { load_matrices(warp, present, true); }
static const Meeting LDMATRIX = {"ldmatrix.x4", load_plain}, LDMATRIX_TRANS = {"ldmatrix.x4.trans", load_transposed};

static bool in_shared(const void* address) {
    const unsigned char* at = (const unsigned char*)address;
    return (at >= dynamic && at < dynamic + MOST_SHARED) || (at >= variables && at < variables_end);
}
static void load(const Meeting& meeting, unsigned r[4], const void* row) {
    if ((uintptr_t)row % 16 || !in_shared(row)) MW_FAIL("thread %u: a row of %s is misaligned, or not in shared memory", self->index.x, meeting.name);
    self->address = row;
    meet_warp(meeting, ~0u);
    memcpy(r, self->out, 16);
}
}  // namespace mw_play

static inline void mw_mma_bf16_16816(float d[4], const unsigned a[4], const unsigned b[2], const float c[4]) {
    mw_play::product(mw_play::MMA_BF16, d, a, b, c);
}
static inline void mw_mma_tf32_1688(float d[4], const unsigned a[4], const unsigned b[2], const float c[4]) {
    mw_play::product(mw_play::MMA_TF32, d, a, b, c);
}
static inline void mw_ldmatrix_x4(unsigned r[4], const void* row) { mw_play::load(mw_play::LDMATRIX, r, row); }
static inline void mw_ldmatrix_x4_trans(unsigned r[4], const void* row) { mw_play::load(mw_play::LDMATRIX_TRANS, r, row); }

// ---- Copies to shared memory that go on beside the thread. They are made when they are waited for; until then there is poison.

namespace mw_play {
static void copy(void* to, const void* from, unsigned bytes, unsigned size) {
    Thread& thread = *self;
    if ((uintptr_t)to % size || (uintptr_t)from % size || !in_shared(to) || bytes > size)
        MW_FAIL("thread %u: a copy is misaligned, or not to shared memory", thread.index.x);
    if (thread.copying == MOST_COPIES) MW_FAIL("thread %u: too many copies at once", thread.index.x);
    poison((unsigned char*)to, (unsigned char*)to + size);
    copies[thread.index.x][thread.copying++] = {(unsigned char*)to, (const unsigned char*)from, bytes, size, thread.group};
}
}  // namespace mw_play

// `bytes` of 16, or of 4, are copied, the rest is zeroed.
static inline void mw_cp_async16(void* to, const void* from, unsigned bytes = 16) { mw_play::copy(to, from, bytes, 16); }
static inline void mw_cp_async4(void* to, const void* from, unsigned bytes = 4) { mw_play::copy(to, from, bytes, 4); }
static inline void mw_cp_async_commit() { mw_play::self->group++; }
// All groups but the last `N` have arrived.
template <int N> static inline void mw_cp_async_wait() {
    using namespace mw_play;
    Thread& thread = *self;
    Copy* own = copies[thread.index.x];
    unsigned kept = 0;
    for (unsigned at = 0; at < thread.copying; at++) {
        const Copy copy = own[at];
        if (copy.group + N >= thread.group) {
            own[kept++] = copy;
            continue;
        }
        memset(copy.to, 0, copy.size);
        memcpy(copy.to, copy.from, copy.bytes);
    }
    thread.copying = kept;
}
