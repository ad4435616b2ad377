// A matrix product in the terms of cuBLASLt, and how the seam's calls become one.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon::cuda {

/// D (m,n) = op(A) op(B) + beta C + bias, all column-major: element (i, j) of a matrix of leading dimension ld is at j * ld + i. op(A) is
/// (m,k), op(B) (k,n); bias has an element for each of the m rows. Sums are float32.
struct Gemm {
  void* d = nullptr;
  const void *a = nullptr, *b = nullptr, *c = nullptr;  // c may be d
  const float* bias = nullptr;                          // or nullptr; only with d float32
  DType type = DType::F32, d_type = DType::F32;         // of a and b; of c and d: float32, or that of a and b
  bool trans_a = false, trans_b = false;
  int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldd = 0;
  float beta = 0;
};

/// A row-major matrix is the column-major one of its transpose: c = a b becomes c^T = b^T a^T.
inline Gemm plan_matmul(const MatmulCall& c) {
  Gemm g;
  g.d = c.c, g.c = c.c, g.a = c.b, g.b = c.a;
  g.type = c.type, g.d_type = c.c_type;
  g.trans_a = c.trans_b, g.trans_b = c.trans_a;
  g.m = c.N, g.n = c.M, g.k = c.K;
  g.lda = c.trans_b ? c.K : c.N, g.ldb = c.trans_a ? c.M : c.K, g.ldd = c.N;
  g.beta = c.accumulate ? 1.0f : 0.0f;
  return g;
}

/// Does it on the thread's stream: cublaslt.cu, or loops in the tests' emulation. Errors: Error(Device), Error(Memory).
void gemm(const Gemm& g);

}  // namespace tenon::cuda
