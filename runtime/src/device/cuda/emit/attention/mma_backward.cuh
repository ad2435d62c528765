// The gradient of flash attention on tensor cores, behind mma_forward.cuh.
//
// One template does both halves. Its *own* side are the rows of a block, in registers: queries, which walk the keys that they see and sum dq, or keys,
// which walk the queries that see them, of all members of their group in order, and sum dk and dv. Where keys are the own side, all products are turned,
// so that probabilities leave one product as the left side of the next. Every sum is of one warp, in one order.

// The queries that see a key.
template <class S> __device__ inline void mw_watchers(int key, const mw_step* step, int* begin, int* end) {
    mw_i64 position = key + (key < S::key::run ? S::key::first(step) : S::key::second(step));
    *begin = S::causal ? mw_before<typename S::query>(position, step) : 0;
    *end = S::window ? mw_before<typename S::query>(position + S::window, step) : S::query::size;
}

template <class S> struct mw_queries_own {
    static constexpr bool keys = false;
    static constexpr int size = S::query::size, rounds = 1;
    typedef typename S::q one;
    typedef typename S::dout two;
    typedef typename S::k far_one;
    typedef typename S::v far_two;
    static __device__ __forceinline__ void sight(int row, const mw_step* step, int* begin, int* end) { mw_sight<S>(row, step, begin, end); }
};
template <class S> struct mw_keys_own {
    static constexpr bool keys = true;
    static constexpr int size = S::key::size, rounds = S::members;
    typedef typename S::k one;
    typedef typename S::v two;
    typedef typename S::q far_one;
    typedef typename S::dout far_two;
    static __device__ __forceinline__ void sight(int row, const mw_step* step, int* begin, int* end) { mw_watchers<S>(row, step, begin, end); }
};

// What a kernel is given; pointers are those of its batch.
struct mw_given {
    const mw_bf16 *one, *two, *far_one, *far_two;
    const float *lse, *dots;
    int batch, member;
};

// The shared memory of a block of WARPS warps with M strips each: two stages of far tiles with the numbers of their queries, ranges, and
// the rows of values where keys are the own side: these leave no registers for them.
template <class S, class G, int WARPS, int M> struct mw_room {
    static constexpr int two = MW_FAR * S::q::columns * 2, numbers = two + MW_FAR * S::v::columns * 2, stage = numbers + MW_FAR * 8;
    static constexpr int rows = WARPS * M * 16, kept = 2 * stage, lent = kept + rows * 8;
    static constexpr int bytes = lent + (G::keys ? rows * S::v::columns * 2 : 0);
};

