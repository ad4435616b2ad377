// 4-bit codes between the orders of checkpoint formats and that of QuantizedMatrix, in tiles that stay in the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tenon/core/context.h"

namespace tenon::quant::detail {

/// 8 rows of 8 bytes turned: byte r of to[c] is byte c of from[r].
inline void turn_8_by_8(uint64_t* rows) {
  constexpr uint64_t kBytes = 0x00ff00ff00ff00ff, kWords = 0x0000ffff0000ffff, kHalves = 0x00000000ffffffff;
  for (int i = 0; i < 8; i += 2) {
    const uint64_t t = ((rows[i] >> 8) ^ rows[i + 1]) & kBytes;
    rows[i + 1] ^= t, rows[i] ^= t << 8;
  }
  for (const int i : {0, 1, 4, 5}) {
    const uint64_t t = ((rows[i] >> 16) ^ rows[i + 2]) & kWords;
    rows[i + 2] ^= t, rows[i] ^= t << 16;
  }
  for (int i = 0; i < 4; ++i) {
    const uint64_t t = ((rows[i] >> 32) ^ rows[i + 4]) & kHalves;
    rows[i + 4] ^= t, rows[i] ^= t << 32;
  }
}

/// Nibble i of a word of AutoAWQ's "gemm" is output kAwqOrder[i] of 8. Bytes of even nibbles, then of odd ones, are kAwqBytes.
inline constexpr int kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
inline constexpr int kAwqBytes[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/// Words (K, N/8) of 8 outputs each into rows of codes (N, ceil(K/2)).
inline void columns_to_codes(Context& ctx, uint8_t* codes, const uint32_t* words, int64_t N, int64_t K) {
  constexpr int64_t kWords = 16, kPairs = 64;  // a tile: 128 outputs (a line of the cache) by 128 columns
  const int64_t width = N / 8, bytes = (K + 1) / 2;
  ctx.over_rows((width + kWords - 1) / kWords, kWords * 8 * K / 4, [&](int64_t first, int64_t last) {
    alignas(64) uint32_t tile[kPairs][2 * kWords];
    for (int64_t block = first; block < last; ++block) {
      const int64_t at = block * kWords, count = std::min(kWords, width - at);
      for (int64_t p0 = 0; p0 < bytes; p0 += kPairs) {
        const int64_t pairs = std::min(kPairs, bytes - p0);
        for (int64_t p = 0; p < pairs; ++p) {
          const int64_t k = 2 * (p0 + p);
          const uint32_t *even = words + k * width + at, *odd = k + 1 < K ? even + width : nullptr;
          for (int64_t c = 0; c < count; ++c) {
            const uint32_t a = even[c], b = odd ? odd[c] : 0;
            tile[p][2 * c] = (a & 0x0f0f0f0f) | (b & 0x0f0f0f0f) << 4;
            tile[p][2 * c + 1] = (a >> 4 & 0x0f0f0f0f) | (b & 0xf0f0f0f0);
          }
        }
        for (int64_t c = 0; c < count; ++c)
          for (int64_t p = 0; p < pairs; p += 8) {
            uint64_t rows[8] = {};
            const int64_t n = std::min<int64_t>(8, pairs - p);
            for (int64_t i = 0; i < n; ++i) rows[i] = tile[p + i][2 * c] | static_cast<uint64_t>(tile[p + i][2 * c + 1]) << 32;
            turn_8_by_8(rows);
            for (int j = 0; j < 8; ++j) {
              uint8_t* to = codes + (8 * (at + c) + kAwqBytes[j]) * bytes + p0 + p;
              if (n == 8)
                std::memcpy(to, rows + j, 8);
              else
                std::memcpy(to, rows + j, static_cast<size_t>(n));
            }
          }
      }
    }
  });
}

/// The way back.
inline void codes_to_columns(Context& ctx, uint32_t* words, const uint8_t* codes, int64_t N, int64_t K) {
  const int64_t width = N / 8, bytes = (K + 1) / 2;
  constexpr int64_t kPairs = 64;
  ctx.over_rows((bytes + kPairs - 1) / kPairs, kPairs * N / 4, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block)
      for (int64_t c = 0; c < width; ++c)
        for (int64_t p = block * kPairs; p < std::min((block + 1) * kPairs, bytes); ++p) {
          uint32_t even = 0, odd = 0;
          for (int i = 0; i < 8; ++i) {
            const uint32_t byte = codes[(8 * c + kAwqOrder[i]) * bytes + p];
            even |= (byte & 15) << 4 * i, odd |= (byte >> 4) << 4 * i;
          }
          words[2 * p * width + c] = even;
          if (2 * p + 1 < K) words[(2 * p + 1) * width + c] = odd;
        }
  });
}

