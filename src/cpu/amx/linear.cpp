// AMX: the linear over bf16 and int8 weights.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::amx {
namespace {

constexpr int kRowBlock = 32, kRegisters = 2;  // 2 x 2 tiles of sums; every tile loaded once for two products
constexpr int kChunkBytes = 768 << 10;

#define TENON_VEC_BF16
// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/avx512/fast_gelu.inl.h"
#include "cpu/avx512_bf16/bfloat16.inl.h"
#include "cpu/avx512_vnni/int8.inl.h"
#include "cpu/amx/tiles.inl.h"
#include "cpu/amx/panels.inl.h"
// clang-format on

// One row in bf16 is multiplied by tiles too: their sums are made in another order than those of vectors, and a row's result must not
// depend on how many others there are.
using TiledBfloat16 = ByTiles<Bfloat16, PairsOfBf16>;

/// Integers are the same either way.
struct TiledInt8 : ByTiles<Int8, SignedByUnsigned> {
  static void product(char* sums, const RowsView& x, int64_t m, int rows, int64_t u, const char* w, int64_t registers, int64_t depth,
                      bool add, Ahead& next) {
    if (rows > kFewRows) return ByTiles::product(sums, x, m, rows, u, w, registers, depth, add, next);
    tile_of<TiledInt8, kFewRows>(rows, registers)(sums, x.row(m) + u * 4, x.stride, w, depth, add, next);
  }
  static constexpr int kFewRows = 2;
};

}  // namespace

void fill_linear(Kernels& k) {
  Entries<TiledBfloat16>::fill(k);
  Entries<TiledInt8>::fill(k);
}

}  // namespace tenon::cpu::amx
