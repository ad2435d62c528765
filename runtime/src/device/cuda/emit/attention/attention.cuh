
// Flash attention (Dao et al. 2022) and its gradient, as products of tiles on the plain f32 units.
//
// A shape S has the views q, k, v, out, …, whose rows are positions, whose columns are features or values, and which are `at` a batch and a member
// of its group of query heads; and the sides `query` and `key`, which say where the rows stand. Positions ascend, so a query sees a range of keys.

struct mw_attention_memory {
    alignas(16) float stage[MW_STAGE];
    // Probabilities or their gradients: 64 columns of a tile, each with its rows side by side.
    alignas(16) float weights[MW_WIDE * (MW_WIDE + 4)];
    // Of a tile's queries: the keys they see, the log of their sum of exponentials, the dot of out and dout.
    int begin[MW_WIDE], end[MW_WIDE];
    float lse[MW_WIDE], dots[MW_WIDE];
};

__device__ inline mw_i64 mw_clamp(mw_i64 x, mw_i64 most) { return x < 0 ? 0 : x > most ? most : x; }

// How many rows of a side stand before a position.
template <class Side> __device__ inline int mw_before(mw_i64 position, const mw_step* step) {
    mw_i64 first = position - Side::first(step), second = position - Side::second(step) - Side::run;
    return (int)(mw_clamp(first, Side::run) + mw_clamp(second, Side::size - Side::run));
}

// The keys that a query sees.
template <class S> __device__ inline void mw_sight(int query, const mw_step* step, int* begin, int* end) {
    mw_i64 next = query + 1 + (query < S::query::run ? S::query::first(step) : S::query::second(step));
    *begin = S::window ? mw_before<typename S::key>(next - S::window, step) : 0;
    *end = S::causal ? mw_before<typename S::key>(next, step) : S::key::size;
}

// The same for all queries of a tile; those beyond the last see nothing.
template <class S> __device__ inline void mw_sights(mw_attention_memory& memory, int first, const mw_step* step) {
    if (threadIdx.x >= MW_WIDE) return;
    int begin = 0, end = 0;
    if (first + (int)threadIdx.x < S::query::size) mw_sight<S>(first + threadIdx.x, step, &begin, &end);
    memory.begin[threadIdx.x] = begin, memory.end[threadIdx.x] = end;
}

// What the gradient needs to know of a tile's queries.
template <class S> __device__ inline void mw_recall(mw_attention_memory& memory, int first, const float* lse, const float* dots) {
    int query = first + threadIdx.x;
    if (threadIdx.x >= MW_WIDE || query >= S::query::size) return;
    memory.lse[threadIdx.x] = lse[query * S::lse::row], memory.dots[threadIdx.x] = dots[query * S::scratch::row];
}

// How many columns of a view a lane holds: groups of 4 side by side where there are so many.
template <int COLUMNS> struct mw_held {
    static constexpr int each = (COLUMNS + MW_LANES - 1) / MW_LANES;
    static constexpr int value = each < 3 ? each : (each + 3) / 4 * 4;
    static constexpr int group = value < 4 ? value : 4;
    static __device__ inline int column(int held) {
        int lane = threadIdx.x % MW_LANES;
        return held / group * (MW_LANES * group) + lane * group + held % group;
    }
};

// Brings a tile in registers to shared memory, turned.
template <int TEAMS, int R> __device__ inline void mw_spread(float* weights, const float (&tile)[R][4]) {
    int team = threadIdx.x / MW_LANES, lane = threadIdx.x % MW_LANES;
    __syncthreads();
    #pragma unroll
    for (int c = 0; c < 4; c++)
        #pragma unroll
        for (int r = 0; r < R; r++) weights[(lane * 4 + c) * (TEAMS * R + 4) + team * R + r] = tile[r][c];
}

