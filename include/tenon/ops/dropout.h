// Dropout: some elements become 0, the others grow so that the mean stays.
#pragma once

#include <cmath>

#include "tenon/ops/checks.h"

namespace tenon::ops {

namespace detail {

/// A dropout of `elements` numbers that nobody else draws. Errors: Error(Limit) unless p is in [0, 1].
inline Dropout draw_dropout(Context& ctx, float p, int64_t elements, std::string_view op) {
  check(p >= 0 && p <= 1, ErrorCode::Limit, op, "p: expected 0 to 1, got ", p);
  Random& random = ctx.random();
  const auto below = static_cast<uint32_t>(std::lround(static_cast<double>(p) * 65536));
  return {.seed = random.seed(),
          .stream = random.stream(),
          .first = random.take_blocks(static_cast<uint64_t>((elements + 7) / 8)),
          .below = below,
          .scale = below < 65536 ? 65536.0f / static_cast<float>(65536 - below) : 0.0f};
}

inline Tensor dropped(Context& ctx, const Tensor& x, const Dropout& d) {
  check_here(ctx, "dropout", x);
  Tensor y = ctx.empty(x.shape(), x.dtype());
  const auto size = static_cast<int64_t>(size_of(x.dtype()));
  const auto* from = static_cast<const char*>(x.address());
  auto* to = static_cast<char*>(y.address());
  // Whole blocks of numbers per thread: the split does not change what is dropped, but shared blocks would be made twice.
  ctx.over_rows((x.numel() + 7) / 8, 16, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * 8, n = std::min(x.numel(), end * 8) - first;
    ctx.kernels().dropout(to + first * size, from + first * size, d, first, n, x.dtype());
  });
  return y;
}

}  // namespace detail

/// y = x / (1 - p) where a random number is at least p, else 0; x itself unless ctx.training().dropout. The numbers are the context's
/// next ones and do not depend on the number of threads. The gradient draws them again, nothing is kept.
/// Shapes: x (...) f32|bf16 -> (...).
/// Units: p in [0, 1], to 1/65536.
/// Errors: Error(Type), Error(Limit).
/// Source: torch.nn.functional.dropout.
inline Tensor dropout(Context& ctx, const Tensor& x, float p) {
  if (!ctx.training().dropout || p == 0) return x;
  detail::check_f32_or_bf16(x, "dropout", "x");
  const Dropout d = detail::draw_dropout(ctx, p, x.numel(), "dropout");
  Tensor y = detail::dropped(ctx, x, d);
  if (recording(ctx, "dropout", x))
    ctx.recorder()->record("dropout", {y}, {x},
                           [d](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> { return {detail::dropped(c, dy[0], d)}; });
  return y;
}

}  // namespace tenon::ops
