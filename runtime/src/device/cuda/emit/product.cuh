
// Products on tensor cores, behind swizzle.cuh: operands are bf16, sums f32.
//
// A block of 8 warps, 2 down and 4 across, has a tile of 2 * 16 M rows and 4 * 8 N columns. Parts of 32 of what is summed come in three stages: two are
// copied while one is used, with one barrier a part.

constexpr int MW_PART = 32, MW_STAGES = 3;

// One side of a product: ROWS rows of a view and a part of its columns. Whichever lie side by side in memory do so here.
template <class View, int ROWS> struct mw_factor {
    static constexpr bool dense = View::column == 1;
    static constexpr int wide = dense ? MW_PART : ROWS, high = dense ? ROWS : MW_PART, chunks = wide / 8, bytes = ROWS * MW_PART * 2;
    typedef mw_laid<wide> laid;

    // Begins to copy; zeros beyond the view.
    static __device__ __forceinline__ void bring(unsigned char* memory, int tile, const mw_bf16* from, int row, int column) {
        constexpr mw_i64 step = dense ? View::row : View::column;
        int first = dense ? row : column, across = dense ? column : row;
        constexpr int all = dense ? View::rows : View::columns, most = dense ? View::columns : View::rows;
        #pragma unroll
        for (int at = threadIdx.x; at < high * chunks; at += 256) {
            int line = at / chunks, chunk = at % chunks;
            bool inside = first + line < all && across + chunk * 8 < most;
            mw_cp_async16(memory + laid::place(tile, line, chunk), from + (first + line) * step + across + chunk * 8, inside ? 16 : 0);
        }
    }

    // 16 rows and 16 columns as the left side.
    static __device__ __forceinline__ void left(unsigned (&a)[4], const unsigned char* memory, int tile, int row, int column) {
        if (dense) mw_ldmatrix_x4(a, memory + laid::down(tile, row, column / 8));
        else mw_ldmatrix_x4_trans(a, memory + laid::across(tile, column, row / 8));
    }

    // The same, transposed, as two right sides of 8 each.
    static __device__ __forceinline__ void right(unsigned (&b)[4], const unsigned char* memory, int tile, int row, int column) {
        if (dense) mw_ldmatrix_x4(b, memory + laid::across(tile, row, column / 8));
        else mw_ldmatrix_x4_trans(b, memory + laid::down(tile, column, row / 8));
    }
};

// Two columns side by side of one row.
template <class View> __device__ __forceinline__ void mw_pair_to(float* c, int row, int column, float x, float y, bool add) {
    if (row >= View::rows) return;
    float* to = c + row * View::row + column * View::column;
    if (View::column == 1 && View::row % 2 == 0 && column + 1 < View::columns && ((mw_u64)to & 7) == 0) {
        float2 old = add ? *(float2*)to : make_float2(0.0f, 0.0f);
        *(float2*)to = make_float2(x + old.x, y + old.y);
        return;
    }
    if (column < View::columns) *to = add ? *to + x : x;
    to += View::column;
    if (column + 1 < View::columns) *to = add ? *to + y : y;
}
template <class View> __device__ __forceinline__ void mw_pair_to(mw_bf16* c, int row, int column, float x, float y, bool) {
    if (row >= View::rows) return;
    mw_bf16* to = c + row * View::row + column * View::column;
    if (View::column == 1 && View::row % 2 == 0 && column + 1 < View::columns && ((mw_u64)to & 3) == 0) {
        *(unsigned*)to = mw_bf16x2(x, y);
        return;
    }
    if (column < View::columns) *to = x;
    if (column + 1 < View::columns) to[View::column] = y;
}

// `c[row, column] (+)= alpha * sum over inner points and k of a[row, k] * b[column, k]`: a block for each outer point and tile.
template <class S, int M, int N>
__device__ __forceinline__ void mw_contract_mma(const mw_bf16* a, const mw_bf16* b, typename S::c::stored* c, bool add) {
    constexpr int ROWS = 32 * M, COLUMNS = 32 * N;
    typedef mw_factor<typename S::a, ROWS> left;
    typedef mw_factor<typename S::b, COLUMNS> right;
    MW_DYNAMIC_SHARED(memory);
    constexpr int stage = left::bytes + right::bytes, turns = (S::a::columns + MW_PART - 1) / MW_PART;
    constexpr mw_i64 all = turns * S::inner;
    constexpr int down = (S::c::rows + ROWS - 1) / ROWS, across = (S::c::columns + COLUMNS - 1) / COLUMNS;
    mw_i64 outer = blockIdx.x / (down * across);
    int row = (int)(blockIdx.x / across % down) * ROWS, column = (int)(blockIdx.x % across) * COLUMNS;
    auto bring = [&](mw_i64 turn) {
        int at = (int)(turn % MW_STAGES) * stage, k = (int)(turn % turns) * MW_PART;
        if (turn < all) {
            left::bring(memory, at, a + S::a::at(outer, turn / turns), row, k);
            right::bring(memory, at + left::bytes, b + S::b::at(outer, turn / turns), column, k);
        }
        mw_cp_async_commit();
    };
    float sums[M][N][4] = {};
    int down_to = (int)threadIdx.x / 128 * 16 * M, across_to = (int)threadIdx.x / 32 % 4 * 8 * N;
    for (int turn = 0; turn < MW_STAGES - 1; turn++) bring(turn);
    for (mw_i64 turn = 0; turn < all; turn++) {
        mw_cp_async_wait<MW_STAGES - 2>();
        // the part has arrived for all, and all are past the one whose place is taken next
        __syncthreads();
        bring(turn + MW_STAGES - 1);
        int at = (int)(turn % MW_STAGES) * stage;
        #pragma unroll
        for (int k = 0; k < MW_PART; k += 16) {
            unsigned x[M][4], y[N / 2][4];
            #pragma unroll
            for (int m = 0; m < M; m++) left::left(x[m], memory, at, down_to + m * 16, k);
            #pragma unroll
            for (int n = 0; n < N / 2; n++) right::right(y[n], memory, at + left::bytes, across_to + n * 16, k);
            #pragma unroll
            for (int m = 0; m < M; m++)
                #pragma unroll
                for (int n = 0; n < N; n++) mw_mma_bf16_16816(sums[m][n], x[m], y[n / 2] + n % 2 * 2, sums[m][n]);
        }
    }
    c += S::c::at(outer, 0);
    row += down_to + threadIdx.x % 32 / 4, column += across_to + threadIdx.x % 4 * 2;
    #pragma unroll
    for (int m = 0; m < M; m++)
        #pragma unroll
        for (int n = 0; n < N; n++)
            #pragma unroll
            for (int h = 0; h < 2; h++)
                mw_pair_to<typename S::c>(c, row + m * 16 + h * 8, column + n * 8, S::alpha * sums[m][n][h * 2], S::alpha * sums[m][n][h * 2 + 1], add);
}
