// A Linear's weight in the format and layout that the kernels want, packed once at loading.
#pragma once

#include <cstring>
#include <span>

#include "tenon/core/context.h"
#include "tenon/core/error.h"
#include "tenon/core/tensor.h"
#include "tenon/quant/format.h"
#include "tenon/quant/quantized_matrix.h"

namespace tenon::quant {

/// Belongs to the kernel table that packed it: other tables may lay the bytes out in another way.
struct PackedWeight {
  WeightFormat format = WeightFormat::F32;
  int64_t N = 0, K = 0;
  Tensor data;                 // bytes, the table's own layout
  Tensor scale;                // (N) float32; Int8 only
  int64_t group = 0;           // Int4, Fp8
  bool int8_rows = true;       // Int4: multiply rows rounded to int8, which is several times faster than exact products
  bool fp8_rows = false;       // Fp8: multiply rows rounded to e4m3 per token and 128 columns, for twice the arithmetic rate of some GPUs
  std::vector<int64_t> order;  // not empty: column k meets column order[k] of x
  bool sparse = false;         // only the elements that are not 0, in float32: for Kernels::sparse_linear

  bool defined() const { return data.defined(); }
  size_t nbytes() const { return data.nbytes() + scale.nbytes(); }
};

/// Packs a matrix that is quantised already; exact: rows will not be rounded to int8; fp8_rows: as in Packing.
/// Errors: as check_matrix and regroup.
inline PackedWeight pack(Context& ctx, const QuantizedMatrix& matrix, bool exact = false, bool fp8_rows = false) {
  check_matrix(matrix);
  const QuantizedMatrix m = regroup(matrix);
  PackedWeight p{.format = m.format, .N = m.N, .K = m.K, .data = {}, .scale = {}, .group = m.group, .int8_rows = !exact, .order = m.order};
  p.fp8_rows = fp8_rows && m.format == WeightFormat::Fp8 && !ctx.device().is_cpu();
  p.data = Tensor::empty({static_cast<int64_t>(ctx.kernels().quantized_packed_bytes(m.format, m.N, m.K, m.group))}, DType::U8, ctx.device());
  const Tensor q = m.q.to(ctx.device()), scale = m.scale.to(ctx.device()), zero = m.zero.to(ctx.device());
  const QuantizedRows rows{.format = m.format,
                           .N = m.N,
                           .K = m.K,
                           .group = m.group,
                           .q = q.ptr<uint8_t>(),
                           .scale = scale.ptr<float>(),
                           .zero = zero.defined() ? zero.ptr<uint8_t>() : nullptr};
  ctx.kernels().quantized_pack(p.data.address(), rows, ctx.threads());
  return p;
}

namespace detail {

/// The elements of w that are not 0, or -1 if they are too many for a sparse product to be the faster one.
inline int64_t few_nonzeros(const Tensor& w) {
  constexpr int64_t kPieces = 16, kPiece = 256;
  const int64_t n = w.numel(), most = n / 4;  // from about 0.3 of them on the dense kernel wins
  const auto count = [&](int64_t begin, int64_t end) {
    int64_t found = 0;
    if (w.dtype() == DType::F32)
      for (int64_t i = begin; i < end; ++i) found += w.data<float>()[i] != 0;
    else
      for (int64_t i = begin; i < end; ++i) found += (static_cast<const uint16_t*>(w.raw())[i] & 0x7fff) != 0;
    return found;
  };
  if (n >= int64_t{1} << 31 || w.size(1) == 0) return -1;
  if (n > kPieces * kPiece) {  // a glance at a few places, so that dense weights need not be read
    int64_t seen = 0;
    for (int64_t i = 0; i < kPieces; ++i) seen += count(i * (n / kPieces), i * (n / kPieces) + kPiece);
    if (seen > kPieces * kPiece / 2) return -1;
  }
  const int64_t found = count(0, n);
  return found <= most ? found : -1;
}

inline PackedWeight pack_on_device(Context& ctx, const Tensor& w, WeightFormat format) {
  const int64_t N = w.size(0), K = w.size(1);
  PackedWeight p{.format = format, .N = N, .K = K, .data = {}, .scale = {}, .order = {}};
  p.data = ctx.empty({static_cast<int64_t>(ctx.kernels().linear_packed_bytes(format, N, K))}, DType::U8);
  if (info(format).has_scale) p.scale = ctx.empty({N}, DType::F32);
  ctx.kernels().linear_pack(p.data.address(), p.scale.defined() ? p.scale.ptr<float>() : nullptr, w.address(), w.dtype(), format, N, K, 1);
  return p;
}

}  // namespace detail

/// Packs a weight matrix; Int4 and Fp8 round it to nearest in groups of 128. With may_be_sparse a weight of at most a quarter nonzeros
/// is packed without its zeros where the format is float.
/// Shapes: w (N,K) f32|bf16|f16.
/// Errors: Error(Shape), Error(Type), Error(Format) for Int4 and Fp8 if a weight is not finite.
inline PackedWeight pack(Context& ctx, const Tensor& w, Packing packing, bool may_be_sparse = false) {
  const WeightFormat format = packing.format;
  check(w.defined() && w.rank() == 2, ErrorCode::Shape, "pack", "weight: expected (N, K), got ", w.describe());
  check(w.dtype() == DType::F32 || w.dtype() == DType::BF16 || w.dtype() == DType::F16, ErrorCode::Type, "pack",
        "weight: expected float32, bfloat16 or float16, got ", w.describe());
  if (info(format).grouped) {
    HostContext host(ctx);
    return pack(ctx, round_to_nearest(*host, w.to(Device{}), format), false, packing.fp8_rows);
  }
  if (!ctx.device().is_cpu()) return detail::pack_on_device(ctx, w.to(ctx.device()), format);
  const int64_t N = w.size(0), K = w.size(1);
  PackedWeight p{.format = format, .N = N, .K = K, .data = {}, .scale = {}, .order = {}};
  const bool is_float = format == WeightFormat::F32 || format == WeightFormat::BF16;
  if (const int64_t count = may_be_sparse && is_float ? detail::few_nonzeros(w) : -1; count >= 0) {
    p.sparse = true;
    p.data = Tensor::empty({static_cast<int64_t>(ctx.kernels().sparse_packed_bytes(N, K, count))}, DType::U8);
    ctx.kernels().sparse_pack(p.data.raw(), w.raw(), w.dtype(), N, K, count);
    return p;
  }
  p.data = Tensor::empty({static_cast<int64_t>(ctx.kernels().linear_packed_bytes(format, N, K))}, DType::U8);
  if (info(format).has_scale) p.scale = Tensor::empty({N}, DType::F32);
  ctx.kernels().linear_pack(p.data.raw(), p.scale.defined() ? p.scale.data<float>() : nullptr, w.raw(), w.dtype(), format, N, K,
                            ctx.threads());
  return p;
}

/// Packs several matrices as one, above each other: one matmul then computes query, key and value.
/// Shapes: ws (N_i,K) -> (sum of N_i, K).
/// Errors: Error(Shape) if a K differs, Error(Type).
inline PackedWeight pack_rows_concat(Context& ctx, std::span<const Tensor> ws, Packing packing, bool may_be_sparse = false) {
  check(!ws.empty(), ErrorCode::Shape, "pack", "expected at least one weight");
  if (ws.size() == 1) return pack(ctx, ws[0], packing, may_be_sparse);
  int64_t N = 0;
  bool same_type = true;
  for (const Tensor& w : ws) {
    check(w.defined() && w.rank() == 2 && w.size(1) == ws[0].size(1), ErrorCode::Shape, "pack", "weights above each other: expected ",
          ws[0].describe(), " to be followed by the same K, got ", w.describe());
    N += w.size(0);
    same_type &= w.dtype() == ws[0].dtype();
  }
  Tensor all = Tensor::empty({N, ws[0].size(1)}, same_type ? ws[0].dtype() : DType::F32, ctx.device());
  char* at = static_cast<char*>(all.address());
  for (const Tensor& w : ws) {
    const Tensor part = w.to(all.dtype());
    cuda::copy(at, all.device(), part.address(), part.device(), part.nbytes());
    at += part.nbytes();
  }
  return pack(ctx, all, packing, may_be_sparse);
}

/// The weight as float32 (N,K), as the kernels see it: after rounding or quantising.
inline Tensor unpack(const PackedWeight& p, const Kernels& kernels) {
  check(p.defined(), ErrorCode::Shape, "unpack", "expected a packed weight, got none");
  Tensor w = Tensor::empty({p.N, p.K}, DType::F32);
  if (info(p.format).grouped) {
    kernels.quantized_unpack(w.data<float>(), p.data.raw(), p.format, p.N, p.K, p.group);
    if (p.order.empty()) return w;
    Tensor sorted = Tensor::empty(w.shape(), DType::F32);
    for (int64_t i = 0; i < w.numel(); ++i)
      sorted.data<float>()[i / p.K * p.K + p.order[static_cast<size_t>(i % p.K)]] = std::as_const(w).data<float>()[i];
    return sorted;
  }
  if (p.sparse) {
    kernels.sparse_unpack(w.data<float>(), p.data.raw(), p.N, p.K);
    return w;
  }
  kernels.linear_unpack(w.data<float>(), p.data.raw(), p.scale.defined() ? p.scale.data<float>() : nullptr, p.format, p.N, p.K);
  return w;
}

}  // namespace tenon::quant
