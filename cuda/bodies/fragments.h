// Who holds what of a tensor core's product: c (16,8) += a (16,K) b (K,8), K = 32 bytes of elements (16 of 16 bits, 32 of 8).
//
// Thread t of a warp, with group = t / 4 and lane = t % 4; a register of a and b has R neighbours along k (2 of 16 bits, 4 of 8):
//
//   a[0]: row group,      k from lane R            a[2]: row group,      k from (4 + lane) R
//   a[1]: row group + 8,  k from lane R            a[3]: row group + 8,  k from (4 + lane) R
//   b[0]: column group,   k from lane R            b[1]: column group,   k from (4 + lane) R
//   c[0], c[1]: row group, columns 2 lane, 2 lane + 1         c[2], c[3]: row group + 8, the same columns
//
// Source: the PTX instruction set, "Matrix fragments for mma.m16n8k16" and "m16n8k32".
#pragma once

#include <type_traits>

#include "block.h"

namespace tenon::cuda {

/// The row of c[i], and its column.
TENON_BODY int row_of_sum(int t, int i) { return t % kWarp / 4 + i / 2 * 8; }
TENON_BODY int column_of_sum(int t, int i) { return t % 4 * 2 + i % 2; }

/// Two elements as a register.
template <class E>
TENON_BODY uint32_t pair_of(float low, float high) {
#ifdef __CUDA_ARCH__
  uint32_t pair;  // in one instruction
  if constexpr (std::is_same_v<E, bfloat16>) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return static_cast<uint32_t>(Rounded<E>::from(low).bits) | static_cast<uint32_t>(Rounded<E>::from(high).bits) << 16;
#endif
}

/// A tile in shared memory whose lines are k (rows of the tile beside each other): line r begins at base + r * stride. The addresses that
/// load_matrices() wants, for the 16 rows from `row` on and the 32 bytes of k from byte `k` on.
///
///   as a:  matrix 0 | 2     rows 0-7, bytes 0-15 | 16-31        as b, of 16 columns:  matrix 0 | 1    columns 0-7
///          matrix 1 | 3     rows 8-15                                                 matrix 2 | 3    columns 8-15
template <class T>
TENON_BODY T* address_a(T* base, int stride, int row, int k, int t) {
  return base + (row + t % 16) * stride + k + t / 16 % 2 * 16;
}
template <class T>
TENON_BODY T* address_b(T* base, int stride, int column, int k, int t) {
  return base + (column + t % 8 + t / 16 % 2 * 8) * stride + k + t / 8 % 2 * 16;
}
/// The same where the lines are k and rows or columns run along them (16 bits only; loaded transposed): line k begins at base + k * stride.
template <class T>
TENON_BODY T* address_a_transposed(T* base, int stride, int row, int k, int t) {
  return base + (k + t % 8 + t / 16 % 2 * 8) * stride + (row + t / 8 % 2 * 8) * 2;
}
template <class T>
TENON_BODY T* address_b_transposed(T* base, int stride, int column, int k, int t) {
  return base + (k + t % 16) * stride + (column + t / 16 % 2 * 8) * 2;
}

}  // namespace tenon::cuda