// `sums[r][held] += sum over a tile's 64 columns of weights[column][r] * z[first + column][held]`, in the order of the columns.
template <class Z, int TEAMS, int R>
__device__ inline void mw_gather(float (&sums)[R][mw_held<Z::columns>::value], mw_attention_memory& memory, const typename Z::stored* z, int first) {
    typedef mw_held<Z::columns> held;
    constexpr int C = held::value, WIDTH = MW_LANES * C, DEPTH = WIDTH <= 64 ? 64 : WIDTH <= 128 ? 32 : 16;
    constexpr bool dense_rows = Z::rows > 1 && Z::row < Z::column;
    int team = threadIdx.x / MW_LANES;
    for (int from = 0; from < MW_WIDE && first + from < Z::rows; from += DEPTH) {
        __syncthreads();
        for (int i = threadIdx.x; i < DEPTH * WIDTH; i += TEAMS * MW_LANES) {
            int row = dense_rows ? i % DEPTH : i / WIDTH, column = dense_rows ? i / DEPTH : i % WIDTH;
            bool inside = first + from + row < Z::rows && column < Z::columns;
            memory.stage[row * WIDTH + column] = inside ? (float)z[(first + from + row) * Z::row + column * Z::column] : 0.0f;
        }
        __syncthreads();
        #pragma unroll 4
        for (int k = 0; k < DEPTH; k++) {
            float a[R], b[C];
            #pragma unroll
            for (int r = 0; r < R; r++) a[r] = memory.weights[(from + k) * (TEAMS * R + 4) + team * R + r];
            #pragma unroll
            for (int c = 0; c < C; c++) b[c] = memory.stage[k * WIDTH + held::column(c)];
            #pragma unroll
            for (int r = 0; r < R; r++)
                #pragma unroll
                for (int c = 0; c < C; c++) sums[r][c] += a[r] * b[c];
        }
    }
}

// Writes a tile's rows from `first` on, each times its factor.
template <class Z, int R>
__device__ inline void mw_write(typename Z::stored* z, int first, const float (&tile)[R][mw_held<Z::columns>::value], const float (&factors)[R]) {
    typedef mw_held<Z::columns> held;
    int start = first + threadIdx.x / MW_LANES * R;
    #pragma unroll
    for (int r = 0; r < R; r++)
        #pragma unroll
        for (int c = 0; c < held::value; c++)
            if (start + r < Z::rows && held::column(c) < Z::columns)
                z[(start + r) * Z::row + held::column(c) * Z::column] = tile[r][c] * factors[r];
}

// Over the 16 lanes of a team; all get the result.
template <class Op> __device__ inline float mw_lanes(float x) {
    for (int apart = MW_LANES / 2; apart > 0; apart >>= 1) x = Op::join(x, __shfl_xor_sync(0xffffffffu, x, apart));
    return x;
}

// Scores of keys from `key` on become exponentials, relative to the largest score of their row so far; what stood relative to another is scaled.
template <class S, int R, int C>
__device__ inline void mw_soften(float (&scores)[R][4], const mw_attention_memory& memory, int key, float (&most)[R], float (&sums)[R], float (&totals)[R][C]) {
    int row = threadIdx.x / MW_LANES * R;
    key += threadIdx.x % MW_LANES * 4;
    #pragma unroll
    for (int r = 0; r < R; r++) {
        int begin = memory.begin[row + r], end = memory.end[row + r];
        float top = most[r];
        #pragma unroll
        for (int c = 0; c < 4; c++) {
            scores[r][c] = key + c >= begin && key + c < end ? scores[r][c] * S::scale : -MW_INFINITY;
            top = mw_maximum::join(top, scores[r][c]);
        }
        top = mw_lanes<mw_maximum>(top);
        float base = top == -MW_INFINITY ? 0.0f : top, factor = expf(most[r] - base);
        most[r] = top, sums[r] *= factor;
        #pragma unroll
        for (int c = 0; c < C; c++) totals[r][c] *= factor;
        #pragma unroll
        for (int c = 0; c < 4; c++) sums[r] += scores[r][c] = expf(scores[r][c] - base);
    }
}

