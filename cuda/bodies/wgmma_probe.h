// One product of two warpgroups by wgmma, in every form of its factors: what tests and a device's trial compare with plain loops.
#pragma once

#include "bodies/wgmma.h"

namespace tenon::cuda {

enum class WgmmaA { Along, Across, Registers };

/// c (128,N) = a (128,K) b (N,K)^T, all rows contiguous and aligned to 16 bytes. One block.
template <class E, int N, int K, WgmmaA kA, bool kAcrossB>
struct WgmmaProbeBody {
  float* c;
  const E *a, *b;
  static constexpr bool kHopper = true;
  static constexpr int kThreads = 2 * kWarpgroup, kRows = 128, kSize = static_cast<int>(sizeof(E)), kBytes = K * kSize, kStep = 32 / kSize;
  static constexpr int kColumns = kAcrossB ? (N + 63) / 64 * 64 : N;  // a panel has 64
  static constexpr size_t kTileA = kA == WgmmaA::Across ? panel_tile_bytes(K, kRows * kSize) : panel_tile_bytes(kRows, kBytes);
  static constexpr size_t kTileB = kAcrossB ? panel_tile_bytes(K, kColumns * kSize) : panel_tile_bytes(N, kBytes);
  static constexpr size_t kShared = kTileA + kTileB + kAtomBytes;
  struct Held {
    float sums[N / 8][4];
    uint32_t a[K / kStep][4];
  };

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    char *tile_a = aligned_to_atoms(block), *tile_b = tile_a + kTileA;
    Lanes<Held, Block> held(block);
    block.own([&](int t) {
      fill<kA == WgmmaA::Across>(block, t, tile_a, a, kRows, kRows);
      fill<kAcrossB>(block, t, tile_b, b, N, kColumns);
      TENON_UNROLL
      for (int j = 0; j < K / kStep; ++j)
        TENON_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int row = t / kWarp * 16 + t % kWarp / 4 + i % 2 * 8, k = j * kStep + (i / 2 * 4 + t % 4) * (4 / kSize);
          held[t].a[j][i] = *reinterpret_cast<const uint32_t*>(a + row * K + k);
        }
    });
    block.commit();
    block.template wait_for_wgmma<0>();
    const auto sums = [&](int t) -> auto& { return held[t].sums; };
    const auto of_a = [&](int t) -> auto& { return held[t].a; };
    const uint32_t at_a = block.shared_address(tile_a), at_b = block.shared_address(tile_b);
    block.wgmma_fence(sums, of_a);
    TENON_UNROLL
    for (int j = 0; j < K / kStep; ++j) {
      const auto factor_b = [&](int) { return kAcrossB ? across_k(at_b, K, j * kStep, 0) : along_k(at_b, N, 0, j * 32); };
      if constexpr (kA == WgmmaA::Registers) {
        block.template wgmma<E, N, kAcrossB>(sums, [&](int t) { return held[t].a[j]; }, factor_b, j > 0);
      } else {
        const auto factor_a = [&](int t) {
          const int row = t / kWarpgroup * 64;
          return kA == WgmmaA::Across ? across_k(at_a, K, j * kStep, row) : along_k(at_a, kRows, row, j * 32);
        };
        block.template wgmma<E, N, kAcrossB, kA == WgmmaA::Across>(sums, factor_a, factor_b, j > 0);
      }
    }
    block.wgmma_commit();
    block.template wgmma_wait<0>(sums, of_a);
    block.own([&](int t) {
      TENON_UNROLL
      for (int j = 0; j < N / 8; ++j)
        TENON_UNROLL
        for (int i = 0; i < 4; ++i) c[(t / kWarp * 16 + row_of_sum(t, i)) * N + 8 * j + column_of_sum(t, i)] = held[t].sums[j][i];
    });
  }

 private:
  /// `rows` of a matrix as a tile whose lines they are, or (across) whose lines are k; there every line has `width` of them.
  template <bool kAcross, class Block>
  static TENON_BODY void fill(Block& block, int t, char* tile, const E* from, int rows, int width) {
    if constexpr (kAcross) {
      for (int i = t; i < width * K; i += kThreads)
        *reinterpret_cast<E*>(tile + in_panels(K, i / width, i % width * kSize)) = i % width < rows ? from[i % width * K + i / width] : E{};
    } else {
      for (int i = t; i < rows * (kBytes / 16); i += kThreads) {
        const int row = i / (kBytes / 16), byte = i % (kBytes / 16) * 16;
        block.copy_later(tile + in_panels(rows, row, byte), reinterpret_cast<const char*>(from + row * K) + byte, 16);
      }
    }
  }
};

}  // namespace tenon::cuda
