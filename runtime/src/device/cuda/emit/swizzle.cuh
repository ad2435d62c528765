
// Tiles of bf16 in shared memory.
//
// A *tile* is rows of numbers that lie side by side, as chunks of 8 (16 bytes). Which chunk of a row stands where depends on the
// row, so that 8 rows of one chunk, which is what ldmatrix reads at a time, are in different banks, and so are 8 chunks of one row.

// Places are bytes of the function's dynamic shared memory. Tiles begin at multiples of 128.
template <int COLUMNS> struct mw_laid {
    static constexpr int chunks = COLUMNS / 8, period = chunks % 8 == 0 ? 8 : chunks % 4 == 0 ? 4 : 2;
    // Where a chunk of a row stands.
    static __device__ __forceinline__ int place(int tile, int row, int chunk) {
        return tile + row * chunks * 16 + (chunk ^ (row * period / 8 & (period - 1))) * 16;
    }
    // Where a lane's row for `ldmatrix` stands, of four matrices of 8 x 8: two in the first chunk above each other, then two in the next chunk:
    // 16 rows of the left side of a product, or, transposed, of the right one.
    static __device__ __forceinline__ int down(int tile, int row, int chunk) { return place(tile, row + threadIdx.x % 16, chunk + threadIdx.x % 32 / 16); }
    // The same: two beside each other in the first 8 rows, then two in the next 8.
    static __device__ __forceinline__ int across(int tile, int row, int chunk) {
        return place(tile, row + threadIdx.x % 8 + threadIdx.x % 32 / 16 * 8, chunk + threadIdx.x / 8 % 2);
    }
    // Where the chunk `by` further on stands, from the place of chunk 0 or 1 of a row; `by` is even. That is cheaper where `by` is a constant.
    static __device__ __forceinline__ int further(int place, int by) { return (place ^ (by & (period - 1)) * 16) + (by & ~(period - 1)) * 16; }
};
