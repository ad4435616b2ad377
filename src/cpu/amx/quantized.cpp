// AMX: Int4 and Fp8 weights. They are packed as avx512/quantized.cpp packs them.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::amx {
namespace {

constexpr int kRowBlock = 32, kRegisters = 3;  // registers as in avx512/linear.cpp
constexpr int kChunkBytes = 768 << 10;

#define TENON_VEC_BF16
// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
#include "cpu/avx512/fast_gelu.inl.h"
#include "cpu/avx512_bf16/bfloat16.inl.h"
#include "cpu/generic/panel_grouped.inl.h"
#include "cpu/avx512/quantized_ops.inl.h"
#include "cpu/avx512_vnni/dot_products.inl.h"
#include "cpu/generic/quantized_int8.inl.h"
#include "cpu/amx/tiles.inl.h"
#include "cpu/amx/panels.inl.h"
// clang-format on

/// Int8Rows by tiles: a group's codes become signed bytes less their zero, so that integers need nothing but the scale afterwards. While
/// the tiles of some rows are multiplied, those before are scaled and added up. One or two rows stream as they do without tiles, to the
/// same bits.
struct TiledInt8Rows : Int8Rows<DotProducts> {
  static constexpr int64_t kRows = 96, kChunkRows = kRows, kBeyond = kTile - 1;
  static constexpr int64_t kGroupStep = 4 * kTile;  // a tile's worth of k
  using State = TileState;

  static void expand(char* room, const char* codes, const char* scales, int width, int64_t group) {
    const int64_t pair = width * 4;
    prefetch_next(codes, group / 8 * pair);
    const __m512i spread = _mm512_set1_epi32(0x01010101);
    for (int i = 0; i < width; i += kLanes, codes += 64, room += 64) {
      const __m128i zeros = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + 2 * width + i));
      const Ops::Register zero = _mm512_mullo_epi32(_mm512_cvtepu8_epi32(zeros), spread);
      for (int64_t k = 0; k < group / 8; ++k) {
        const Ops::Register r = Ops::load(codes + k * pair);
        Ops::store(room + 2 * k * pair, _mm512_sub_epi8(Ops::low(r), zero));
        Ops::store(room + (2 * k + 1) * pair, _mm512_sub_epi8(Ops::high(r), zero));
      }
    }
  }

  template <int NR>
  static void products(int32_t* dots, const char* x, int64_t stride, const char* room, int64_t group) {
    using Sums = TileSums<1, NR>;
    Sums::clear();
    for (int64_t k = 0; k < group; k += kGroupStep, x += 64, room += kTile * NR * 64) {
      const char* const rows[1] = {x};
      Sums::template add<SignedBySigned>(rows, stride, room, NR * 64);
    }
    Sums::store(reinterpret_cast<char*>(dots), NR * 64, 0);
  }
  template <int NR>
  static void add_rows(float* sums, const int32_t* dots, int64_t rows, const vf (&scale)[NR], const float* step, int64_t groups, bool add) {
    for (int64_t r = 0; r < rows; ++r, sums += kPanel, dots += NR * kLanes) {
      const vf s = set1(step[r * groups]);
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) {
        const vf before = add ? load(sums + j * kLanes, Full{}) : zero();
        store(sums + j * kLanes, fma(Ops::to_float(_mm512_load_si512(dots + j * kLanes)), scale[j] * s, before), Full{});
      }
    }
  }
  template <int NR = kRegisters>
  static void multiply_rows(const GroupedJob<TiledInt8Rows>& job, float* sums, int64_t m, int64_t rows, int64_t g, const char* room,
                            const char* scales, int64_t registers) {
    if constexpr (NR > 1)
      if (registers < NR) return multiply_rows<NR - 1>(job, sums, m, rows, g, room, scales, registers);
    const GroupLayout& l = job.layout;
    alignas(64) int32_t dots[2][kTile * NR * kLanes];
    vf scale[NR];
#pragma GCC unroll 3
    for (int j = 0; j < NR; ++j) scale[j] = load(reinterpret_cast<const float16*>(scales) + j * kLanes, Full{});
    const char* x = job.x.data + m * job.x.stride + g * l.group;
    const float* step = job.x.scale + m * l.groups + g;
    products<NR>(dots[0], x, job.x.stride, room, l.group);
    for (int64_t r = 0; r < rows; r += kTile) {
      if (r + kTile < rows) products<NR>(dots[r / kTile % 2 ^ 1], x + (r + kTile) * job.x.stride, job.x.stride, room, l.group);
      add_rows<NR>(sums + r * kPanel, dots[r / kTile % 2], min_of(kTile, rows - r), scale, step + r * l.groups, l.groups, g > 0);
    }
  }
  static void multiply(const GroupedJob<TiledInt8Rows>& job, float* sums, int64_t m, int64_t rows, int64_t g, const char* room,
                       const char* scales, int width) {
    multiply_rows(job, sums, m, rows, g, room, scales, width / kLanes);
  }
};

using TiledBfloat16 = ByTiles<Bfloat16, PairsOfBf16>;

}  // namespace

void fill_quantized(Kernels& k) {
  using E = QuantizedEntries;
  for (const int bf16 : {0, 1}) E::table[0][bf16][1] = E::ways<TiledInt8Rows>(TiledInt8Rows::kGroupStep);
  E::table[0][1][0] = E::ways<Dequantised<TiledBfloat16, Int4Codes<Ops>>>(2 * kTile);
  E::table[1][1][0] = E::ways<Dequantised<TiledBfloat16, Fp8Codes<Ops>>>(2 * kTile);
  E::fill(k);
}

}  // namespace tenon::cpu::amx
