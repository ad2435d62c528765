// Flash attention on tensor cores, behind attention.cuh and fragments.cuh: operands are bf16, sums f32.
//
// A warp has 32 queries, whose scores, exponentials and sums stay in its registers. Keys and values come in tiles of 64, one copied while another is
// used, with one barrier a tile. Exponentials are powers of two: log2(e) is part of the scale, which is positive.

// The largest score of a row is renewed only if it grows by more powers of two than this: an exponential is at most 256, and most tiles rescale nothing.
constexpr float MW_SLACK = 8.0f;
constexpr float MW_LOG2E = 1.44269504f;

// Which keys the queries of a warp see, or which queries see the keys of a warp: of each row of its strips `begin` to `end`, both ascending.
struct mw_sighted {
    // of any row, and of all rows
    int begin, end, inner_begin, inner_end;
    __device__ __forceinline__ bool nothing(int from, int to) const { return to <= begin || from >= end; }
    __device__ __forceinline__ bool everything(int from, int to) const { return from >= inner_begin && to <= inner_end; }
};

// Keeps the ranges of a warp's rows, of each by the lane of its number.
__device__ __forceinline__ void mw_keep(int* kept, int rows, int begin, int end) {
    if (threadIdx.x % 32 < rows) *(int2*)(kept + threadIdx.x % 32 * 2) = make_int2(begin, end);
    __syncwarp();
}

// What is kept of the first row and of the last one.
__device__ __forceinline__ mw_sighted mw_kept(const int* kept, int rows) {
    int2 first = *(const int2*)kept, last = *(const int2*)(kept + rows * 2 - 2);
    return {first.x, last.y, last.x, first.y};
}

// Columns from `first` on that a row does not see become `hidden`.
template <int M, int N> __device__ __forceinline__ void mw_hide(float (&tile)[M][N][4], const int* kept, int first, float hidden) {
    int column = first + threadIdx.x % 4 * 2;
    #pragma unroll
    for (int m = 0; m < M; m++)
        #pragma unroll
        for (int h = 0; h < 2; h++) {
            int2 range = *(const int2*)(kept + (m * 16 + h * 8 + threadIdx.x % 32 / 4) * 2);
            #pragma unroll
            for (int n = 0; n < N; n++)
                #pragma unroll
                for (int c = 0; c < 2; c++)
                    if (column + n * 8 + c < range.x || column + n * 8 + c >= range.y) tile[m][n][h * 2 + c] = hidden;
        }
}

// Scores become exponentials, relative to about the largest score of their row so far.
template <class S, int M, int N, int T>
__device__ __forceinline__ void mw_powers(float (&scores)[M][N][4], float (&most)[M][2], float (&sums)[M][2], float (&totals)[M][T][4]) {
    constexpr float SCALE = S::scale * MW_LOG2E;
    float top[M][2];
    bool grows = false;
    #pragma unroll
    for (int m = 0; m < M; m++)
        #pragma unroll
        for (int h = 0; h < 2; h++) {
            top[m][h] = fmaxf(scores[m][0][h * 2], scores[m][0][h * 2 + 1]);
            #pragma unroll
            for (int n = 1; n < N; n++) top[m][h] = fmaxf(top[m][h], fmaxf(scores[m][n][h * 2], scores[m][n][h * 2 + 1]));
            top[m][h] = mw_quad_most(top[m][h]);
            grows = grows || (top[m][h] - most[m][h]) * SCALE > MW_SLACK;
        }
    if (__any_sync(0xffffffffu, grows)) {
        #pragma unroll
        for (int m = 0; m < M; m++)
            #pragma unroll
            for (int h = 0; h < 2; h++) {
                // without a score so far there is nothing to rescale, and the difference may be none
                float now = (top[m][h] - most[m][h]) * SCALE > MW_SLACK ? top[m][h] : most[m][h];
                float factor = most[m][h] == -MW_INFINITY ? 0.0f : mw_exp2((most[m][h] - now) * SCALE);
                most[m][h] = now, sums[m][h] *= factor;
                #pragma unroll
                for (int t = 0; t < T; t++) totals[m][t][h * 2] *= factor, totals[m][t][h * 2 + 1] *= factor;
            }
    }
    #pragma unroll
    for (int m = 0; m < M; m++)
        #pragma unroll
        for (int h = 0; h < 2; h++) {
            float base = most[m][h] == -MW_INFINITY ? 0.0f : most[m][h] * SCALE;
            #pragma unroll
            for (int n = 0; n < N; n++)
                #pragma unroll
                for (int c = 0; c < 2; c++) sums[m][h] += scores[m][n][h * 2 + c] = mw_exp2(scores[m][n][h * 2 + c] * SCALE - base);
        }
}

