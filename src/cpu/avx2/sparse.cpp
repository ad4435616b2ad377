// AVX2: the linear over weights that are mostly zero.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::avx2 {
namespace {

constexpr int kMostVectors = 8;  // a chunk of 128 columns and 64 rows is 32 KB; 12 registers were slower

// Each builds on the ones before.
// clang-format off
#include "cpu/avx2/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/sparse.inl.h"
// clang-format on

}  // namespace

void fill_sparse(Kernels&);

void fill_sparse(Kernels& k) {
  k.sparse_packed_bytes = sparse_packed_bytes;
  k.sparse_pack = sparse_pack;
  k.sparse_unpack = sparse_unpack;
  k.sparse_scratch = sparse_scratch;
  k.sparse_linear = sparse_linear;
}

}  // namespace tenon::cpu::avx2