// A block of 128 threads for each head and tile of queries, those that see most first.
template <class S>
__device__ inline void mw_attention(const typename S::q::stored* q, const typename S::k::stored* k, const typename S::v::stored* v, typename S::out::stored* out, float* lse, const mw_step* step) {
    __shared__ mw_attention_memory memory;
    constexpr int TEAMS = 8, R = S::tile / TEAMS, tiles = (S::query::size + S::tile - 1) / S::tile;
    int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * S::tile, last = mw_min(first + S::tile, S::query::size) - 1;
    mw_i64 batch = blockIdx.x / tiles / S::members, member = blockIdx.x / tiles % S::members;
    q += S::q::at(batch, member), k += S::k::at(batch, member), v += S::v::at(batch, member);
    mw_sights<S>(memory, first, step);
    __syncthreads();
    float most[R], sums[R] = {}, totals[R][mw_held<S::v::columns>::value] = {};
    #pragma unroll
    for (int r = 0; r < R; r++) most[r] = -MW_INFINITY;
    for (int key = memory.begin[0]; key < memory.end[last - first]; key += MW_WIDE) {
        float scores[R][4] = {};
        mw_products<typename S::q, typename S::k, TEAMS, R>(scores, memory.stage, q, first, k, key);
        mw_soften<S>(scores, memory, key, most, sums, totals);
        mw_spread<TEAMS, R>(memory.weights, scores);
        mw_gather<typename S::v, TEAMS, R>(totals, memory, v, key);
    }
    lse += S::lse::at(batch, member);
    int start = first + threadIdx.x / MW_LANES * R;
    #pragma unroll
    for (int r = 0; r < R; r++) {
        float sum = mw_lanes<mw_sum>(sums[r]);
        if (threadIdx.x % MW_LANES == 0 && start + r < S::query::size) lse[(start + r) * S::lse::row] = most[r] + logf(sum);
        sums[r] = sum == 0.0f ? 0.0f : 1.0f / sum;
    }
    mw_write<typename S::out, R>(out + S::out::at(batch, member), first, totals, sums);
}

// The dot of out and dout: a warp for each query of each head.
template <class S>
__device__ inline void mw_attention_dots(const typename S::out::stored* out, const typename S::dout::stored* dout, float* dots) {
    mw_i64 row = (mw_i64)blockIdx.x * 8 + threadIdx.x / 32, head = row / S::query::size, query = row % S::query::size;
    if (row >= S::heads * S::query::size) return;
    mw_i64 batch = head / S::members, member = head % S::members;
    out += S::out::at(batch, member) + query * S::out::row, dout += S::dout::at(batch, member) + query * S::dout::row;
    float sum = 0.0f;
    for (int column = threadIdx.x % 32; column < S::out::columns; column += 32)
        sum += (float)out[column * S::out::column] * (float)dout[column * S::dout::column];
    sum = mw_warp<mw_sum>(sum);
    if (threadIdx.x % 32 == 0) dots[S::scratch::at(batch, member) + query * S::scratch::row] = sum;
}

// A score becomes its probability, the gradient of a probability that of its score.
template <class S> __device__ inline void mw_soften_gradient(float* score, float* gradient, const mw_attention_memory& memory, int row, int key) {
    bool seen = key >= memory.begin[row] && key < memory.end[row];
    *score = seen ? expf(*score * S::scale - memory.lse[row]) : 0.0f;
    *gradient = seen ? *score * (*gradient - memory.dots[row]) : 0.0f;
}