// Where a block of queries is: tiles of ROWS for each head, those that see most first.
template <class S, int ROWS> struct mw_query_block {
    static constexpr int tiles = (S::query::size + ROWS - 1) / ROWS;
    int first, batch, member;
    __device__ __forceinline__ explicit mw_query_block(int block)
        : first((tiles - 1 - block % tiles) * ROWS), batch(block / tiles / S::members), member(block / tiles % S::members) {}
};

// A block of WARPS warps for each head and tile of 32 * WARPS queries, those that see most first. SHARED is what it is launched with.
template <class S, int WARPS, int SHARED>
__device__ __forceinline__ void mw_attention_mma(const mw_bf16* q, const mw_bf16* k, const mw_bf16* v, typename S::out::stored* out, float* lse, const mw_step* step) {
    constexpr int D = S::q::columns, E = S::v::columns, ROWS = 32 * WARPS;
    constexpr bool held = D <= 64;
    // registers that queries and sums leave to scores
    constexpr int PART = mw_part<224 - E - (held ? D / 2 : 0), 2>;
    constexpr int OWN = 32 * mw_larger(D, E) * 2, STAGE = MW_FAR * (D + E) * 2;
    static_assert(SHARED == WARPS * OWN + 2 * STAGE + ROWS * 8, "the launch has the shared memory that is used");
    MW_DYNAMIC_SHARED(memory);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int own = warp * OWN, stages = WARPS * OWN;
    int* kept = (int*)(memory + stages + 2 * STAGE) + warp * 64;
    const mw_query_block<S, ROWS> block((int)blockIdx.x);
    int first = block.first + warp * 32, last = S::query::size - 1;
    q += S::q::at(block.batch, block.member), k += S::k::at(block.batch, block.member), v += S::v::at(block.batch, block.member);
    int begin, end, unused;
    mw_sight<S>(block.first, step, &begin, &unused);
    mw_sight<S>(mw_min(block.first + ROWS - 1, last), step, &unused, &end);
    begin = begin < end ? begin / MW_FAR * MW_FAR : end;
    auto bring = [&](int key, int stage) {
        mw_bring<typename S::k, MW_FAR, ROWS>(memory, stage, k, key, threadIdx.x);
        mw_bring<typename S::v, MW_FAR, ROWS>(memory, stage + MW_FAR * D * 2, v, key, threadIdx.x);
    };
    mw_bring<typename S::q, 32, 32>(memory, own, q, first, lane);
    if (begin < end) bring(begin, stages);
    mw_cp_async_commit();
    int row_begin, row_end;
    mw_sight<S>(mw_min(first + lane, last), step, &row_begin, &row_end);
    // a warp behind the last query has nothing to do
    if (first > last) row_begin = row_end = 0;
    mw_keep(kept, 32, row_begin, row_end);
    mw_sighted sighted = mw_kept(kept, 32);
    mw_cp_async_wait<0>();
    __syncwarp();
    mw_own<D, 2, held> queries;
    queries.take(memory, own);
    float most[2][2] = {{-MW_INFINITY, -MW_INFINITY}, {-MW_INFINITY, -MW_INFINITY}}, sums[2][2] = {}, totals[2][E / 8][4] = {};
    #pragma unroll 1
    for (int key = begin, stage = stages + STAGE; key < end; key += MW_FAR) {
        mw_cp_async_wait<0>();
        __syncthreads();
        if (key + MW_FAR < end) bring(key + MW_FAR, stage);
        mw_cp_async_commit();
        stage = 2 * stages + STAGE - stage;
        #pragma unroll 1
        for (int part = 0; part < MW_FAR; part += PART) {
            if (sighted.nothing(key + part, key + part + PART)) continue;
            float scores[2][PART / 8][4] = {};
            mw_inner<D>(scores, queries, memory, stage + part * D * 2);
            if (!sighted.everything(key + part, key + part + PART)) mw_hide(scores, kept, key + part, -MW_INFINITY);
            mw_powers<S>(scores, most, sums, totals);
            mw_outer<E>(totals, scores, memory, stage + MW_FAR * D * 2 + part * E * 2);
        }
    }
    const mw_query_block<S, ROWS> same(mw_block_again());
    lse += S::lse::at(same.batch, same.member) + (same.first + warp * 32) * S::lse::row;
    #pragma unroll
    for (int m = 0; m < 2; m++)
        #pragma unroll
        for (int h = 0; h < 2; h++) {
            int row = m * 16 + h * 8 + lane / 4;
            float sum = mw_quad_sum(sums[m][h]);
            if (lane % 4 == 0 && same.first + warp * 32 + row < S::query::size) lse[row * S::lse::row] = most[m][h] * S::scale + logf(sum);
            sums[m][h] = sum == 0.0f ? 0.0f : 1.0f / sum;
        }
    mw_put<typename S::out, 2>(out + S::out::at(same.batch, same.member), same.first + warp * 32, totals, sums, memory, own);
}

