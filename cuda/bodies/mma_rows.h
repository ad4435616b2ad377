// Products of a warp's 16 rows, for attention and its gradients: what a thread holds (a struct with a[4] and b[4] for factors) stays in registers,
// and the sums of one product are a factor of the next.
#pragma once

#include "bodies/fragments.h"

namespace tenon::cuda {

/// sums(t) (16, kColumns) = a b^T. Lines of a and b are rows and columns, of kWidth elements and 16 bytes more; a warp has rows 16 w .. 16 w + 16.
template <class E, int kWidth, int kColumns, class Block, class Held, class Sums>
TENON_BODY void multiply_rows(Block& block, Held& held, Sums&& sums, const char* a, const char* b) {
  constexpr int kLine = 2 * kWidth + 16;
  block.own([&](int t) {
    TENON_UNROLL
    for (int j = 0; j < kColumns / 8; ++j)
      TENON_UNROLL
      for (int e = 0; e < 4; ++e) sums(t)[j][e] = 0;
  });
  TENON_UNROLL
  for (int d = 0; d < kWidth; d += 16) {
    block.template load_matrices<false>([&](int t) { return held[t].a; }, [&](int t) { return address_a(a, kLine, t / kWarp * 16, 2 * d, t); });
    TENON_UNROLL
    for (int j = 0; j < kColumns / 16; ++j) {
      block.template load_matrices<false>([&](int t) { return held[t].b; }, [&](int t) { return address_b(b, kLine, 16 * j, 2 * d, t); });
      TENON_UNROLL
      for (int i = 0; i < 2; ++i)
        block.template mma<E>([&](int t) { return sums(t)[2 * j + i]; }, [&](int t) { return held[t].a; }, [&](int t) { return held[t].b + 2 * i; });
    }
  }
}

/// to(t) (16, kWidth) += factor(t) (16, kColumns) b, rounded to E. Lines of b are what the sums run over, of kWidth elements and 16 bytes more.
template <class E, int kWidth, int kColumns, class Block, class Held, class To, class Factor>
TENON_BODY void add_rows(Block& block, Held& held, To&& to, Factor&& factor, const char* b) {
  TENON_UNROLL
  for (int i = 0; i < kColumns / 16; ++i) {
    block.own([&](int t) {
      TENON_UNROLL
      for (int r = 0; r < 4; ++r) held[t].a[r] = pair_of<E>(factor(t)[2 * i + r / 2][r % 2 * 2], factor(t)[2 * i + r / 2][r % 2 * 2 + 1]);
    });
    TENON_UNROLL
    for (int j = 0; j < kWidth / 16; ++j) {
      block.template load_matrices<true>([&](int t) { return held[t].b; }, [&](int t) { return address_b_transposed(b, 2 * kWidth + 16, 16 * j, 16 * i, t); });
      TENON_UNROLL
      for (int n = 0; n < 2; ++n)
        block.template mma<E>([&](int t) { return to(t)[2 * j + n]; }, [&](int t) { return held[t].a; }, [&](int t) { return held[t].b + 2 * n; });
    }
  }
}

}  // namespace tenon::cuda