// dk and dv: a block of 256 threads for each batch and tile of 64 keys walks the queries of all members in order.
template <class S>
__device__ inline void mw_attention_keys(const typename S::q::stored* q, const typename S::k::stored* k, const typename S::v::stored* v, const float* lse, const typename S::dout::stored* dout, const float* dots, typename S::dk::stored* dk, typename S::dv::stored* dv, const mw_step* step) {
    __shared__ mw_attention_memory memory;
    constexpr int TEAMS = 16, R = 4, tiles = (S::key::size + MW_WIDE - 1) / MW_WIDE;
    int key = (int)(blockIdx.x % tiles) * MW_WIDE, row = threadIdx.x / MW_LANES * R, lane = threadIdx.x % MW_LANES;
    mw_i64 batch = blockIdx.x / tiles;
    k += S::k::at(batch, 0), v += S::v::at(batch, 0);
    float sums_k[R][mw_held<S::k::columns>::value] = {}, sums_v[R][mw_held<S::v::columns>::value] = {};
    for (int member = 0; member < S::members; member++) {
        const typename S::q::stored* queries = q + S::q::at(batch, member);
        const typename S::dout::stored* douts = dout + S::dout::at(batch, member);
        for (int first = 0; first < S::query::size; first += MW_WIDE) {
            int begin, end, unused;
            mw_sight<S>(first, step, &begin, &unused);
            mw_sight<S>(mw_min(first + MW_WIDE, S::query::size) - 1, step, &unused, &end);
            if (key >= end || key + MW_WIDE <= begin) continue;
            // the last tile's readers are past the barriers of its sums, these writers before that of the products
            mw_sights<S>(memory, first, step);
            mw_recall<S>(memory, first, lse + S::lse::at(batch, member), dots + S::scratch::at(batch, member));
            float scores[R][4] = {}, gradients[R][4] = {};
            mw_products<typename S::k, typename S::q, TEAMS, R>(scores, memory.stage, k, key, queries, first);
            mw_products<typename S::v, typename S::dout, TEAMS, R>(gradients, memory.stage, v, key, douts, first);
            #pragma unroll
            for (int r = 0; r < R; r++)
                #pragma unroll
                for (int c = 0; c < 4; c++) mw_soften_gradient<S>(&scores[r][c], &gradients[r][c], memory, lane * 4 + c, key + row + r);
            mw_spread<TEAMS, R>(memory.weights, scores);
            mw_gather<typename S::dout, TEAMS, R>(sums_v, memory, douts, first);
            mw_spread<TEAMS, R>(memory.weights, gradients);
            mw_gather<typename S::q, TEAMS, R>(sums_k, memory, queries, first);
        }
    }
    float scales[R] = {S::scale, S::scale, S::scale, S::scale}, ones[R] = {1.0f, 1.0f, 1.0f, 1.0f};
    mw_write<typename S::dk, R>(dk + S::dk::at(batch, 0), key, sums_k, scales);
    mw_write<typename S::dv, R>(dv + S::dv::at(batch, 0), key, sums_v, ones);
}

// dq: a block of 128 threads for each head and tile of queries, those that see most first.
template <class S>
__device__ inline void mw_attention_queries(const typename S::q::stored* q, const typename S::k::stored* k, const typename S::v::stored* v, const float* lse, const typename S::dout::stored* dout, const float* dots, typename S::dq::stored* dq, const mw_step* step) {
    __shared__ mw_attention_memory memory;
    constexpr int TEAMS = 8, R = S::tile / TEAMS, tiles = (S::query::size + S::tile - 1) / S::tile;
    int first = (tiles - 1 - (int)(blockIdx.x % tiles)) * S::tile, last = mw_min(first + S::tile, S::query::size) - 1;
    int row = threadIdx.x / MW_LANES * R, lane = threadIdx.x % MW_LANES;
    mw_i64 batch = blockIdx.x / tiles / S::members, member = blockIdx.x / tiles % S::members;
    q += S::q::at(batch, member), k += S::k::at(batch, member), v += S::v::at(batch, member), dout += S::dout::at(batch, member);
    mw_sights<S>(memory, first, step);
    mw_recall<S>(memory, first, lse + S::lse::at(batch, member), dots + S::scratch::at(batch, member));
    __syncthreads();
    float sums[R][mw_held<S::k::columns>::value] = {}, scales[R];
    #pragma unroll
    for (int r = 0; r < R; r++) scales[r] = S::scale;
    for (int key = memory.begin[0]; key < memory.end[last - first]; key += MW_WIDE) {
        float scores[R][4] = {}, gradients[R][4] = {};
        mw_products<typename S::q, typename S::k, TEAMS, R>(scores, memory.stage, q, first, k, key);
        mw_products<typename S::dout, typename S::v, TEAMS, R>(gradients, memory.stage, dout, first, v, key);
        #pragma unroll
        for (int r = 0; r < R; r++)
            #pragma unroll
            for (int c = 0; c < 4; c++) mw_soften_gradient<S>(&scores[r][c], &gradients[r][c], memory, row + r, key + lane * 4 + c);
        mw_spread<TEAMS, R>(memory.weights, gradients);
        mw_gather<typename S::k, TEAMS, R>(sums, memory, k, key);
    }
    mw_write<typename S::dq, R>(dq + S::dq::at(batch, member), first, sums, scales);
}