/// A matrix of words turned: to (columns,rows) from (rows,columns).
inline void turn_words(Context& ctx, uint32_t* to, const uint32_t* from, int64_t rows, int64_t columns) {
  constexpr int64_t kTile = 16;
  ctx.over_rows((columns + kTile - 1) / kTile, kTile * rows, [&](int64_t first, int64_t last) {
    for (int64_t c0 = first * kTile; c0 < std::min(last * kTile, columns); c0 += kTile)
      for (int64_t r0 = 0; r0 < rows; r0 += kTile)
        for (int64_t c = c0; c < std::min(c0 + kTile, columns); ++c)
          for (int64_t r = r0; r < std::min(r0 + kTile, rows); ++r) to[c * rows + r] = from[r * columns + c];
  });
}

/// A matrix of words (K/8, N) turned and its columns reordered: column k of the codes (N, K/2) becomes column order[k] of the words. In
/// tiles of outputs, because a column of many outputs moves as vectors do, and one of a single output nibble by nibble.
inline void turn_words_reordered(Context& ctx, uint8_t* codes, const uint32_t* words, int64_t N, int64_t K,
                                 const std::vector<int64_t>& order) {
  constexpr int64_t kOutputs = 32, kWords = 16, kPart = 16;  // two lines of the cache of a row of words; a line of each output's codes
  const int64_t width = K / 8;
  struct Place {
    int32_t at, shift;
  };
  std::vector<Place> places(static_cast<size_t>(K));  // of a column in a tile (width, kOutputs)
  for (int64_t k = 0; k < K; ++k) {
    const int64_t from = order[static_cast<size_t>(k)];
    places[static_cast<size_t>(k)] = {static_cast<int32_t>(from / 8 * kOutputs), static_cast<int32_t>(4 * (from % 8))};
  }
  ctx.over_rows((N + kOutputs - 1) / kOutputs, kOutputs * K / 4, [&](int64_t first, int64_t last) {
    std::vector<uint32_t> tile(static_cast<size_t>(width * kOutputs));
    uint32_t block[kWords][kOutputs], row[kWords];
    for (int64_t n = first * kOutputs; n < std::min(last * kOutputs, N); n += kOutputs) {
      const int64_t count = std::min(kOutputs, N - n);
      for (int64_t w = 0; w < width; ++w)
        std::memcpy(tile.data() + w * kOutputs, words + w * N + n, static_cast<size_t>(count) * sizeof(uint32_t));
      for (int64_t w0 = 0; w0 < width; w0 += kWords) {
        const int64_t many = std::min(kWords, width - w0);
        for (int64_t w = 0; w < many; ++w) {
          const Place* p = places.data() + 8 * (w0 + w);
          for (int64_t j0 = 0; j0 < kOutputs; j0 += kPart) {
            uint32_t sum[kPart] = {};
            for (int i = 0; i < 8; ++i) {
              const uint32_t* at = tile.data() + p[i].at + j0;
              const int shift = p[i].shift;
              for (int64_t j = 0; j < kPart; ++j) sum[j] |= (at[j] >> shift & 15) << 4 * i;
            }
            std::memcpy(block[w] + j0, sum, sizeof sum);
          }
        }
        for (int64_t j = 0; j < count; ++j) {
          for (int64_t w = 0; w < many; ++w) row[w] = block[w][j];
          std::memcpy(codes + (n + j) * K / 2 + 4 * w0, row, static_cast<size_t>(4 * many));
        }
      }
    }
  });
}

/// Columns of codes (N, ceil(K/2)) in another order, in place: column k becomes what column order[k] was; backwards, the other way round.
inline void reorder_codes(Context& ctx, uint8_t* codes, int64_t N, int64_t K, const std::vector<int64_t>& order, bool backwards = false) {
  const int64_t bytes = (K + 1) / 2;
  ctx.over_rows(N, 2 * K, [&](int64_t first, int64_t last) {
    std::vector<uint8_t> before(static_cast<size_t>(2 * bytes)), after(static_cast<size_t>(2 * bytes));
    for (int64_t n = first; n < last; ++n) {
      uint8_t* row = codes + n * bytes;
      for (int64_t i = 0; i < bytes; ++i) before[2 * i] = row[i] & 15, before[2 * i + 1] = row[i] >> 4;
      for (int64_t k = 0; k < K; ++k) {
        if (backwards)
          after[order[k]] = before[k];
        else
          after[k] = before[order[k]];
      }
      for (int64_t i = 0; i < bytes; ++i) row[i] = static_cast<uint8_t>(after[2 * i] | after[2 * i + 1] << 4);
    }
  });
}

/// order[k]: the k-th column when columns are sorted by their group. Empty if they are sorted already.
inline std::vector<int64_t> order_of_groups(const int32_t* group_of, int64_t K, int64_t groups) {
  if (std::is_sorted(group_of, group_of + K)) return {};
  std::vector<int64_t> next(static_cast<size_t>(groups) + 1), order(static_cast<size_t>(K));
  for (int64_t k = 0; k < K; ++k) ++next[static_cast<size_t>(group_of[k]) + 1];
  for (int64_t g = 0; g < groups; ++g) next[static_cast<size_t>(g) + 1] += next[static_cast<size_t>(g)];
  for (int64_t k = 0; k < K; ++k) order[static_cast<size_t>(next[static_cast<size_t>(group_of[k])]++)] = k;
  return order;
}

}  // namespace tenon::quant::detail
