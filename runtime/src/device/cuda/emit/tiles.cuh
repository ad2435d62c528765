
// Tiles of matrices in shared memory and in registers, for products on the plain f32 units.
//
// A *view* is a matrix in memory, described by constants: it has `rows` and `columns`, `row` and `column` elements from one to the next, and is
// `stored` as some type. The threads of a block stand in teams of 16 lanes. A tile of a product has R rows for each team and 64 columns; a
// thread holds the R rows of its team in 4 columns side by side.

constexpr int MW_LANES = 16, MW_WIDE = 64;

// How many columns of a view are in shared memory at a time, and how many floats a pair of tiles of at most 64 rows takes there.
template <int COLUMNS> struct mw_depth {
    static constexpr int value = COLUMNS <= 32 ? (COLUMNS + 7) / 8 * 8 : (COLUMNS + 15) / 16 % 2 == 0 ? 32 : 16;
};
constexpr int MW_STAGE = 2 * 32 * (MW_WIDE + 4);

// Brings ROWS rows and DEPTH columns to shared memory, columns outermost with 4 floats between them; zeros beyond the view. A warp reads along
// the denser dim (of columns, 8 at a time) and hits every bank once.
template <class View, int ROWS, int DEPTH, int THREADS>
__device__ inline void mw_stage(float* to, const typename View::stored* from, int first_row, int first_column) {
    constexpr bool dense_rows = View::columns == 1 || (View::rows > 1 && View::row < View::column);
    for (int i = threadIdx.x; i < ROWS * DEPTH; i += THREADS) {
        int row = dense_rows ? i % ROWS : i / 8 % ROWS;
        int column = dense_rows ? i / ROWS : i % 8 + i / (8 * ROWS) * 8;
        bool inside = first_row + row < View::rows && first_column + column < View::columns;
        mw_i64 at = (first_row + row) * View::row + (first_column + column) * View::column;
        to[column * (ROWS + 4) + row] = inside ? (float)from[at] : 0.0f;
    }
}

// `sums[r][c] += sum over columns of x[row][column] * y[other row][column]`, in the order of the columns.
template <class X, class Y, int TEAMS, int R>
__device__ inline void mw_products(float (&sums)[R][4], float* stage, const typename X::stored* x, int x_row, const typename Y::stored* y, int y_row) {
    constexpr int DEPTH = mw_depth<X::columns>::value, ROWS = TEAMS * R, THREADS = TEAMS * MW_LANES;
    int team = threadIdx.x / MW_LANES, lane = threadIdx.x % MW_LANES;
    float* other = stage + DEPTH * (ROWS + 4);
    for (int from = 0; from < X::columns; from += DEPTH) {
        __syncthreads();
        mw_stage<X, ROWS, DEPTH, THREADS>(stage, x, x_row, from);
        mw_stage<Y, MW_WIDE, DEPTH, THREADS>(other, y, y_row, from);
        __syncthreads();
        #pragma unroll 8
        for (int k = 0; k < DEPTH; k++) {
            float a[R], b[4];
            #pragma unroll
            for (int r = 0; r < R; r++) a[r] = stage[k * (ROWS + 4) + team * R + r];
            #pragma unroll
            for (int c = 0; c < 4; c++) b[c] = other[k * (MW_WIDE + 4) + lane * 4 + c];
            #pragma unroll
            for (int r = 0; r < R; r++)
                #pragma unroll
                for (int c = 0; c < 4; c++) sums[r][c] += a[r] * b[c];
        }
    }
}
