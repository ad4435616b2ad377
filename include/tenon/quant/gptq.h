// GPTQ as AutoGPTQ ("gptq") and GPTQModel ("gptq_v2") store it: 4 bits, with and without act-order.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenon/quant/nibbles.h"
#include "tenon/quant/stored.h"

namespace tenon::quant {

/// Errors: Error(Format) for what is not supported, Error(Type).
inline StoredSettings gptq_settings(const Json& c) {
  detail::check_bits(c.value("bits", 4));
  StoredSettings s{.group = detail::read_group(c, {"group_size"}, 128),
                   .symmetric = c.value("sym", true),
                   .desc_act = c.value("desc_act", false),
                   .version = c.value("checkpoint_format", "gptq"),
                   .groups = {},
                   .ignore = detail::read_names(c, "modules_to_not_convert")};
  if (c.value("is_marlin_format", false)) s.version = "marlin";
  check(s.version == "gptq" || s.version == "gptq_v2", ErrorCode::Format, "quantization_config",
        "\"checkpoint_format\": GPTQ checkpoints of format gptq and gptq_v2 are supported, got \"", s.version, "\"");
  return s;
}

namespace detail {

struct GptqTensors {
  Tensor weight, zeros, scales, group_of;
  int64_t group, G;
};

inline GptqTensors gptq_tensors(const StoredLayer& l, const StoredSettings& s) {
  GptqTensors t{{}, {}, {}, {}, stored_group(l, s.group >= l.K ? 0 : s.group), 0};
  t.G = l.K / t.group;
  check_stored(l.K % 8 == 0 && l.N % 8 == 0, l, "expected features in eights, got ", l.K, " in and ", l.N, " out");
  t.weight = stored_tensor(l, "qweight", {DType::I32}, {l.K / 8, l.N});
  t.zeros = stored_tensor(l, "qzeros", {DType::I32}, {t.G, l.N / 8});
  t.scales = stored_tensor(l, "scales", {DType::F16, DType::BF16, DType::F32}, {t.G, l.N});
  if (l.find("g_idx").defined()) t.group_of = stored_tensor(l, "g_idx", {DType::I32}, {l.K});
  return t;
}

/// The order that brings columns of one group together. Errors: Error(Format) if a group is not full or not there.
inline std::vector<int64_t> stored_order(const StoredLayer& l, const Tensor& group_of, int64_t group) {
  const int32_t* g = group_of.data<int32_t>();
  const int64_t G = l.K / group;
  std::vector<int64_t> sizes(static_cast<size_t>(G));
  for (int64_t k = 0; k < l.K; ++k) {
    check_stored(g[k] >= 0 && g[k] < G, l, "g_idx of column ", k, ": expected 0 to ", G - 1, ", got ", g[k]);
    ++sizes[static_cast<size_t>(g[k])];
  }
  for (int64_t i = 0; i < G; ++i)
    check_stored(sizes[static_cast<size_t>(i)] == group, l, "g_idx: expected ", group, " columns in group ", i, ", got ",
                 sizes[static_cast<size_t>(i)]);
  return order_of_groups(g, l.K, G);
}

}  // namespace detail

/// Headers alone. Errors: Error(Format) naming the layer.
inline void check_gptq(const StoredLayer& l, const StoredSettings& s) { detail::gptq_tensors(l, s); }

/// Scales and the order of columns. Errors: Error(Format) naming the tensor.
inline void check_gptq_contents(const StoredLayer& l, const StoredSettings& s) {
  check_scales(l, l.N);
  const detail::GptqTensors t = detail::gptq_tensors(l, s);
  if (t.group_of.defined()) detail::stored_order(l, t.group_of, t.group);
}

/// Stored zero points are one less in "gptq", as they are in "gptq_v2".
/// Errors: Error(Format) naming the layer, also for scales that are zero or not finite and a g_idx that names no full groups.
/// Source: AutoGPTQ, auto_gptq/nn_modules/qlinear; GPTQModel, convert_gptq_v1_to_v2_format.
inline StoredWeight read_gptq(Context& ctx, const StoredLayer& l, const StoredSettings& s) {
  const detail::GptqTensors t = detail::gptq_tensors(l, s);
  QuantizedMatrix m{WeightFormat::Int4, l.N, l.K, t.group, Tensor::empty({l.N, l.K / 2}, DType::U8), {}, {}, {}};
  if (t.group_of.defined()) m.order = detail::stored_order(l, t.group_of, t.group);
  // A word holds 8 columns of one output, the first lowest: turned, the words are the codes.
  const auto* words = reinterpret_cast<const uint32_t*>(t.weight.data<int32_t>());
  if (m.order.empty())
    detail::turn_words(ctx, static_cast<uint32_t*>(m.q.raw()), words, l.K / 8, l.N);
  else
    detail::turn_words_reordered(ctx, m.q.data<uint8_t>(), words, l.N, l.K, m.order);
  const int32_t* zeros = t.zeros.data<int32_t>();
  m.zero = detail::read_zeros(l.N, t.G, s.version == "gptq" ? 1 : 0, [&](int64_t n, int64_t g) {
    return std::pair{zeros[g * (l.N / 8) + n / 8], 4 * (n % 8)};
  });
  m.scale = detail::read_scales(l, t.scales, true, l.N, t.G);
  return {m, {}, {}};
}

/// The matrix as settings.version says, scales in half precision.
/// Errors: Error(Format) for groups that do not divide K and features that are no multiple of 8.
inline StoredTensors write_gptq(Context& ctx, const QuantizedMatrix& m, const StoredSettings& s) {
  check_matrix(m);
  check(m.format == WeightFormat::Int4, ErrorCode::Format, "gptq", "expected 4 bits");
  check(m.N % 8 == 0 && m.K % 8 == 0 && m.K % m.group == 0, ErrorCode::Format, "gptq",
        "expected features in eights and groups that divide the input features, got (", m.N, ", ", m.K, ") in groups of ", m.group);
  const int64_t G = m.groups(), width = m.N / 8;
  Tensor weight = Tensor::empty({m.K / 8, m.N}, DType::I32), zeros = Tensor::zeros({G, width}, DType::I32);
  Tensor scales = Tensor::empty({G, m.N}, DType::F16), group_of = Tensor::empty({m.K}, DType::I32);
  Tensor codes = m.q;
  if (!m.order.empty()) {
    codes = m.q.clone();
    detail::reorder_codes(ctx, codes.data<uint8_t>(), m.N, m.K, m.order, true);
  }
  detail::turn_words(ctx, reinterpret_cast<uint32_t*>(weight.data<int32_t>()), static_cast<const uint32_t*>(std::as_const(codes).raw()),
                     m.N, m.K / 8);
  for (int64_t k = 0; k < m.K; ++k)
    group_of.data<int32_t>()[m.order.empty() ? k : m.order[static_cast<size_t>(k)]] = static_cast<int32_t>(k / m.group);
  const float* scale = m.scale.data<float>();
  const uint8_t *zero = m.zero.data<uint8_t>(), less = s.version == "gptq_v2" ? 0 : 1;
  float16* half = scales.data<float16>();
  auto* words = reinterpret_cast<uint32_t*>(zeros.data<int32_t>());
  for (int64_t g = 0; g < G; ++g)
    for (int64_t n = 0; n < m.N; ++n) {
      half[g * m.N + n] = float16::from(scale[n * G + g]);
      words[g * width + n / 8] |= static_cast<uint32_t>((zero[n * G + g] - less) & 15) << 4 * (n % 8);
    }
  return {{"qweight", weight}, {"qzeros", zeros}, {"scales", scales}, {"g_idx", group_of}};
}

inline Json gptq_config(const StoredSettings& s) {
  Json c(Json::Object{{"quant_method", "gptq"},
                      {"bits", 4},
                      {"group_size", s.group ? s.group : int64_t{-1}},
                      {"desc_act", s.desc_act},
                      {"sym", s.symmetric},
                      {"checkpoint_format", s.version == "gptq_v2" ? "gptq_v2" : "gptq"}});
  if (!s.ignore.empty()) c.set("modules_to_not_convert", detail::names_json(s.ignore));
  return c;
}

}  // namespace tenon::quant
