// FP8 weights (e4m3) with scales of blocks, rows or the whole: DeepSeek's checkpoints, and those of compressed-tensors.
#pragma once

#include <string>
#include <vector>

#include "tenon/quant/stored.h"

namespace tenon::quant {

/// Errors: Error(Format) for what is not supported, Error(Type).
inline StoredSettings fp8_settings(const Json& c) {
  const std::string fmt = c.value("fmt", "e4m3");
  check(fmt == "e4m3" || fmt == "float8_e4m3fn", ErrorCode::Format, "quantization_config", "\"fmt\": only e4m3 is supported, got \"", fmt,
        "\"");
  StoredSettings s{.version = c.value("scale_fmt", ""), .groups = {}, .ignore = detail::read_names(c, "modules_to_not_convert")};
  check(s.version.empty() || s.version == "ue8m0" || s.version == "float", ErrorCode::Format, "quantization_config",
        "\"scale_fmt\": only float and ue8m0 are supported, got \"", s.version, "\"");
  if (const Json* block = c.get("weight_block_size"); block && !block->is_null()) {
    const Json::Array& sizes = block->as_array("weight_block_size");
    check(sizes.size() == 2, ErrorCode::Format, "quantization_config", "\"weight_block_size\": expected two sizes, got ", sizes.size());
    s.block_rows = sizes[0].as_int("weight_block_size"), s.block_columns = sizes[1].as_int("weight_block_size");
    check(s.block_rows > 0 && s.block_columns > 0 && s.block_columns % 32 == 0, ErrorCode::Format, "quantization_config",
          "\"weight_block_size\": expected rows, and columns in multiples of 32, got ", s.block_rows, " by ", s.block_columns);
  }
  return s;
}

namespace detail {

struct Fp8Tensors {
  Tensor weight, scales;
  int64_t rows, columns;  // how many of each a scale covers
};

inline Fp8Tensors fp8_tensors(const StoredLayer& l, const StoredSettings& s) {
  const bool inverse = l.find("weight_scale_inv").defined();
  const char* name = inverse || s.block_rows ? "weight_scale_inv" : "weight_scale";
  if (!inverse && l.find("weight_scale").defined()) name = "weight_scale";
  Fp8Tensors t{stored_tensor(l, "weight", {DType::F8E4M3}, {l.N, l.K}), l.find(name), l.N, l.K};
  check_stored(t.scales.defined(), l, name, " is missing");
  const bool known = t.scales.dtype() == DType::F32 || t.scales.dtype() == DType::BF16 || t.scales.dtype() == DType::F16 ||
                     t.scales.dtype() == DType::F8E8M0;
  check_stored(known, l, name, ": expected float32, bfloat16, float16 or float8_e8m0fnu, got ", name_of(t.scales.dtype()));
  if (t.scales.numel() == 1 && (s.block_rows == 0 || (l.N <= s.block_rows && l.K <= s.block_columns))) return t;
  if (t.scales.shape() == Shape{l.N} || t.scales.shape() == Shape{l.N, 1}) {
    t.rows = 1;
    return t;
  }
  check_stored(s.block_rows > 0, l, name, ": expected one scale, or one for each of ", l.N, " rows, got ", t.scales.shape());
  const Shape blocks{(l.N + s.block_rows - 1) / s.block_rows, (l.K + s.block_columns - 1) / s.block_columns};
  check_stored(t.scales.shape() == blocks, l, name, ": expected ", blocks, " for blocks of ", s.block_rows, " by ", s.block_columns,
               ", got ", t.scales.shape());
  t.rows = s.block_rows, t.columns = std::min(s.block_columns, l.K);
  return t;
}

}  // namespace detail

/// Headers alone. Errors: Error(Format) naming the layer.
inline void check_fp8(const StoredLayer& l, const StoredSettings& s) { detail::fp8_tensors(l, s); }

/// W = weight * scale of its block ("weight_scale_inv" is that factor, too). Scales of e8m0 are powers of two.
/// Errors: Error(Format) naming the layer, also for scales that are zero or not finite and weights that are NaN.
/// Source: DeepSeek-V3, inference/kernel.py, weight_dequant; compressed-tensors, float-quantized.
inline StoredWeight read_fp8(Context& ctx, const StoredLayer& l, const StoredSettings& s) {
  const detail::Fp8Tensors t = detail::fp8_tensors(l, s);
  QuantizedMatrix m{WeightFormat::Fp8, l.N, l.K, t.columns, detail::bytes_of(t.weight, {l.N, l.K}), {}, {}, {}};
  const uint8_t* codes = std::as_const(m.q).data<uint8_t>();
  ctx.over_rows(l.N, l.K, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      int nan = 0;
      for (int64_t k = 0; k < l.K; ++k) nan |= (codes[n * l.K + k] & 0x7f) == 0x7f;
      detail::check_stored(!nan, l, "weight: row ", n, " holds a NaN");
    }
  });
  const int64_t rows = t.scales.numel() == 1 ? 1 : (l.N + t.rows - 1) / t.rows, G = m.groups();
  const Tensor blocks = detail::read_scales(l, t.scales.view({rows, t.scales.numel() / rows}), false, rows, G);
  m.scale = Tensor::empty({l.N, G}, DType::F32);
  for (int64_t n = 0; n < l.N; ++n)
    std::memcpy(m.scale.data<float>() + n * G, std::as_const(blocks).data<float>() + (rows == 1 ? 0 : n / t.rows) * G,
                static_cast<size_t>(G) * sizeof(float));
  return {m, {}, {}};
}