// Sums of the own rows of the block that begins at row `block`.
template <class S, class G, int WARPS, int M>
__device__ __forceinline__ void mw_slopes(const mw_given& given, int block, unsigned char* memory, const mw_step* step, float (&sums_one)[M][S::q::columns / 8][4], float (&sums_two)[M][S::v::columns / 8][4]) {
    // registers that own rows and sums leave to scores and their gradients; with few more some architectures spill
    constexpr int D = S::q::columns, E = S::v::columns, LEFT = G::keys ? 188 - M * (D * 3 / 4 + E / 2) : 192 - M * (D * 3 / 4 + E / 4);
    constexpr int PART = mw_part<(LEFT > 32 * M ? 32 * M : LEFT), M>, N = PART / 8;
    constexpr int tiles = (G::size + WARPS * M * 16 - 1) / (WARPS * M * 16);
    constexpr float SCALE = S::scale * MW_LOG2E;
    static_assert(!G::keys || WARPS * 32 >= MW_FAR, "there is a thread for each of a tile's queries");
    typedef mw_room<S, G, WARPS, M> room;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = block + warp * M * 16, last = G::size - 1;
    int begin, end, row_begin, row_end, unused;
    G::sight(block, step, &begin, &unused);
    G::sight(mw_min(block + WARPS * M * 16 - 1, last), step, &unused, &end);
    begin = begin < end ? begin / MW_FAR * MW_FAR : end;
    G::sight(mw_min(first + lane % (M * 16), last), step, &row_begin, &row_end);
    int* kept = (int*)(memory + room::kept) + warp * M * 32;
    // a warp behind the last row has nothing to do
    if (first > last) row_begin = row_end = 0;
    mw_keep(kept, M * 16, row_begin, row_end);
    auto bring = [&](int round, int far, int stage) {
        // the block's number again: else places of its batch are held through the loop
        int head = mw_block_again() / tiles, batch = G::keys ? head : head / S::members, member = G::keys ? round : head % S::members;
        mw_bring<typename G::far_one, MW_FAR, WARPS * 32>(memory, stage, given.far_one + G::far_one::at(batch, member), far, threadIdx.x);
        mw_bring<typename G::far_two, MW_FAR, WARPS * 32>(memory, stage + room::two, given.far_two + G::far_two::at(batch, member), far, threadIdx.x);
        if (!G::keys || threadIdx.x >= MW_FAR) return;
        int query = far + threadIdx.x, bytes = query < S::query::size ? 4 : 0;
        unsigned char* to = memory + stage + room::numbers + threadIdx.x * 4;
        mw_cp_async4(to, given.lse + S::lse::at(batch, member) + query * S::lse::row, bytes);
        mw_cp_async4(to + MW_FAR * 4, given.dots + S::scratch::at(batch, member) + query * S::scratch::row, bytes);
    };
    if (begin < end) bring(0, begin, 0);
    mw_strips<D, M> one;
    mw_own<E, M, !G::keys> two;
    one.template read<typename G::one>(given.one, first);
    if constexpr (G::keys) {
        int lent = room::lent + warp * M * 16 * E * 2;
        mw_bring<typename G::two, M * 16, 32>(memory, lent, given.two, first, lane);
        two.take(memory, lent);
    } else {
        two.template read<typename G::two>(given.two, first);
    }
    mw_cp_async_commit();
    // of queries, by rows where these are the own side: the log of the sum of exponentials as a power of two, and the dot of out and dout
    float bases[M][2], dots[M][2];
    #pragma unroll
    for (int m = 0; m < M; m++)
        #pragma unroll
        for (int h = 0; h < 2; h++) {
            int query = first + m * 16 + h * 8 + lane / 4;
            bool there = !G::keys && query < S::query::size;
            bases[m][h] = there ? given.lse[S::lse::at(given.batch, given.member) + query * S::lse::row] * MW_LOG2E : 0.0f;
            dots[m][h] = there ? given.dots[S::scratch::at(given.batch, given.member) + query * S::scratch::row] : 0.0f;
        }
    int round = 0, far = begin, stage = 0;
    #pragma unroll 1
    while (round < G::rounds && begin < end) {
        int next_far = far + MW_FAR < end ? far + MW_FAR : begin, next_round = far + MW_FAR < end ? round : round + 1;
        int other = room::stage - stage;
        mw_cp_async_wait<0>();
        __syncthreads();
        if (next_round < G::rounds) bring(next_round, next_far, other);
        mw_cp_async_commit();
        #pragma unroll 1
        for (int part = 0; part < MW_FAR; part += PART) {
            // read again each time: registers are rare here
            mw_sighted sighted = mw_kept(kept, M * 16);
            if (sighted.nothing(far + part, far + part + PART)) continue;
            float scores[M][N][4] = {}, slopes[M][N][4] = {};
            mw_inner<E>(slopes, two, memory, stage + room::two + part * E * 2);
            mw_inner<D>(scores, one, memory, stage + part * D * 2);
            const float* numbers = (const float*)(memory + stage + room::numbers) + part + lane % 4 * 2;
            #pragma unroll
            for (int n = 0; n < N; n++) {
                float2 logs, far_dots;
                if (G::keys) logs = *(const float2*)(numbers + n * 8), far_dots = *(const float2*)(numbers + MW_FAR + n * 8);
                #pragma unroll
                for (int m = 0; m < M; m++)
                    #pragma unroll
                    for (int at = 0; at < 4; at++) {
                        float base = !G::keys ? bases[m][at / 2] : (at % 2 ? logs.y : logs.x) * MW_LOG2E;
                        float dot = !G::keys ? dots[m][at / 2] : at % 2 ? far_dots.y : far_dots.x;
                        scores[m][n][at] = mw_exp2(scores[m][n][at] * SCALE - base);
                        slopes[m][n][at] = scores[m][n][at] * (slopes[m][n][at] - dot);
                    }
            }
            if (!sighted.everything(far + part, far + part + PART)) {
                mw_hide(scores, kept, far + part, 0.0f);
                mw_hide(slopes, kept, far + part, 0.0f);
            }
            if (G::keys) mw_outer<E>(sums_two, scores, memory, stage + room::two + part * E * 2);
            mw_outer<D>(sums_one, slopes, memory, stage + part * D * 2);
        }
        round = next_round, far = next_far, stage = other;
    }
    // what is written goes through memory that other warps may still read
    __syncthreads();
}

