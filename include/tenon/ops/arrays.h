// Elementwise functions, reductions, sorts and scans over arrays with strides, as NumPy has them. They record no gradients: what composes them does.
#pragma once

#include <initializer_list>

#include "tenon/core/arrays.h"
#include "tenon/ops/checks.h"

namespace tenon::ops {

/// A tensor's elements, walked over the dimensions of a result: element (i, j, ...) is number begin + i * stride[0] + j * stride[1] + ...
struct Strided {
  Tensor tensor;
  int64_t begin = 0;
  std::array<int64_t, kMostDims> stride = {};
};

namespace detail {

/// Errors: Error(Limit) unless all elements that are walked lie within the tensor.
inline void check_walk(const Strided& x, const Shape& shape, std::string_view op) {
  int64_t least = x.begin, most = x.begin;
  for (int d = 0; d < shape.rank(); ++d) {
    int64_t far = 0;
    check(!__builtin_mul_overflow(x.stride[static_cast<size_t>(d)], shape[d] - 1, &far) &&
              !__builtin_add_overflow(far < 0 ? least : most, far, far < 0 ? &least : &most),
          ErrorCode::Limit, op, "strides that leave the memory");
  }
  check(least >= 0 && most < x.tensor.numel(), ErrorCode::Limit, op, "expected elements within [0, ", x.tensor.numel(), "), got ", least, " to ", most);
}

inline bool is_array_type(DType t) { return t == DType::F32 || t == DType::I64 || t == DType::Bool; }

}  // namespace detail

/// y = op(x...), element by element; for Copy converted to `to`, else of the operands' type, or Bool.
/// Shapes: as many operands as the operation has, of one type, f32|i64|bool (Where's first bool), walked over `shape` -> y (shape).
/// Errors: Error(Type) for an operation that the type does not have; Error(Device); Error(Limit).
/// Source: the NumPy functions of these names.
inline Tensor elementwise(Context& ctx, Elementwise op, const Shape& shape, std::span<const Strided> x, DType to) {
  constexpr const char* where = "elementwise";
  const auto count = static_cast<size_t>(operands_of(op));
  check(x.size() == count, ErrorCode::Shape, where, "expected ", count, " operands, got ", x.size());
  ElementwiseCall c;
  c.op = op, c.rank = shape.rank();
  const DType type = c.type = x[op == Elementwise::Where ? 1 : 0].tensor.dtype();
  check(detail::is_array_type(type) && computes(op, type), ErrorCode::Type, where, "operation ", static_cast<int>(op), ": not of ", name_of(type));
  c.y_type = op == Elementwise::Copy ? to : type;
  check(detail::is_array_type(c.y_type), ErrorCode::Type, where, "expected float32, int64 or bool, got ", name_of(c.y_type));
  for (int d = 0; d < shape.rank(); ++d) c.size[d] = shape[d];
  const bool empty = shape.numel() == 0;
  for (size_t k = 0; k < count; ++k) {
    const Tensor& t = x[k].tensor;
    detail::check_here(ctx, where, t);
    const DType wanted = op == Elementwise::Where && k == 0 ? DType::Bool : type;
    check(t.defined() && t.dtype() == wanted, ErrorCode::Type, where, "expected ", name_of(wanted), ", got ", t.describe());
    if (empty) continue;
    detail::check_walk(x[k], shape, where);
    c.x[k] = static_cast<const char*>(t.address()) + x[k].begin * static_cast<int64_t>(size_of(wanted));
    for (int d = 0; d < shape.rank(); ++d) c.stride[k][d] = x[k].stride[static_cast<size_t>(d)];
  }
  Tensor y = ctx.empty(shape, gives_truth(op) ? DType::Bool : c.y_type);
  c.y = y.address();
  if (!empty) ctx.kernels().elementwise(c);
  return y;
}

/// The same of whole tensors of one shape; one element alone is taken for each of the others'.
inline Tensor elementwise(Context& ctx, Elementwise op, std::initializer_list<Tensor> x) {
  const Shape& shape = std::max_element(x.begin(), x.end(), [](const Tensor& a, const Tensor& b) { return a.numel() < b.numel(); })->shape();
  std::vector<Strided> operands;
  for (const Tensor& t : x) {
    Strided& s = operands.emplace_back(Strided{t});
    if (t.numel() == 1) continue;
    check(t.shape() == shape, ErrorCode::Shape, "elementwise", "expected ", shape, ", got ", t.describe());
    int64_t stride = 1;
    for (int d = shape.rank() - 1; d >= 0; --d) s.stride[static_cast<size_t>(d)] = stride, stride *= shape[d];
  }
  return elementwise(ctx, op, shape, operands, DType::F32);
}

/// y (N,C) = op(x (N,C), column (N)), the column for each of a row's elements.
inline Tensor elementwise_rows(Context& ctx, Elementwise op, const Tensor& x, const Tensor& column, int64_t N, int64_t C) {
  const Strided operands[] = {{x, 0, {C, 1}}, {column, 0, {1, 0}}};
  return elementwise(ctx, op, {N, C}, operands, DType::F32);
}

/// y = the sum, product, extreme, or the extreme's index, over the middle of three dimensions.
/// Shapes: x (outer, n, inner) f32|i64 -> y (outer, inner) as x, indices i64.
/// Errors: Error(Shape), also for an extreme of nothing; Error(Type); Error(Device).
inline Tensor reduce(Context& ctx, Reduce op, const Tensor& x, int64_t outer, int64_t n, int64_t inner) {
  detail::check_here(ctx, "reduce", x);
  check(x.defined() && (x.dtype() == DType::F32 || x.dtype() == DType::I64), ErrorCode::Type, "reduce", "expected float32 or int64, got ", x.describe());
  check(Shape({outer, n, inner}).numel() == x.numel(), ErrorCode::Shape, "reduce", "expected ", outer, " x ", n, " x ", inner, ", got ", x.describe());
  const bool index = op == Reduce::ArgMax || op == Reduce::ArgMin;
  check(n > 0 || outer * inner == 0 || op == Reduce::Sum || op == Reduce::Prod, ErrorCode::Shape, "reduce", "an extreme of no elements");
  Tensor y = ctx.empty({outer, inner}, index ? DType::I64 : x.dtype());
  if (outer * inner > 0) ctx.kernels().reduce({.y = y.address(), .x = x.address(), .op = op, .type = x.dtype(), .outer = outer, .n = n, .inner = inner});
  return y;
}

/// Each row's elements in order, and the places that they had: equal ones keep theirs, NaN counts as the largest.
/// Shapes: x (N,C) f32|i64 -> (N,C) as x, (N,C) i64.
/// Errors: Error(Shape), Error(Type), Error(Device).
/// Source: torch.sort with stable=True.
inline std::pair<Tensor, Tensor> sort_rows(Context& ctx, const Tensor& x, bool descending = false) {
  detail::check_here(ctx, "sort", x);
  check(x.defined() && x.rank() == 2, ErrorCode::Shape, "sort", "expected (N, C), got ", x.describe());
  check(x.dtype() == DType::F32 || x.dtype() == DType::I64, ErrorCode::Type, "sort", "expected float32 or int64, got ", x.describe());
  Tensor y = ctx.empty(x.shape(), x.dtype()), index = ctx.empty(x.shape(), DType::I64);
  const int64_t N = x.size(0), C = x.size(1);
  if (N * C == 0) return {y, index};
  const auto item = static_cast<int64_t>(size_of(x.dtype()));
  auto* to = static_cast<char*>(y.address());
  const auto* from = static_cast<const char*>(x.address());
  int64_t* places = index.ptr<int64_t>();
  ctx.over_rows(N, 8 * C, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * C;
    ctx.kernels().sort_rows({.y = to + first * item, .index = places + first, .x = from + first * item, .type = x.dtype(),
                             .descending = descending, .N = end - begin, .C = C});
  });
  return {y, index};
}

