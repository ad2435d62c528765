// Attention on tensor cores, behind swizzle.cuh: tiles of bf16 in shared memory, and a warp's share of them in registers.
//
// A *strip* is 16 rows, a warp's share of a product: of an accumulator `x[4]` of 16 x 8, lane `l` has columns `l % 4 * 2 + {0, 1}` of rows
// `l / 4` in x[0..2] and `l / 4 + 8` in x[2..4].

// Rows of a tile that the strips of a block meet one after the other.
constexpr int MW_FAR = 64;

__device__ constexpr int mw_larger(int a, int b) { return a > b ? a : b; }

// How many rows of a tile are taken at a time, where a thread has so many registers for them and M of them take each row.
template <int REGISTERS, int M> constexpr int mw_part = REGISTERS >= 64 * M ? 64 : REGISTERS >= 32 * M ? 32 : 16;

// Begins to copy ROWS rows from `first` on, by threads numbered `thread`; zeros beyond the view.
template <class View, int ROWS, int THREADS>
__device__ __forceinline__ void mw_bring(unsigned char* memory, int tile, const mw_bf16* from, int first, int thread) {
    constexpr int CHUNKS = View::columns / 8, STEP = THREADS / CHUNKS;
    constexpr bool even = THREADS % CHUNKS == 0, whole = ROWS * CHUNKS % THREADS == 0;
    from += first * View::row;
    // few at a time: the places of all would take the registers of sums
    #pragma unroll 2
    for (int turn = 0; turn < (ROWS * CHUNKS + THREADS - 1) / THREADS; turn++) {
        int at = turn * THREADS + thread;
        int row = even ? thread / CHUNKS + turn * STEP : at / CHUNKS, chunk = even ? thread % CHUNKS : at % CHUNKS;
        if (whole || at < ROWS * CHUNKS)
            mw_cp_async16(memory + mw_laid<View::columns>::place(tile, row, chunk), from + row * View::row + chunk * 8, first + row < View::rows ? 16 : 0);
    }
}

// M strips from the first row of a tile, or from row `first` of a view, on: the left side of products. All columns are in registers.
template <int COLUMNS, int M> struct mw_strips {
    unsigned words[M][COLUMNS / 16][4];
    __device__ __forceinline__ void take(const unsigned char* memory, int tile) {
        #pragma unroll
        for (int m = 0; m < M; m++)
            #pragma unroll
            for (int k = 0; k < COLUMNS / 16; k++)
                mw_ldmatrix_x4(words[m][k], memory + mw_laid<COLUMNS>::further(mw_laid<COLUMNS>::down(tile, m * 16, 0), k * 2));
    }
    template <class View> __device__ __forceinline__ void read(const mw_bf16* from, int first) {
        from += first * View::row;
        #pragma unroll
        for (int m = 0; m < M; m++)
            #pragma unroll
            for (int part = 0; part < 4; part++) {
                int row = m * 16 + part % 2 * 8 + threadIdx.x % 32 / 4;
                #pragma unroll
                for (int k = 0; k < COLUMNS / 16; k++) {
                    const mw_bf16* pair = from + row * View::row + k * 16 + part / 2 * 8 + threadIdx.x % 4 * 2;
                    words[m][k][part] = first + row < View::rows ? *(const mw_u32*)pair : 0;
                }
            }
    }
    __device__ __forceinline__ void of(unsigned (&a)[4], int m, int k) const {
        #pragma unroll
        for (int part = 0; part < 4; part++) a[part] = words[m][k][part];
    }
};

// The same where registers are too few: they are read again each time.
template <int COLUMNS> struct mw_lent {
    const unsigned char* memory;
    int strip;
    __device__ __forceinline__ void take(const unsigned char* from, int tile) { memory = from, strip = mw_laid<COLUMNS>::down(tile, 0, 0); }
    __device__ __forceinline__ void of(unsigned (&a)[4], int m, int k) const {
        mw_ldmatrix_x4(a, memory + mw_laid<COLUMNS>::further(strip, k * 2) + m * 16 * COLUMNS * 2);
    }
};

// Either of them.
template <int COLUMNS, int M, bool HELD> struct mw_own : mw_strips<COLUMNS, M> {};
template <int COLUMNS, int M> struct mw_own<COLUMNS, M, false> : mw_lent<COLUMNS> {};

