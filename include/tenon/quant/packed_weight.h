// A Linear's weight in the format and layout that the kernels want, packed once at loading.
#pragma once

#include <cstring>
#include <span>

#include "tenon/core/context.h"
#include "tenon/core/error.h"
#include "tenon/core/tensor.h"
#include "tenon/quant/format.h"

namespace tenon::quant {

/// Belongs to the kernel table that packed it: other tables may lay the bytes out in another way.
struct PackedWeight {
  WeightFormat format = WeightFormat::F32;
  int64_t N = 0, K = 0;
  Tensor data;   // bytes, the table's own layout
  Tensor scale;  // (N) float32; Int8 only

  bool defined() const { return data.defined(); }
  size_t nbytes() const { return data.nbytes() + scale.nbytes(); }
};

/// Packs a weight matrix.
/// Shapes: w (N,K) f32|bf16|f16.
/// Errors: Error(Shape), Error(Type).
inline PackedWeight pack(Context& ctx, const Tensor& w, WeightFormat format) {
  check(w.defined() && w.rank() == 2, ErrorCode::Shape, "pack", "weight: expected (N, K), got ", w.describe());
  check(w.dtype() == DType::F32 || w.dtype() == DType::BF16 || w.dtype() == DType::F16, ErrorCode::Type, "pack",
        "weight: expected float32, bfloat16 or float16, got ", w.describe());
  const int64_t N = w.size(0), K = w.size(1);
  PackedWeight p{format, N, K, {}, {}};
  p.data = Tensor::empty({static_cast<int64_t>(ctx.kernels().linear_packed_bytes(format, N, K))}, DType::U8);
  if (info(format).has_scale) p.scale = Tensor::empty({N}, DType::F32);
  ctx.kernels().linear_pack(p.data.raw(), p.scale.defined() ? p.scale.data<float>() : nullptr, w.raw(), w.dtype(), format, N, K,
                            ctx.threads());
  return p;
}

/// Packs several matrices as one, above each other: one matmul then computes query, key and value.
/// Shapes: ws (N_i,K) -> (sum of N_i, K).
/// Errors: Error(Shape) if a K differs, Error(Type).
inline PackedWeight pack_rows_concat(Context& ctx, std::span<const Tensor> ws, WeightFormat format) {
  check(!ws.empty(), ErrorCode::Shape, "pack", "expected at least one weight");
  if (ws.size() == 1) return pack(ctx, ws[0], format);
  int64_t N = 0;
  bool same_type = true;
  for (const Tensor& w : ws) {
    check(w.defined() && w.rank() == 2 && w.size(1) == ws[0].size(1), ErrorCode::Shape, "pack", "weights above each other: expected ",
          ws[0].describe(), " to be followed by the same K, got ", w.describe());
    N += w.size(0);
    same_type &= w.dtype() == ws[0].dtype();
  }
  Tensor all = Tensor::empty({N, ws[0].size(1)}, same_type ? ws[0].dtype() : DType::F32);
  char* at = static_cast<char*>(all.raw());
  for (const Tensor& w : ws) {
    const Tensor part = w.to(all.dtype());
    if (part.nbytes()) std::memcpy(at, part.raw(), part.nbytes());
    at += part.nbytes();
  }
  return pack(ctx, all, format);
}

/// The weight as float32 (N,K), as the kernels see it: after rounding or quantising.
inline Tensor unpack(const PackedWeight& p, const Kernels& kernels) {
  check(p.defined(), ErrorCode::Shape, "unpack", "expected a packed weight, got none");
  Tensor w = Tensor::empty({p.N, p.K}, DType::F32);
  kernels.linear_unpack(w.data<float>(), p.data.raw(), p.scale.defined() ? p.scale.data<float>() : nullptr, p.format, p.N, p.K);
  return w;
}

}  // namespace tenon::quant