/// Rounds in blocks of 128 by 128: scale = max |w| / 448. Shapes: w (N,K) f32|bf16|f16.
/// Errors: as round_to_nearest.
inline QuantizedMatrix round_to_blocks(Context& ctx, const Tensor& w, int64_t block = 128) {
  QuantizedMatrix m = round_to_nearest(ctx, w, WeightFormat::Fp8, block);  // checks w
  const Tensor wide = w.to(DType::F32);
  const float* from = wide.data<float>();
  float* scale = m.scale.data<float>();
  uint8_t* q = m.q.data<uint8_t>();
  const int64_t G = m.groups();
  ctx.over_rows((m.N + block - 1) / block, block * m.K, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b)
      for (int64_t g = 0; g < G; ++g) {
        const int64_t begin = b * block, end = std::min(begin + block, m.N);
        float most = 0;
        for (int64_t n = begin; n < end; ++n) most = std::max(most, scale[n * G + g]);
        for (int64_t n = begin; n < end; ++n) {
          scale[n * G + g] = most;
          for (int64_t k = g * m.group; k < std::min((g + 1) * m.group, m.K); ++k) q[n * m.K + k] = float_to_f8e4m3(from[n * m.K + k] / most);
        }
      }
  });
  return m;
}

/// The matrix in blocks of settings.block_rows by the matrix's groups, scales in float32.
/// Errors: Error(Format) if rows of a block have different scales (round_to_blocks makes them equal).
inline StoredTensors write_fp8(Context&, const QuantizedMatrix& m, const StoredSettings& s) {
  check_matrix(m);
  check(m.format == WeightFormat::Fp8, ErrorCode::Format, "fp8", "expected e4m3");
  const int64_t block = s.block_rows ? s.block_rows : 128, G = m.groups(), rows = (m.N + block - 1) / block;
  Tensor weight = Tensor::empty({m.N, m.K}, DType::F8E4M3), scales = Tensor::empty({rows, G}, DType::F32);
  std::memcpy(weight.raw(), std::as_const(m.q).raw(), m.q.nbytes());
  const float* scale = m.scale.data<float>();
  for (int64_t n = 0; n < m.N; ++n)
    for (int64_t g = 0; g < G; ++g) {
      float& to = scales.data<float>()[n / block * G + g];
      if (n % block == 0) to = scale[n * G + g];
      check(to == scale[n * G + g], ErrorCode::Format, "fp8", "expected one scale for rows ", n / block * block, " to ", n, ", group ", g,
            ", got ", to, " and ", scale[n * G + g]);
    }
  return {{"weight", weight}, {"weight_scale_inv", scales}};
}

inline Json fp8_config(const StoredSettings& s) {
  Json c(Json::Object{{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"activation_scheme", "dynamic"}});
  const int64_t rows = s.block_rows ? s.block_rows : 128, columns = s.block_columns ? s.block_columns : 128;
  c.set("weight_block_size", Json::Array{Json(rows), Json(columns)});
  if (!s.ignore.empty()) c.set("modules_to_not_convert", detail::names_json(s.ignore));
  return c;
}

}  // namespace tenon::quant