// dk and dv: a block of WARPS warps with M strips of keys each, for each batch and tile of keys, those that most see first.
template <class S, int WARPS, int M, int SHARED>
__device__ __forceinline__ void mw_attention_mma_keys(const mw_bf16* q, const mw_bf16* k, const mw_bf16* v, const float* lse, const mw_bf16* dout, const float* dots, typename S::dk::stored* dk, typename S::dv::stored* dv, const mw_step* step) {
    constexpr int D = S::q::columns, E = S::v::columns, ROWS = WARPS * M * 16, tiles = (S::key::size + ROWS - 1) / ROWS;
    static_assert(SHARED == mw_room<S, mw_keys_own<S>, WARPS, M>::bytes, "the launch has the shared memory that is used");
    MW_DYNAMIC_SHARED(memory);
    int block = (int)blockIdx.x % tiles * ROWS, batch = (int)blockIdx.x / tiles;
    float sums_k[M][D / 8][4] = {}, sums_v[M][E / 8][4] = {}, scales[M][2], ones[M][2];
    mw_slopes<S, mw_keys_own<S>, WARPS, M>({k + S::k::at(batch, 0), v + S::v::at(batch, 0), q, dout, lse, dots, batch, 0}, block, memory, step, sums_k, sums_v);
    #pragma unroll
    for (int m = 0; m < M; m++) scales[m][0] = scales[m][1] = S::scale, ones[m][0] = ones[m][1] = 1.0f;
    int again = mw_block_again(), first = again % tiles * ROWS + threadIdx.x / 32 * M * 16, room = threadIdx.x / 32 * (M * 32 * mw_larger(D, E));
    batch = again / tiles;
    mw_put<typename S::dk, M>(dk + S::dk::at(batch, 0), first, sums_k, scales, memory, room);
    mw_put<typename S::dv, M>(dv + S::dv::at(batch, 0), first, sums_v, ones, memory, room);
}

// dq: the same with queries, for each head, those that see most first.
template <class S, int WARPS, int M, int SHARED>
__device__ __forceinline__ void mw_attention_mma_queries(const mw_bf16* q, const mw_bf16* k, const mw_bf16* v, const float* lse, const mw_bf16* dout, const float* dots, typename S::dq::stored* dq, const mw_step* step) {
    constexpr int D = S::q::columns, E = S::v::columns, ROWS = WARPS * M * 16;
    static_assert(SHARED == mw_room<S, mw_queries_own<S>, WARPS, M>::bytes, "the launch has the shared memory that is used");
    MW_DYNAMIC_SHARED(memory);
    float sums[M][D / 8][4] = {}, unused[M][E / 8][4], scales[M][2];
    const mw_query_block<S, ROWS> at((int)blockIdx.x);
    mw_slopes<S, mw_queries_own<S>, WARPS, M>({q + S::q::at(at.batch, at.member), dout + S::dout::at(at.batch, at.member), k, v, lse, dots, at.batch, at.member}, at.first, memory, step, sums, unused);
    #pragma unroll
    for (int m = 0; m < M; m++) scales[m][0] = scales[m][1] = S::scale;
    const mw_query_block<S, ROWS> same(mw_block_again());
    int warp = threadIdx.x / 32;
    mw_put<typename S::dq, M>(dq + S::dq::at(same.batch, same.member), same.first + warp * M * 16, sums, scales, memory, warp * (M * 32 * mw_larger(D, E)));
}

// The dot of out and dout: 256 threads, LANES of them for each query of each head.
template <class S, int LANES>
__device__ inline void mw_attention_mma_dots(const typename S::out::stored* out, const mw_bf16* dout, float* dots) {
    mw_i64 row = (mw_i64)blockIdx.x * (256 / LANES) + threadIdx.x / LANES, head = row / S::query::size, query = row % S::query::size;
    mw_i64 batch = head / S::members, member = head % S::members;
    bool inside = row < S::heads * S::query::size;
    float sum = 0.0f;
    #pragma unroll
    for (int column = threadIdx.x % LANES * 4; column < S::out::columns; column += LANES * 4) {
        float a[4], b[4];
        mw_load4(out + S::out::at(batch, member) + query * S::out::row + column, inside, a);
        mw_load4(dout + S::dout::at(batch, member) + query * S::dout::row + column, inside, b);
        #pragma unroll
        for (int i = 0; i < 4; i++) sum += a[i] * b[i];
    }
    #pragma unroll
    for (int apart = LANES / 2; apart > 0; apart >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, apart);
    if (inside && threadIdx.x % LANES == 0) dots[S::scratch::at(batch, member) + query * S::scratch::row] = sum;
}

