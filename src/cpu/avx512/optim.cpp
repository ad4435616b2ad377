// AVX-512: steps of optimisers.
#include <immintrin.h>

#include "cpu/fillers.h"

namespace tenon::cpu::avx512 {
namespace {

// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/lanes.inl.h"
#include "cpu/generic/optim.inl.h"
// clang-format on

}  // namespace

void fill_optim(Kernels&);

void fill_optim(Kernels& k) {
  k.adamw = adamw;
  k.sgd = sgd;
  k.lion = lion;
  k.sum_of_squares = sum_of_squares;
}

}  // namespace tenon::cpu::avx512
