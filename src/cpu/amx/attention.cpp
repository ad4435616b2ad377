// AMX: attention over bf16 tensors with both products in tiles.
#include <immintrin.h>

#include "cpu/fillers.h"

namespace tenon {
namespace cpu::avx512 {

void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch);
size_t attention_scratch(const AttentionCall& c, int64_t T, int64_t S);

}  // namespace cpu::avx512

namespace cpu::amx {

void fill_linear(Kernels&);     // linear.cpp
void fill_quantized(Kernels&);  // quantized.cpp

namespace {

#define TENON_VEC_BF16
// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/lanes.inl.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/tile.inl.h"
#include "cpu/avx512/wide.h"
#include "cpu/generic/dropout.inl.h"
#include "cpu/generic/attention.inl.h"
#include "cpu/generic/attention_few.inl.h"
#include "cpu/avx512_bf16/operands.inl.h"
#include "cpu/avx512_bf16/few_pairs.inl.h"
#include "cpu/amx/tiles.inl.h"
// clang-format on

/// The product of tile.inl.h by tiles of 16 rows and up to four of columns; k counts in units of two bf16.
struct MultiplyTiles {
  static constexpr bool kTiled = true;

  template <int vectors>
  static void multiply(float* c, int64_t ldc, const float* a, int64_t row_step, int64_t, const float* b, int64_t ldb, int64_t K,
                       bool accumulate) {
    using Sums = TileSums<1, vectors>;
    if (accumulate)
      Sums::load(reinterpret_cast<const char*>(c), ldc * 4, 0);
    else
      Sums::clear();
    for (int64_t k = 0; k < K; k += kTile, a += kTile, b += kTile * ldb) {
      const char* const rows[1] = {reinterpret_cast<const char*>(a)};
      Sums::template add<PairsOfBf16>(rows, row_step * 4, reinterpret_cast<const char*>(b), ldb * 4);
    }
    Sums::store(reinterpret_cast<char*>(c), ldc * 4, 0);
  }
  static TileFunction tile_for(int64_t vectors) {
    return vectors >= 4 ? multiply<4> : vectors == 3 ? multiply<3> : vectors == 2 ? multiply<2> : multiply<1>;
  }
};

using Operands = Bf16Operands<MultiplyTiles>;

size_t attention_scratch(const AttentionCall& c, int64_t T, int64_t S) {
  if (c.type != DType::BF16) return avx512::attention_scratch(c, T, S);
  return scratch_bytes<Operands>(c, S);
}

void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  if (c.type != DType::BF16) return avx512::attention(c, b, h, begin, end, scratch);
  const TileState state;
  attend<Operands, FewPairs<Operands>>(c, b, h, begin, end, scratch);
}

}  // namespace
}  // namespace cpu::amx

void fill_amx(Kernels& k) {
  k.attention_scratch = cpu::amx::attention_scratch;
  k.attention = cpu::amx::attention;
  cpu::amx::fill_linear(k);
  cpu::amx::fill_quantized(k);
}

}  // namespace tenon
