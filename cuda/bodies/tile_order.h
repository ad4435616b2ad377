// In which order blocks take the tiles of a product: bands of some tiles of rows, within a band one tile of columns after another. What runs at
// a time then meets few rows and few columns, whose bytes are in the second-level cache when the next block asks for them.
//
//   band 0:   0  4  8     of three tiles of columns and bands of four tiles of rows
//             1  5  9
//             2  6 10
//             3  7 11
//   band 1:  12 16 20 ...
#pragma once

#include "bodies/groups.h"

namespace tenon::cuda {

struct TileOrder {
  int64_t columns;  // tiles
  static constexpr int64_t kBand = 8;

  /// As many blocks as there are tiles in whole bands.
  TENON_HOST_BODY int64_t blocks(int64_t rows) const { return (rows + kBand - 1) / kBand * kBand * columns; }
  TENON_HOST_BODY int64_t row(int64_t i) const { return i / (kBand * columns) * kBand + i % kBand; }
  TENON_HOST_BODY int64_t column(int64_t i) const { return i % (kBand * columns) / kBand; }
};

}  // namespace tenon::cuda
