// Launches of products whose rows meet the weights of their groups, and of products with packed weights.
#include "grouped.h"

#include <type_traits>

#include "bodies/few_rows.h"
#include "bodies/mma_tile.h"
#include "bodies/unit_tile.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

int64_t tiles_of(int64_t n, int64_t tile) { return (n + tile - 1) / tile; }
int64_t lines_of(const GroupedProduct& c) { return c.gated ? 2 * c.N : c.N; }  // with half a tile for the gates, as many tiles

/// Few rows to a group on average: the weights' bytes are what takes time.
bool few_rows(const GroupedProduct& c) { return c.groups.rows <= 2 * kFewRows * (c.groups.start ? c.groups.count : 1); }

template <class W>
void launch_few(const GroupedProduct& c) {
  launch(c.groups.most_tiles(kFewRows), tiles_of(lines_of(c), kFewColumns), kFewThreads, 0, FewRowsBody<W, kFewRows>{c});
}

template <class E, class W, bool kTransposed>
void launch_mma(const GroupedProduct& c) {
  const auto with_height = [&](auto height) {
    using Body = MmaTileBody<E, W, decltype(height)::value, kTransposed>;
    launch(c.groups.most_tiles(Body::kRows), tiles_of(lines_of(c), kMmaColumns), Body::kThreads, Body::kShared, Body{c});
  };
  const int64_t each = c.groups.rows / (c.groups.start ? c.groups.count : 1);
  if (each <= 48) with_height(Width<1>{});
  else with_height(Width<4>{});
}

template <class W, bool kTransposed>
void launch_units(const GroupedProduct& c) {
  launch(c.groups.most_tiles(kUnitTile), tiles_of(lines_of(c), kUnitTile), kUnitThreads, kUnitShared, UnitTileBody<W, kTransposed>{c});
}

template <class W>
void quantised(const GroupedProduct& c) {
  if (few_rows(c)) return launch_few<W>(c);
  if (c.type == DType::BF16) return launch_mma<bfloat16, W, false>(c);
  if (c.type == DType::F16) return launch_mma<float16, W, false>(c);
  launch_units<W, false>(c);
}

/// Rows and weights of the same 16 bits.
template <class E>
void launch_same(const GroupedProduct& c, bool transposed) {
  if (product_by_wgmma(c, transposed)) return;
  if (transposed) launch_mma<E, PlainWeight<E>, true>(c);
  else launch_mma<E, PlainWeight<E>, false>(c);
}

template <class E>
void plain(const GroupedProduct& c, bool transposed) {
  constexpr bool kHalf = sizeof(E) == 2;
  if constexpr (kHalf) {
    if (!transposed && c.K % 8 == 0 && few_rows(c)) return launch_few<PlainWeight<E>>(c);
    if (c.type == DType::BF16) return launch_same<E>(c, transposed);
  }
  if (transposed) launch_units<PlainWeight<E>, true>(c);
  else launch_units<PlainWeight<E>, false>(c);
}

void int8_product(const GroupedProduct& c) {
  if (c.K % 16 == 0 && aligned({c.x}, 16) && few_rows(c))
    return launch(c.groups.most_tiles(kFewRows), tiles_of(lines_of(c), kFewColumns), kFewThreads, 0, FewInt8RowsBody<kFewRows>{c});
  launch_mma<int8_t, PlainWeight<int8_t>, false>(c);
}

}  // namespace

void grouped_product(const GroupedProduct& c, WeightFormat format, bool transposed) {
  if (c.groups.rows == 0 || c.N == 0 || c.groups.count == 0) return;
  check(!transposed || (!c.gated && (format == WeightFormat::F32 || format == WeightFormat::BF16)), ErrorCode::Device, "grouped_linear",
        "transposed weights: expected float32 or 16 bits, without a gate");
  switch (format) {
    case WeightFormat::F32: return plain<float>(c, transposed);
    case WeightFormat::BF16: return c.type == DType::F16 ? launch_same<float16>(c, transposed) : plain<bfloat16>(c, transposed);
    case WeightFormat::Int4: return quantised<Int4Weight>(c);
    case WeightFormat::Fp8: return c.fp8_rows ? fp8_rows_product(c, few_rows(c)) : quantised<Fp8Weight>(c);
    case WeightFormat::Int8: break;
  }
  if (c.x_scale) return int8_product(c);
  const Scratch rows(static_cast<size_t>(c.groups.rows * c.K)), scales(static_cast<size_t>(c.groups.rows) * sizeof(float));
  quantize_rows_int8(rows.as<int8_t>(), scales.as<float>(), c.x, c.groups.rows, c.K, c.type);
  GroupedProduct q = c;
  q.x = rows.as<void>(), q.x_scale = scales.as<float>();
  int8_product(q);
}

namespace {

void grouped_linear(const GroupedLinearCall& c) {
  GroupedProduct p{c.y, c.x, {c.start, c.w, c.w_scale, c.groups, c.M, nullptr, nullptr}, c.type, c.y_type, c.N, c.K, c.group};
  p.act = c.act, p.gated = c.gated, p.accumulate = c.accumulate, p.fp8_rows = c.fp8_rows;
  grouped_product(p, c.format, c.transposed);
}

void grouped_gradient(const GroupedGradCall& c) {
  if (c.groups == 0 || c.N == 0 || c.K == 0) return;
  const auto run = [&](int64_t rows, int64_t columns, size_t shared, auto make) {
    const int64_t tiles = tiles_of(c.N, rows);
    const auto body = make(tiles);
    launch(c.groups * tiles, tiles_of(c.K, columns), body.kThreads, shared, body);
  };
  if (c.type == DType::F32) return run(kUnitTile, kUnitTile, kUnitShared, [&](int64_t tiles) { return UnitGradBody{c, tiles}; });
  if (gradient_by_wgmma(c)) return;
  const auto mma = [&](auto* tag) {
    using Body = MmaGradBody<std::remove_pointer_t<decltype(tag)>>;
    run(Body::kRows, kMmaColumns, Body::kShared, [&](int64_t tiles) { return Body{c, tiles}; });
  };
  if (c.type == DType::BF16) mma(static_cast<bfloat16*>(nullptr));
  else mma(static_cast<float16*>(nullptr));
}

}  // namespace

void fill_grouped(Kernels& k) {
  k.grouped_linear = grouped_linear;
  k.grouped_gradient = grouped_gradient;
}

}  // namespace tenon::cuda