// `sums[m][n] += strip m of own * transposed rows 8 n.. of the tile`: both have COLUMNS columns, over which it is summed.
template <int COLUMNS, int M, int N, class Own>
__device__ __forceinline__ void mw_inner(float (&sums)[M][N][4], const Own& own, const unsigned char* memory, int tile) {
    int place = mw_laid<COLUMNS>::across(tile, 0, 0);
    #pragma unroll
    for (int k = 0; k < COLUMNS / 16; k++) {
        unsigned a[M][4];
        #pragma unroll
        for (int m = 0; m < M; m++) own.of(a[m], m, k);
        #pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned b[4];
            mw_ldmatrix_x4(b, memory + mw_laid<COLUMNS>::further(place, k * 2) + n * 8 * COLUMNS * 2);
            #pragma unroll
            for (int m = 0; m < M; m++) {
                mw_mma_bf16_16816(sums[m][n], a[m], b, sums[m][n]);
                mw_mma_bf16_16816(sums[m][n + 1], a[m], b + 2, sums[m][n + 1]);
            }
        }
    }
}

// `sums[m] += weights[m] * rows of the tile`: an accumulator, rounded to bf16, is the left side as it stands.
template <int COLUMNS, int M, int N>
__device__ __forceinline__ void mw_outer(float (&sums)[M][COLUMNS / 8][4], const float (&weights)[M][N][4], const unsigned char* memory, int tile) {
    int place = mw_laid<COLUMNS>::down(tile, 0, 0);
    #pragma unroll
    for (int k = 0; k < N / 2; k++) {
        unsigned a[M][4];
        #pragma unroll
        for (int m = 0; m < M; m++)
            #pragma unroll
            for (int part = 0; part < 4; part++)
                a[m][part] = mw_bf16x2(weights[m][k * 2 + part / 2][part % 2 * 2], weights[m][k * 2 + part / 2][part % 2 * 2 + 1]);
        #pragma unroll
        for (int n = 0; n < COLUMNS / 8; n += 2) {
            unsigned b[4];
            mw_ldmatrix_x4_trans(b, memory + mw_laid<COLUMNS>::further(place, n) + k * 16 * COLUMNS * 2);
            #pragma unroll
            for (int m = 0; m < M; m++) {
                mw_mma_bf16_16816(sums[m][n], a[m], b, sums[m][n]);
                mw_mma_bf16_16816(sums[m][n + 1], a[m], b + 2, sums[m][n + 1]);
            }
        }
    }
}

// Over the 4 lanes that share a row of an accumulator; all get the result.
__device__ __forceinline__ float mw_quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
__device__ __forceinline__ float mw_quad_most(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

// Writes a warp's strips to the rows of a view from `first` on, each row times its factor. `room` is the warp's own, for M * 16 rows.
template <class View, int M>
__device__ __forceinline__ void mw_put(mw_bf16* to, int first, const float (&strips)[M][View::columns / 8][4], const float (&factors)[M][2], unsigned char* memory, int room) {
    constexpr int CHUNKS = View::columns / 8;
    int lane = threadIdx.x % 32;
    __syncwarp();
    #pragma unroll
    for (int m = 0; m < M; m++)
        #pragma unroll
        for (int n = 0; n < CHUNKS; n++)
            #pragma unroll
            for (int h = 0; h < 2; h++) {
                unsigned pair = mw_bf16x2(strips[m][n][h * 2] * factors[m][h], strips[m][n][h * 2 + 1] * factors[m][h]);
                *(unsigned*)(memory + mw_laid<View::columns>::place(room, m * 16 + h * 8 + lane / 4, n) + lane % 4 * 4) = pair;
            }
    __syncwarp();
    to += first * View::row;
    #pragma unroll
    for (int turn = 0; turn < M * 16 * CHUNKS / 32; turn++) {
        int row = (turn * 32 + lane) / CHUNKS, chunk = (turn * 32 + lane) % CHUNKS;
        if (first + row < View::rows) *(uint4*)(to + row * View::row + chunk * 8) = *(const uint4*)(memory + mw_laid<View::columns>::place(room, row, chunk));
    }
}
template <class View, int M>
__device__ __forceinline__ void mw_put(float* to, int first, const float (&strips)[M][View::columns / 8][4], const float (&factors)[M][2], unsigned char*, int) {
    to += first * View::row + threadIdx.x % 4 * 2;
    #pragma unroll
    for (int m = 0; m < M; m++)
        #pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = m * 16 + h * 8 + threadIdx.x % 32 / 4;
            #pragma unroll
            for (int n = 0; n < View::columns / 8; n++)
                if (first + row < View::rows)
                    *(float2*)(to + row * View::row + n * 8) = make_float2(strips[m][n][h * 2] * factors[m][h], strips[m][n][h * 2 + 1] * factors[m][h]);
        }
}

