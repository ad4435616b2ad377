// What the ops share: checks of their inputs, and sums over rows that do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/error.h"
#include "tenon/core/tensor.h"

namespace tenon::ops {

/// True if one of the tensors wants a gradient.
/// Errors: Error(Type) if one that wants it is not float32: the backward kernels know nothing else.
template <class... Tensors>
bool recording(const Context& ctx, std::string_view op, const Tensors&... tensors) {
  const auto wanted = [&](const Tensor& t) {
    if (!ctx.wants(t)) return false;
    check(t.dtype() == DType::F32, ErrorCode::Type, op, "gradient: expected a float32 input, got ", t.describe());
    return true;
  };
  return ctx.recorder() && (static_cast<int>(wanted(tensors)) + ...) > 0;
}

/// For ops that have no backward.
/// Errors: Error(Type) naming the op if one of the tensors wants a gradient.
template <class... Tensors>
void no_gradient(const Context& ctx, std::string_view op, const Tensors&... tensors) {
  check(!ctx.wants_any(tensors...), ErrorCode::Type, op, "gradient: this op has no backward, but an input wants a gradient");
}

namespace detail {

/// Errors: Error(Device) naming the op unless all tensors lie where the Context computes.
template <class... Tensors>
void check_here(const Context& ctx, std::string_view op, const Tensors&... tensors) {
  const auto here = [&](const Tensor& t) {
    check(!t.defined() || t.device() == ctx.device(), ErrorCode::Device, op, "expected tensors on ", ctx.device(), ", got ", t.describe());
  };
  (here(tensors), ...);
}

/// Numbers of the host where the Context's kernels can read them.
template <class Number>
class OnDevice {
 public:
  OnDevice(Context& ctx, std::span<const Number> host) : numbers_(host.data()) {
    if (ctx.device().is_cpu() || host.empty()) return;
    copy_ = ctx.staged(host.data(), host.size_bytes());
    numbers_ = static_cast<const Number*>(std::as_const(copy_).address());
  }
  const Number* data() const { return numbers_; }

 private:
  const Number* numbers_;
  Tensor copy_;
};
using Numbers = OnDevice<int64_t>;

/// A tensor seen as a matrix: its last dimension, and all others flattened.
struct Matrix {
  int64_t N, C;
};

inline Matrix matrix_of(const Tensor& x, std::string_view op, std::string_view what) {
  check(x.defined() && x.rank() >= 1, ErrorCode::Shape, op, what, ": expected at least one dimension, got ", x.describe());
  const int64_t C = x.size(-1);
  if (C > 0) return {x.numel() / C, C};
  int64_t N = 1;
  for (int i = 0; i + 1 < x.rank(); ++i) N *= x.size(i);
  return {N, C};
}

/// The shape with another last dimension.
inline Shape with_last(const Shape& shape, int64_t C) {
  Shape s(shape.begin(), shape.end() - 1);
  s.append(C);
  return s;
}

inline void check_f32(const Tensor& x, std::string_view op, std::string_view what) {
  check(x.defined() && x.dtype() == DType::F32, ErrorCode::Type, op, what, ": expected float32, got ", x.describe());
}

inline void check_f32_or_bf16(const Tensor& x, std::string_view op, std::string_view what) {
  check(x.defined() && (x.dtype() == DType::F32 || x.dtype() == DType::BF16), ErrorCode::Type, op, what,
        ": expected float32 or bfloat16, got ", x.describe());
}

inline void check_same(const Tensor& a, const Tensor& b, std::string_view op, std::string_view what) {
  check(b.defined() && a.shape() == b.shape(), ErrorCode::Shape, op, what, ": expected ", a.shape(), ", got ", b.describe());
  check(a.dtype() == b.dtype(), ErrorCode::Type, op, what, ": expected ", name_of(a.dtype()), ", got ", name_of(b.dtype()));
}

/// A parameter vector of float32 with C elements.
inline void check_vector(const Tensor& w, int64_t C, std::string_view op, std::string_view what) {
  check_f32(w, op, what);
  check(w.rank() == 1 && w.numel() == C, ErrorCode::Shape, op, what, ": expected (", C, ",), got ", w.shape());
}

inline void check_index(std::span<const int64_t> index, int64_t rows, std::string_view op, std::string_view what) {
  for (size_t i = 0; i < index.size(); ++i)
    check(index[i] >= 0 && index[i] < rows, ErrorCode::Limit, op, what, ": expected 0 to ", rows - 1, ", got ", index[i], " at position ",
          i);
}

inline Tensor scalar(Context& ctx, double value) {
  Tensor t = ctx.empty({}, DType::F32);
  const float v = static_cast<float>(value);
  cuda::copy(t.address(), ctx.device(), &v, {}, sizeof(v));
  return t;
}

/// Rows that are summed one after another; fixed, so that sums do not change with the number of threads.
constexpr int64_t kSumBlock = 128;

/// sums (k, C) += over rows of N, by body(sums, begin, end) in blocks that threads share, added up in order.
template <class Body>
Tensor sum_in_blocks(Context& ctx, int64_t N, int64_t k, int64_t C, Body&& body) {
  // A device's kernels sum all rows in an order of their own.
  const int64_t blocks = ctx.device().is_cpu() ? std::max<int64_t>(1, (N + kSumBlock - 1) / kSumBlock) : 1;
  Tensor partial = ctx.zeros({blocks, k, C}, DType::F32);
  float* sums = partial.ptr<float>();
  if (!ctx.device().is_cpu()) {
    if (N > 0) body(sums, 0, N);
    return partial.view({k, C});
  }
  ctx.over_rows(blocks, kSumBlock * k * C, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(sums + i * k * C, i * kSumBlock, std::min(N, (i + 1) * kSumBlock));
  });
  if (blocks == 1) return partial.view({k, C});
  Tensor total = ctx.zeros({k, C}, DType::F32);
  ctx.kernels().sum_rows(total.data<float>(), sums, blocks, k * C);
  return total;
}

/// The sum over rows of x (N,C), as (C).
inline Tensor column_sums(Context& ctx, const Tensor& x, int64_t N, int64_t C) {
  const float* p = x.ptr<float>();
  return sum_in_blocks(ctx, N, 1, C,
                       [&](float* sum, int64_t begin, int64_t end) { ctx.kernels().sum_rows(sum, p + begin * C, end - begin, C); })
      .view({C});
}

}  // namespace detail
}  // namespace tenon::ops
