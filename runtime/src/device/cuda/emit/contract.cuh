
// `c[row, column] (+)= alpha * sum over inner points and k of a[row, k] * b[column, k]`: a block of 256 threads for each outer point and tile of 64 x 64.
template <class S>
__device__ inline void mw_contract(const typename S::a::stored* a, const typename S::b::stored* b, typename S::c::stored* c, bool add) {
    alignas(16) __shared__ float stage[MW_STAGE];
    constexpr int down = (S::c::rows + MW_WIDE - 1) / MW_WIDE, across = (S::c::columns + MW_WIDE - 1) / MW_WIDE;
    mw_i64 outer = blockIdx.x / (down * across);
    int row = (int)(blockIdx.x / across % down) * MW_WIDE, column = (int)(blockIdx.x % across) * MW_WIDE;
    float sums[4][4] = {};
    for (mw_i64 inner = 0; inner < S::inner; inner++)
        mw_products<typename S::a, typename S::b, 16, 4>(sums, stage, a + S::a::at(outer, inner), row, b + S::b::at(outer, inner), column);
    c += S::c::at(outer, 0);
    row += threadIdx.x / MW_LANES * 4, column += threadIdx.x % MW_LANES * 4;
    #pragma unroll
    for (int i = 0; i < 4; i++)
        #pragma unroll
        for (int j = 0; j < 4; j++) {
            if (row + i >= S::c::rows || column + j >= S::c::columns) continue;
            typename S::c::stored* to = c + (row + i) * S::c::row + (column + j) * S::c::column;
            *to = S::alpha * sums[i][j] + (add ? *to : 0.0f);
        }
}
