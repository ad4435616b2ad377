// The register-tiled product under attention: c (rows,columns) = a b or += a b, with a broadcast from memory and b in whole vectors.
// Included inside the unnamed namespace of a file compiled for one instruction set.
//
// Both operands are counted in units of 32 bits: one float, or two bf16 that one instruction multiplies and adds. Each result is
// summed over k in order, whatever tile it falls into, so the tiling never changes a bit of it.
//
// A Multiply with kTiled multiplies by tile registers (amx/): always 16 rows and steps of 16 units, so that a has room for whole tiles of
// rows, c too, and what lies in the last step beyond k is zero.

struct MultiplyF32 {
  static vf accumulate(vf sum, vf a, vf b) { return fma(a, b, sum); }
};

/// One block as a loop nest; a(r, k) is at a[r * row_step + k * k_step], b(k, v) at b[k * ldb + v * kLanes].
template <class Multiply, int rows, int vectors>
void tile(float* c, int64_t ldc, const float* a, int64_t row_step, int64_t k_step, const float* b, int64_t ldb, int64_t K,
          bool accumulate) {
  vf sum[rows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) sum[r][v] = accumulate ? load(c + r * ldc + v * kLanes, Full{}) : zero();
  for (int64_t k = 0; k < K; ++k, a += k_step, b += ldb) {
    vf column[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) column[v] = load(b + v * kLanes, Full{});
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const vf x = set1(a[r * row_step]);
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sum[r][v] = Multiply::accumulate(sum[r][v], x, column[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) store(c + r * ldc + v * kLanes, sum[r][v], Full{});
}

using TileFunction = void (*)(float*, int64_t, const float*, int64_t, int64_t, const float*, int64_t, int64_t, bool);

template <class Multiply, int rows>
inline TileFunction tile_of(int64_t vectors) {
  if constexpr (kTileVecs >= 4) {
    if (vectors >= 4) return tile<Multiply, rows, 4>;
    if (vectors == 3) return tile<Multiply, rows, 3>;
  }
  return vectors >= 2 ? tile<Multiply, rows, 2> : tile<Multiply, rows, 1>;
}

template <class Multiply>
concept Tiled = requires {
  Multiply::kTiled;
};

template <class Multiply>
inline TileFunction tile_of(int64_t rows, int64_t vectors) {
  static_assert(kTileRows == 6);
  if constexpr (Tiled<Multiply>) {
    return Multiply::tile_for(vectors);
  } else {
    switch (rows) {
      case 1:
        return tile_of<Multiply, 1>(vectors);
      case 2:
        return tile_of<Multiply, 2>(vectors);
      case 3:
        return tile_of<Multiply, 3>(vectors);
      case 4:
        return tile_of<Multiply, 4>(vectors);
      case 5:
        return tile_of<Multiply, 5>(vectors);
      default:
        return tile_of<Multiply, 6>(vectors);
    }
  }
}

constexpr int64_t kPanel = kTileVecs * kLanes;  // columns of b that one tile covers

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/// Where the i-th of `count` nearly equal parts of n rows begins: 128 rows are better cut into 6 and 5 than into 6 and a last 2.
constexpr int64_t part_begin(int64_t n, int64_t count, int64_t i) { return n / count * i + least(i, n % count); }

/// How some rows are cut for a Multiply.
template <class Multiply>
struct Tiling {
  static constexpr int64_t kStep = Tiled<Multiply> ? 16 : 1;  // units of k
  static constexpr int64_t kMost = Tiled<Multiply> ? 16 : kTileRows;
  int64_t rows, count;

  explicit Tiling(int64_t rows_) : rows(rows_), count((rows_ + kMost - 1) / kMost) {}
  int64_t begin(int64_t i) const { return Tiled<Multiply> ? least(i * kMost, rows) : part_begin(rows, count, i); }
};

/// A whole product in tiles; depth(row) is how many k row needs at most, and may only grow with the row. The k dimension is cut so
/// that a panel of b stays in the first-level cache while all rows pass it.
template <class Multiply, class Depth>
inline void product(float* c, int64_t ldc, int64_t rows, int64_t columns, const float* a, int64_t row_step, int64_t k_step, const float* b,
                    int64_t ldb, Depth&& depth, bool accumulate) {
  constexpr int64_t kDepth = 128;
  const Tiling<Multiply> tiles(rows);
  const int64_t deepest = most(1, depth(rows - 1));  // once through even for nothing: c becomes 0
  for (int64_t column = 0; column < columns; column += kPanel)
    for (int64_t k = 0; k < deepest; k += kDepth)
      for (int64_t i = 0; i < tiles.count; ++i) {
        const int64_t row = tiles.begin(i), end = tiles.begin(i + 1), K = least(kDepth, depth(end - 1) - k);
        if (K <= 0 && k > 0) continue;
        const TileFunction run = tile_of<Multiply>(end - row, (columns - column) / kLanes);
        run(c + row * ldc + column, ldc, a + row * row_step + k * k_step, row_step, k_step, b + k * ldb + column, ldb, K,
            accumulate || k > 0);
      }
}
