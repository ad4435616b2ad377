// AWQ as AutoAWQ stores it: 4 bits with zero points, in its orders "gemm" and "gemv".
#pragma once

#include <string>
#include <utility>

#include "tenon/quant/nibbles.h"
#include "tenon/quant/stored.h"

namespace tenon::quant {

/// Errors: Error(Format) for what is not supported, Error(Type).
inline StoredSettings awq_settings(const Json& c) {
  detail::check_bits(c.value("bits", c.value("w_bit", 4)));
  StoredSettings s{.group = detail::read_group(c, {"group_size", "q_group_size"}, 128), .version = {}, .groups = {}, .ignore = {}};
  for (const char ch : c.value("version", "gemm")) s.version += static_cast<char>(ch >= 'A' && ch <= 'Z' ? ch - 'A' + 'a' : ch);
  check(s.version == "gemm" || s.version == "gemv", ErrorCode::Format, "quantization_config",
        "\"version\": AWQ checkpoints of version gemm and gemv are supported, got \"", s.version, "\"");
  s.ignore = detail::read_names(c, "modules_to_not_convert");
  return s;
}

namespace detail {

/// How many words of zero points a row of "gemv" has: groups of 64 and 32 are padded.
inline int64_t gemv_zeros(int64_t groups, int64_t group) {
  const int64_t multiple = group >= 128 ? 1 : group == 64 ? 2 : 4, words = (groups + 7) / 8;
  return (words + multiple - 1) / multiple * multiple;
}

struct AwqTensors {
  Tensor weight, zeros, scales;
  int64_t group, G;
};

inline AwqTensors awq_tensors(const StoredLayer& l, const StoredSettings& s) {
  AwqTensors t{{}, {}, {}, stored_group(l, s.group), 0};
  t.G = l.K / t.group;
  if (s.version == "gemv") {
    check_stored(l.K % 8 == 0, l, "expected input features in eights, got ", l.K);
    const int64_t words = gemv_zeros(t.G, t.group);
    t.weight = stored_tensor(l, "qweight", {DType::I32}, {l.N, l.K / 8});
    t.zeros = stored_tensor(l, "qzeros", {DType::I32}, {l.N, words});
    t.scales = stored_tensor(l, "scales", {DType::F16, DType::BF16, DType::F32}, {l.N, 8 * words});
  } else {
    check_stored(l.N % 8 == 0, l, "expected output features in eights, got ", l.N);
    t.weight = stored_tensor(l, "qweight", {DType::I32}, {l.K, l.N / 8});
    t.zeros = stored_tensor(l, "qzeros", {DType::I32}, {t.G, l.N / 8});
    t.scales = stored_tensor(l, "scales", {DType::F16, DType::BF16, DType::F32}, {t.G, l.N});
  }
  return t;
}

}  // namespace detail

/// Headers alone. Errors: Error(Format) naming the layer.
inline void check_awq(const StoredLayer& l, const StoredSettings& s) { detail::awq_tensors(l, s); }

/// Scales: those of "gemv" are filled up to whole words. Errors: Error(Format) naming the tensor.
inline void check_awq_contents(const StoredLayer& l, const StoredSettings& s) {
  check_scales(l, s.version == "gemv" ? detail::awq_tensors(l, s).G : l.N);
}

/// Errors: Error(Format) naming the layer, also for scales that are zero or not finite.
/// Source: AutoAWQ, awq/modules/linear/{gemm,gemv}.py and awq/utils/packing_utils.py.
inline StoredWeight read_awq(Context& ctx, const StoredLayer& l, const StoredSettings& s) {
  const detail::AwqTensors t = detail::awq_tensors(l, s);
  QuantizedMatrix m{WeightFormat::Int4, l.N, l.K, t.group, {}, {}, {}, {}};
  const int32_t* zeros = t.zeros.data<int32_t>();
  if (s.version == "gemv") {
    m.q = detail::bytes_of(t.weight, {l.N, l.K / 2});
    const int64_t words = t.zeros.size(1);
    m.zero = detail::read_zeros(l.N, t.G, 0, [&](int64_t n, int64_t g) { return std::pair{zeros[n * words + g / 8], 4 * (g % 8)}; });
    m.scale = detail::read_scales(l, t.scales, false, l.N, t.G);
    return {m, {}, {}};
  }
  m.q = Tensor::empty({l.N, (l.K + 1) / 2}, DType::U8);
  detail::columns_to_codes(ctx, m.q.data<uint8_t>(), reinterpret_cast<const uint32_t*>(t.weight.data<int32_t>()), l.N, l.K);
  constexpr int kPlace[8] = {0, 4, 1, 5, 2, 6, 3, 7};  // the nibble of output i of 8
  m.zero = detail::read_zeros(l.N, t.G, 0, [&](int64_t n, int64_t g) {
    return std::pair{zeros[g * (l.N / 8) + n / 8], 4 * kPlace[n % 8]};
  });
  m.scale = detail::read_scales(l, t.scales, true, l.N, t.G);
  return {m, {}, {}};
}

/// The matrix as AutoAWQ's "gemm", scales in half precision.
/// Errors: Error(Format) for act-order, groups that do not divide K, or an N that is no multiple of 8.
inline StoredTensors write_awq(Context& ctx, const QuantizedMatrix& m, const StoredSettings&) {
  check_matrix(m);
  check(m.format == WeightFormat::Int4 && m.order.empty(), ErrorCode::Format, "awq", "expected 4 bits and columns in order");
  check(m.N % 8 == 0 && m.K % m.group == 0, ErrorCode::Format, "awq",
        "expected output features in eights and groups that divide the input ", "features, got (", m.N, ", ", m.K, ") in groups of ",
        m.group);
  const int64_t G = m.groups(), width = m.N / 8;
  Tensor weight = Tensor::empty({m.K, width}, DType::I32), zeros = Tensor::zeros({G, width}, DType::I32);
  Tensor scales = Tensor::empty({G, m.N}, DType::F16);
  detail::codes_to_columns(ctx, reinterpret_cast<uint32_t*>(weight.data<int32_t>()), m.q.data<uint8_t>(), m.N, m.K);
  const float* scale = m.scale.data<float>();
  const uint8_t* zero = m.zero.data<uint8_t>();
  float16* half = scales.data<float16>();
  auto* words = reinterpret_cast<uint32_t*>(zeros.data<int32_t>());
  for (int64_t g = 0; g < G; ++g)
    for (int64_t n = 0; n < m.N; ++n) half[g * m.N + n] = float16::from(scale[n * G + g]);
  for (int64_t g = 0; g < G; ++g)
    for (int64_t c = 0; c < width; ++c)
      for (int i = 0; i < 8; ++i) words[g * width + c] |= static_cast<uint32_t>(zero[(8 * c + detail::kAwqOrder[i]) * G + g]) << 4 * i;
  return {{"qweight", weight}, {"qzeros", zeros}, {"scales", scales}};
}

inline Json awq_config(const StoredSettings& s) {
  Json c(Json::Object{
      {"quant_method", "awq"}, {"bits", 4}, {"group_size", s.group ? s.group : int64_t{-1}}, {"zero_point", true}, {"version", "gemm"}});
  c.set("modules_to_not_convert", s.ignore.empty() ? Json() : detail::names_json(s.ignore));
  return c;
}

}  // namespace tenon::quant
