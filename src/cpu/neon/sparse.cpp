// Advanced SIMD: the linear over weights that are mostly zero.
#include <arm_neon.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::neon {
namespace {

constexpr int kMostVectors = 8;  // a chunk of 128 columns and 32 rows is 16 KB

// Each builds on the ones before.
// clang-format off
#include "cpu/neon/vec.h"
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

}  // namespace tenon::cpu::neon
