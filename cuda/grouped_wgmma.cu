// Launches of grouped products and products of FP8 factors by Hopper's wgmma: which shapes have enough rows and columns for its tiles.
#include "bodies/wgmma_fp8.h"
#include "bodies/wgmma_tile.h"
#include "grouped.h"
#include "hopper.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

int64_t tiles_of(int64_t n, int64_t tile) { return (n + tile - 1) / tile; }

template <class Body>
bool launch_tiles(const GroupedProduct& c, WgmmaUse use, bool trial, Body body) {
  const int64_t lines = c.gated ? 2 * c.N : c.N, each = c.groups.rows / (c.groups.start ? c.groups.count : 1);
  if (c.K == 0 || each < kWgmmaRows / 2 || lines < Body::kColumns / 2) return false;  // tiles would be empty for the most part
  if (!trial && !uses_wgmma(use)) return false;
  body.order.columns = tiles_of(lines, Body::kColumns);
  launch(body.order.blocks(c.groups.most_tiles(kWgmmaRows)), 1, Body::kThreads, Body::kShared, body);
  return true;
}

template <class E>
bool product_of(const GroupedProduct& c, bool transposed, bool trial) {
  return transposed ? launch_tiles(c, WgmmaUse::Grouped, trial, WgmmaTileBody<E, true>{c, {}})
                    : launch_tiles(c, WgmmaUse::Grouped, trial, WgmmaTileBody<E, false>{c, {}});
}

template <class E>
bool gradient_of(const GroupedGradCall& c) {
  using Body = WgmmaGradBody<E>;
  const Body body{c, tiles_of(c.N, Body::kRows), tiles_of(c.K, Body::kColumns)};
  launch(c.groups * body.rows * body.columns, 1, Body::kThreads, Body::kShared, body);
  return true;
}

}  // namespace

bool product_by_wgmma(const GroupedProduct& c, bool transposed, bool trial) {
  return c.type == DType::BF16 ? product_of<bfloat16>(c, transposed, trial) : product_of<float16>(c, transposed, trial);
}

bool linear_by_wgmma(const LinearCall& c) {
  constexpr int64_t kColumns = WgmmaTileBody<bfloat16, false>::kColumns;
  const bool enough = tiles_of(c.M, kWgmmaRows) * tiles_of(c.N, kColumns) >= multiprocessors();
  return enough && c.type == DType::BF16 && c.K % 8 == 0 && product_by_wgmma(product_of(c), false);
}

bool gradient_by_wgmma(const GroupedGradCall& c, bool trial) {
  if (c.N < kWgmmaRows / 2 || c.K < kWgmmaRows || (!trial && !uses_wgmma(WgmmaUse::Grouped))) return false;
  return c.type == DType::BF16 ? gradient_of<bfloat16>(c) : gradient_of<float16>(c);
}

bool fp8_product_by_wgmma(const GroupedProduct& c, const Fp8Scales& x, const Fp8Scales& w, int64_t w_stride, int64_t w_scales_at, bool trial) {
  const auto whole = [&](int64_t block) { return block % WgmmaFp8Body::kDepth == 0 || block >= c.K; };
  return whole(x.block) && whole(w.block) && launch_tiles(c, WgmmaUse::Fp8, trial, WgmmaFp8Body{c, x, w, w_stride, w_scales_at, {}});
}

}  // namespace tenon::cuda
