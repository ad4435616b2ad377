// Panels multiplied by tiles: what the Tiled formats of panel.inl.h share. Included after panel.inl.h and tiles.inl.h.

/// sums (rows, NR tiles of columns) = or += the products of up to 32 rows with a panel over `depth` units, a multiple of 16. Rows of sums
/// are kPanel apart; whole tiles of them are written.
template <class Product, int MR, int NR>
void tiled_rows(char* sums, const char* const (&x)[2], int64_t stride, const char* w, int64_t depth, bool add, Ahead& next) {
  using Sums = TileSums<MR, NR>;
  constexpr int64_t kRow = kPanel * 4;
  if (add)
    Sums::load(sums, kRow, kTile * kRow);
  else
    Sums::clear();
  const char *line = next.line, *const end = next.end;
  const int64_t ahead = next.per_step * 64;
  const char* rows[MR];
  for (int m = 0; m < MR; ++m) rows[m] = x[m];
  for (int64_t u = 0; u < depth; u += kTile, w += kTile * NR * 64) {
    for (const char* stop = end - line < ahead ? end : line + ahead; line < stop; line += 64) __builtin_prefetch(line, 0, 2);
    Sums::template add<Product>(rows, stride, w, NR * 64);
    for (int m = 0; m < MR; ++m) rows[m] += 64;
  }
  next.line = line;
  Sums::store(sums, kRow, kTile * kRow);
}

template <class Product, int NR = kRegisters>
void tiled_product(char* sums, const RowsView& x, int64_t m, int rows, int64_t u, const char* w, int64_t registers, int64_t depth, bool add,
                   Ahead& next) {
  if constexpr (NR > 1)
    if (registers < NR) return tiled_product<Product, NR - 1>(sums, x, m, rows, u, w, registers, depth, add, next);
  const char* const at[2] = {x.row(m) + u * 4, rows > kTile ? x.row(m + kTile) + u * 4 : nullptr};
  rows > kTile ? tiled_rows<Product, 2, NR>(sums, at, x.stride, w, depth, add, next)
               : tiled_rows<Product, 1, NR>(sums, at, x.stride, w, depth, add, next);
}

/// A Format of vectors, multiplied by tiles.
template <class Format, class Product>
struct ByTiles : Format {
  static constexpr bool kTiled = true;
  using State = TileState;
  static void product(char* sums, const RowsView& x, int64_t m, int rows, int64_t u, const char* w, int64_t registers, int64_t depth,
                      bool add, Ahead& next) {
    tiled_product<Product>(sums, x, m, rows, u, w, registers, depth, add, next);
  }
};
