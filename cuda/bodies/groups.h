// Rows in groups that meet different weights, as one launch sees them: which rows a block has is found on the device.
#pragma once

#include "block.h"

namespace tenon::cuda {

/// The groups of a call; without `start` one group of all rows and one weight.
struct Groups {
  const int64_t* start = nullptr;         // (count + 1), on the device
  const void* const* w = nullptr;         // (count)
  const float* const* scale = nullptr;    // (count)
  int64_t count = 0, rows = 0;
  const void* one_w = nullptr;
  const float* one_scale = nullptr;

  TENON_BODY const void* weight(int64_t g) const { return w ? w[g] : one_w; }
  TENON_BODY const float* scales(int64_t g) const { return scale ? scale[g] : one_scale; }
  TENON_BODY int64_t first(int64_t g) const { return start ? start[g] : 0; }
  TENON_BODY int64_t end(int64_t g) const { return start ? start[g + 1] : rows; }

  /// As many tiles as there may be, whatever the groups' rows: each group but the first can begin one of its own.
  int64_t most_tiles(int64_t tile) const {
    const int64_t whole = (rows + tile - 1) / tile;
    return start ? whole + (count - 1 < rows ? count - 1 : rows) : whole;
  }
};

/// Some rows of one group.
struct RowTile {
  int64_t group, begin;
  int rows;  // 0: there is no such tile
};

/// The i-th tile. Tiles of a group follow each other; groups without rows have none.
TENON_BODY RowTile find_tile(const Groups& groups, int tile, int64_t i) {
  for (int64_t g = 0; g < groups.count; ++g) {
    const int64_t first = groups.first(g), n = groups.end(g) - first, tiles = (n + tile - 1) / tile;
    if (i < tiles) return {g, first + i * tile, static_cast<int>(n - i * tile < tile ? n - i * tile : tile)};
    i -= tiles;
  }
  return {0, 0, 0};
}
/// The same, with the beginnings of eight groups asked for together: for kernels that have registers for them, and little time.
TENON_BODY RowTile find_tile_among_many(const Groups& groups, int tile, int64_t i) {
  constexpr int kAtOnce = 8;
  for (int64_t g = 0; g < groups.count; g += kAtOnce) {
    int64_t begin[kAtOnce + 1];
    TENON_UNROLL
    for (int j = 0; j <= kAtOnce; ++j) begin[j] = g + j < groups.count ? groups.first(g + j) : groups.end(groups.count - 1);
    TENON_UNROLL
    for (int j = 0; j < kAtOnce; ++j) {
      const int64_t n = begin[j + 1] - begin[j], tiles = (n + tile - 1) / tile;
      if (i < tiles) return {g + j, begin[j] + i * tile, static_cast<int>(n - i * tile < tile ? n - i * tile : tile)};
      i -= tiles;
    }
  }
  return {0, 0, 0};
}

/// Block i has row i of x, whose columns are moved as its group has them. Elements are moved as bits.
template <class Bits>
struct ReorderBody {
  ReorderCall c;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index;
    int64_t low = 0, high = c.groups;  // the group whose end is the first behind the row
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (c.start[middle + 1] <= row) low = middle + 1;
      else high = middle;
    }
    if (low == c.groups) return;
    const int64_t* const order = c.order[low];
    const Bits* const x = static_cast<const Bits*>(c.x) + row * c.K;
    Bits* const y = static_cast<Bits*>(c.y) + row * c.K;
    block.each([&](int t) {
      for (int64_t k = t; k < c.K; k += block.threads) y[k] = x[order ? order[k] : k];
    });
  }
};

}  // namespace tenon::cuda
