// Launches of what computes with e4m3: quantisation by blocks, products of two such factors, and rows that are rounded for a product.
#include <algorithm>
#include <type_traits>

#include "bodies/fp8_quantize.h"
#include "bodies/fp8_tile.h"
#include "bodies/weights.h"
#include "fillers.h"
#include "grouped.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

using scalar::with_float;

int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

template <class E>
void quantize(const QuantizeBlocks<E>& c) {
  const int64_t G = c.G(), blocks = blocks_of(c.P, c.rows) * G;
  if (c.rows == 1 && !c.transposed) {
    constexpr int kWide = 16 / static_cast<int>(sizeof(E)) < 4 ? 16 / static_cast<int>(sizeof(E)) : 4;  // 128 columns: 4 to a lane
    const auto run = [&](auto width) {
      using Body = QuantizeRowBlocksBody<E, decltype(width)::value>;
      launch(blocks_of(blocks, Body::kWarps), 1, Body::kThreads, 0, Body{c});
    };
    const bool wide = c.Q % kWide == 0 && c.columns % kWide == 0 && aligned({c.x}, sizeof(E) * kWide) && aligned({c.q}, kWide);
    return wide ? run(Width<kWide>{}) : run(Width<1>{});
  }
  using Tiles = QuantizeTilesBody<E>;
  if (c.columns <= Tiles::kMost && c.rows <= Tiles::kMost && G < 65536) {
    const int64_t rows = c.rows == 1 ? 32 : c.rows;
    return launch(blocks_of(c.P, rows), G, Tiles::kThreads, Tiles::kShared, Tiles{c, rows});
  }
  check(blocks < 65536, ErrorCode::Limit, "quantize_blocks_fp8", "too many blocks of ", c.rows, " by ", c.columns, ": ", blocks);
  const int64_t parts = std::clamp<int64_t>(4 * multiprocessors() / blocks, 1, blocks_of(c.rows * c.columns, 4096));
  const Scratch largest(static_cast<size_t>(blocks * parts) * sizeof(float));
  launch(parts, blocks, Fp8PartBody<E>::kThreads, 0, Fp8PartBody<E>{c, largest.as<float>(), parts});
  launch_elements(blocks, Fp8ScaleBody{c.scale, largest.as<float>(), parts});
  launch_elements(c.P * c.Q, Fp8CodeBody<E>{c});
}

void quantize_blocks_fp8(float8* q, float* scale, const void* x, int64_t N, int64_t C, int64_t rows, int64_t columns, bool transposed, DType type) {
  if (N == 0 || C == 0) return;
  const int64_t P = transposed ? C : N, Q = transposed ? N : C;
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    quantize(QuantizeBlocks<E>{q, scale, static_cast<const E*>(x), P, Q, std::min(rows, P), std::min(columns, Q), transposed});
  });
}

void product(const GroupedProduct& c, const Fp8Scales& x, const Fp8Scales& w, int64_t w_stride, int64_t w_scales_at) {
  if (fp8_product_by_wgmma(c, x, w, w_stride, w_scales_at)) return;
  const auto with_height = [&](auto height) {
    using Body = Fp8TileBody<decltype(height)::value>;
    launch(c.groups.most_tiles(Body::kRows), blocks_of(c.gated ? 2 * c.N : c.N, kMmaColumns), Body::kThreads, Body::kShared,
           Body{c, x, w, w_stride, w_scales_at});
  };
  const int64_t each = c.groups.rows / (c.groups.start ? c.groups.count : 1);
  if (each <= 48) with_height(Width<1>{});
  else with_height(Width<4>{});
}

void fp8_matmul(const Fp8MatmulCall& c) {
  if (c.M == 0 || c.N == 0) return;
  const int64_t G = blocks_of(c.K, c.block);
  GroupedProduct p;
  p.y = c.c, p.x = c.a, p.y_type = c.c_type, p.N = c.N, p.K = c.K, p.accumulate = c.accumulate;
  p.groups.count = 1, p.groups.rows = c.M, p.groups.one_w = c.b;
  product(p, {c.a_scale, c.a_rows, c.block, G}, {c.b_scale, c.b_rows, c.block, G}, c.K, 0);
}

}  // namespace

void fp8_rows_product(const GroupedProduct& c, bool few) {
  constexpr int64_t kBlock = 128;
  const int64_t M = c.groups.rows, G = blocks_of(c.K, kBlock);
  const Scratch codes(static_cast<size_t>(M * c.K)), scales(static_cast<size_t>(M * G) * sizeof(float));
  quantize_blocks_fp8(codes.as<float8>(), scales.as<float>(), c.x, M, c.K, 1, kBlock, false, c.type);
  GroupedProduct q = c;
  if (!few) {
    const GroupedLayout at(WeightFormat::Fp8, c.gated ? 2 * c.N : c.N, c.K, c.group);
    q.x = codes.as<void>();
    return product(q, {scales.as<float>(), 1, kBlock, G}, {nullptr, 1, c.group, at.G}, at.row_bytes, at.scales_at());
  }
  // The weights' bytes are what takes time: they are read by the kernel for that, and the rounded rows as float32.
  const Scratch rows(static_cast<size_t>(M * c.K) * sizeof(float));
  launch_elements(M * c.K, Fp8WidenBody{rows.as<float>(), codes.as<float8>(), scales.as<float>(), c.K});
  q.x = rows.as<void>(), q.type = DType::F32, q.fp8_rows = false;
  grouped_product(q, WeightFormat::Fp8, false);
}

void fill_fp8(Kernels& k) {
  k.quantize_blocks_fp8 = quantize_blocks_fp8;
  k.fp8_matmul = fp8_matmul;
}

}  // namespace tenon::cuda