/// y = the running sums, or products, along the middle of three dimensions.
/// Shapes: x (outer, n, inner) f32|i64 -> the same.
/// Errors: Error(Shape), Error(Type), Error(Device).
/// Source: torch.cumsum, torch.cumprod.
inline Tensor scan(Context& ctx, const Tensor& x, bool product, int64_t outer, int64_t n, int64_t inner) {
  detail::check_here(ctx, "scan", x);
  check(x.defined() && (x.dtype() == DType::F32 || x.dtype() == DType::I64), ErrorCode::Type, "scan", "expected float32 or int64, got ", x.describe());
  check(Shape({outer, n, inner}).numel() == x.numel(), ErrorCode::Shape, "scan", "expected ", outer, " x ", n, " x ", inner, ", got ", x.describe());
  Tensor y = ctx.empty(x.shape(), x.dtype());
  if (y.numel() > 0)
    ctx.kernels().scan({.y = y.address(), .x = x.address(), .product = product, .type = x.dtype(), .outer = outer, .n = n, .inner = inner});
  return y;
}

namespace detail {

/// The host's numbers as a tensor where the Context computes.
inline Tensor column_of(Context& ctx, std::span<const float> values) {
  Tensor t = ctx.empty({static_cast<int64_t>(values.size())}, DType::F32);
  cuda::copy(t.address(), ctx.device(), values.data(), {}, values.size_bytes());
  return t;
}
/// One number as an operand of elementwise().
inline Tensor number(Context& ctx, float value) { return column_of(ctx, std::span(&value, 1)); }

/// The sum of all elements.
inline double total(Context& ctx, const Tensor& x) { return x.numel() ? reduce(ctx, Reduce::Sum, x, 1, x.numel(), 1).item() : 0; }

}  // namespace detail
}  // namespace tenon::ops
