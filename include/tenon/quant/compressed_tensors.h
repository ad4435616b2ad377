// Checkpoints of compressed-tensors (llm-compressor, vLLM): pack-quantized 4 bits, int8 and FP8 with their scales.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenon/quant/fp8.h"
#include "tenon/quant/gptq.h"
#include "tenon/quant/stored.h"

namespace tenon::quant {

namespace detail {

/// One entry of config_groups: what its layers' weights are.
inline void read_config_group(const std::string& name, const Json& group, StoredSettings& s) {
  const Json* w = group.get("weights");
  check(w && w->is_object(), ErrorCode::Format, "quantization_config", "config_groups.", name,
        ": weights are missing; only quantised weights are supported");
  const std::string type = w->value("type", "int"), strategy = w->value("strategy", w->has("group_size") ? "group" : "channel");
  const int64_t bits = w->value("num_bits", 8);
  check((type == "int" && (bits == 4 || bits == 8)) || (type == "float" && bits == 8), ErrorCode::Format, "quantization_config",
        "config_groups.", name, ": 4-bit and 8-bit int and 8-bit float weights are supported, got ", bits, "-bit ", type);
  check(strategy == "group" || strategy == "channel" || strategy == "tensor" || strategy == "block", ErrorCode::Format,
        "quantization_config", "config_groups.", name, ": weights in groups, channels, tensors and blocks are supported, got \"", strategy,
        "\"");
  s.groups.push_back(strategy == "group" ? read_group(*w, {"group_size"}, 128) : 0);
  s.symmetric = w->value("symmetric", true);
  if (const Json* block = w->get("block_structure"); strategy == "block" && block && block->is_array() && block->as_array().size() == 2) {
    s.block_rows = block->as_array()[0].as_int("block_structure"), s.block_columns = block->as_array()[1].as_int("block_structure");
    check(s.block_rows > 0 && s.block_columns > 0 && s.block_columns % 32 == 0, ErrorCode::Format, "quantization_config",
          "\"block_structure\": expected rows, and columns in multiples of 32, got ", s.block_rows, " by ", s.block_columns);
  }
}

inline void check_compression(const std::string& format) {
  for (const char* known : {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision"})
    if (format == known) return;
  fail(ErrorCode::Format, "quantization_config",
       "\"format\": compressed-tensors of pack-quantized, int-quantized, float-quantized and naive-quantized weights are supported, got \"",
       format, "\"");
}

}  // namespace detail

/// Errors: Error(Format) for what is not supported, Error(Type).
inline StoredSettings compressed_tensors_settings(const Json& c) {
  StoredSettings s{.version = c.value("format", "pack-quantized"), .groups = {}, .ignore = detail::read_names(c, "ignore")};
  detail::check_compression(s.version);
  const Json* groups = c.get("config_groups");
  check(groups && groups->is_object() && !groups->as_object().empty(), ErrorCode::Format, "quantization_config",
        "\"config_groups\": expected what the weights are");
  for (const auto& [name, group] : groups->as_object()) {
    if (const Json* format = group.get("format"); format && format->is_string()) detail::check_compression(format->as_string());
    detail::read_config_group(name, group, s);
  }
  if (const Json* sparse = c.get("sparsity_config"); sparse && sparse->is_object() && !sparse->as_object().empty())
    check(sparse->value("format", "dense") == "dense", ErrorCode::Format, "quantization_config",
          "\"sparsity_config\": only dense is supported, got \"", sparse->value("format", ""), "\"");
  if (const Json* turn = c.get("transform_config"); turn && turn->is_object())
    check(turn->as_object().empty() || !turn->has("config_groups") || turn->at("config_groups").as_object("config_groups").empty(),
          ErrorCode::Format, "quantization_config", "\"transform_config\": rotated weights are not supported");
  return s;
}

namespace detail {

/// A layer of 4 bits. Words hold 8 columns of a row, and 8 rows of zero points.
struct PackedTensors {
  Tensor weight, zeros, scales, group_of;
  int64_t group, G;
};

inline PackedTensors packed_tensors(const StoredLayer& l, const StoredSettings& s) {
  PackedTensors t{{}, {}, l.find("weight_scale"), {}, 0, 0};
  const Tensor weight = l.find("weight_packed");
  check_stored(weight.rank() != 2 || weight.size(0) != l.N || weight.size(1) != (l.K + 3) / 4 || l.K <= 4, l,
               "weight_packed: packed weights of 4 bits are supported, got 8");
  t.weight = stored_tensor(l, "weight_packed", {DType::I32}, {l.N, (l.K + 7) / 8});
  check_stored(t.scales.defined() && t.scales.rank() == 2 && t.scales.size(0) == l.N && t.scales.size(1) > 0, l, "weight_scale: expected (",
               l.N, ", groups), got ", t.scales.describe());
  t.G = t.scales.size(1);
  check_stored(l.K % t.G == 0, l, "weight_scale: its ", t.G, " groups do not divide ", l.K, " input features");
  t.group = stored_group(l, l.K / t.G);
  bool configured = false;
  for (const int64_t group : s.groups) configured |= t.group == (group ? group : l.K);
  check_stored(configured, l, "weight_scale: groups of ", t.group, " are not those of quantization_config");
  t.scales = stored_tensor(l, "weight_scale", {DType::F16, DType::BF16, DType::F32}, {l.N, t.G});
  if (l.find("weight_zero_point").defined())
    t.zeros = stored_tensor(l, "weight_zero_point", {DType::I32}, {(l.N + 7) / 8, t.G});
  else
    check_stored(s.symmetric || s.groups.size() > 1, l, "weight_zero_point is missing");
  if (l.find("weight_g_idx").defined()) t.group_of = stored_tensor(l, "weight_g_idx", {DType::I32, DType::I64}, {l.K});
  if (const Tensor shape = l.find("weight_shape"); shape.defined()) stored_tensor(l, "weight_shape", {DType::I64, DType::I32}, {2});
  return t;
}

struct Int8Tensors {
  Tensor weight, scales;
};

inline Int8Tensors int8_tensors(const StoredLayer& l) {
  Int8Tensors t{stored_tensor(l, "weight", {DType::I8}, {l.N, l.K}), l.find("weight_scale")};
  check_stored(t.scales.defined(), l, "weight_scale is missing");
  check_stored(!l.find("weight_zero_point").defined(), l, "int8 weights with zero points are not supported");
  const DType type = t.scales.dtype();
  check_stored(type == DType::F32 || type == DType::BF16 || type == DType::F16, l, "weight_scale: expected floating point numbers, got ",
               name_of(type));
  check_stored(t.scales.numel() == 1 || t.scales.shape() == Shape{l.N} || t.scales.shape() == Shape{l.N, 1}, l,
               "weight_scale: int8 weights with one scale, or one for each of ", l.N, " rows, are supported, got ", t.scales.shape());
  return t;
}

}  // namespace detail

namespace detail {

/// The order of columns, empty if they are in place.
inline std::vector<int64_t> packed_order(const StoredLayer& l, const PackedTensors& t) {
  if (!t.group_of.defined()) return {};
  const Tensor group_of = t.group_of.to(DType::I32);
  bool unused = true;  // observers leave -1 behind where columns are in order
  for (int64_t k = 0; k < l.K; ++k) unused &= group_of.data<int32_t>()[k] == -1;
  return unused ? std::vector<int64_t>() : stored_order(l, group_of, t.group);
}

}  // namespace detail

/// Headers alone. Errors: Error(Format) naming the layer.
inline void check_compressed_tensors(const StoredLayer& l, const StoredSettings& s) {
  if (l.find("weight_packed").defined())
    detail::packed_tensors(l, s);
  else if (l.find("weight").dtype() == DType::I8)
    detail::int8_tensors(l);
  else
    detail::fp8_tensors(l, s);
}

/// Scales and the order of columns. Errors: Error(Format) naming the tensor.
inline void check_compressed_contents(const StoredLayer& l, const StoredSettings& s) {
  check_scales(l, l.K);
  if (l.find("weight_packed").defined()) detail::packed_order(l, detail::packed_tensors(l, s));
}

/// Errors: Error(Format) naming the layer, also for scales that are zero or not finite.
/// Source: compressed-tensors, compressors/quantized_compressors.
inline StoredWeight read_compressed_tensors(Context& ctx, const StoredLayer& l, const StoredSettings& s) {
  if (!l.find("weight_packed").defined()) {
    if (l.find("weight").dtype() != DType::I8) return read_fp8(ctx, l, s);
    const detail::Int8Tensors t = detail::int8_tensors(l);
    const Tensor scale = detail::read_scales(l, t.scales.view({t.scales.numel(), 1}), false, t.scales.numel(), 1);
    Tensor each = Tensor::empty({l.N}, DType::F32);
    for (int64_t n = 0; n < l.N; ++n) each.data<float>()[n] = scale.data<float>()[scale.numel() == 1 ? 0 : n];
    return {{}, t.weight, each};
  }
  const detail::PackedTensors t = detail::packed_tensors(l, s);
  if (const Tensor shape = l.find("weight_shape"); shape.defined()) {
    const Tensor sizes = shape.to(DType::I64);
    const int64_t* size = sizes.data<int64_t>();
    detail::check_stored(size[0] == l.N && size[1] == l.K, l, "weight_shape: expected (", l.N, ", ", l.K, "), got (", size[0], ", ",
                         size[1], ")");
  }
  const int64_t bytes = (l.K + 1) / 2, words = (l.K + 7) / 8;
  QuantizedMatrix m{WeightFormat::Int4, l.N, l.K, t.group, {}, {}, {}, {}};
  if (bytes == 4 * words && !t.group_of.defined()) {
    m.q = detail::bytes_of(t.weight, {l.N, bytes});
  } else {
    m.q = Tensor::empty({l.N, bytes}, DType::U8);
    for (int64_t n = 0; n < l.N; ++n)
      std::memcpy(m.q.data<uint8_t>() + n * bytes, static_cast<const char*>(std::as_const(t.weight).raw()) + n * 4 * words,
                  static_cast<size_t>(bytes));
  }
  m.scale = detail::read_scales(l, t.scales, false, l.N, t.G);
  if (t.zeros.defined()) {
    const int32_t* zeros = t.zeros.data<int32_t>();
    m.zero = detail::read_zeros(l.N, t.G, 0, [&](int64_t n, int64_t g) { return std::pair{zeros[n / 8 * t.G + g], 4 * (n % 8)}; });
  } else {
    m.zero = Tensor::empty({l.N, t.G}, DType::U8);
    std::memset(m.zero.raw(), 8, m.zero.nbytes());
  }
  m.order = detail::packed_order(l, t);
  if (!m.order.empty()) detail::reorder_codes(ctx, m.q.data<uint8_t>(), l.N, l.K, m.order);
  return {m, {}, {}};
}

/// The matrix as pack-quantized 4 bits; settings.symmetric leaves zero points out, which then must all be 8.
/// Errors: Error(Format).
inline StoredTensors write_compressed_tensors(Context& ctx, const QuantizedMatrix& m, const StoredSettings& s) {
  check_matrix(m);
  check(m.format == WeightFormat::Int4 && m.K % m.group == 0, ErrorCode::Format, "compressed-tensors",
        "expected 4 bits in groups that divide the input features, got ", m.K, " in groups of ", m.group);
  const int64_t G = m.groups(), bytes = (m.K + 1) / 2, words = (m.K + 7) / 8;
  Tensor codes = m.q;
  if (!m.order.empty()) {
    codes = m.q.clone();
    detail::reorder_codes(ctx, codes.data<uint8_t>(), m.N, m.K, m.order, true);
  }
  Tensor weight = Tensor::zeros({m.N, words}, DType::I32), scales = Tensor::empty({m.N, G}, DType::F16);
  for (int64_t n = 0; n < m.N; ++n)
    std::memcpy(static_cast<char*>(weight.raw()) + n * 4 * words, std::as_const(codes).data<uint8_t>() + n * bytes,
                static_cast<size_t>(bytes));
  for (int64_t i = 0; i < m.scale.numel(); ++i) scales.data<float16>()[i] = float16::from(m.scale.data<float>()[i]);
  StoredTensors all{
      {"weight_packed", weight}, {"weight_scale", scales}, {"weight_shape", Tensor::from(std::vector<int64_t>{m.N, m.K}, {2})}};
  const uint8_t* zero = m.zero.data<uint8_t>();
  if (s.symmetric) {
    for (int64_t i = 0; i < m.zero.numel(); ++i)
      check(zero[i] == 8, ErrorCode::Format, "compressed-tensors", "expected zero points of 8 (symmetric), got ",
            static_cast<int>(zero[i]));
  } else {
    Tensor zeros = Tensor::zeros({(m.N + 7) / 8, G}, DType::I32);
    auto* to = reinterpret_cast<uint32_t*>(zeros.data<int32_t>());
    for (int64_t n = 0; n < m.N; ++n)
      for (int64_t g = 0; g < G; ++g) to[n / 8 * G + g] |= static_cast<uint32_t>(zero[n * G + g]) << 4 * (n % 8);
    all.emplace_back("weight_zero_point", zeros);
  }
  if (!m.order.empty()) {
    Tensor group_of = Tensor::empty({m.K}, DType::I32);
    for (int64_t k = 0; k < m.K; ++k) group_of.data<int32_t>()[m.order[static_cast<size_t>(k)]] = static_cast<int32_t>(k / m.group);
    all.emplace_back("weight_g_idx", group_of);
  }
  return all;
}

inline Json compressed_tensors_config(const StoredSettings& s) {
  Json weights(Json::Object{{"num_bits", 4}, {"type", "int"}, {"symmetric", s.symmetric}, {"dynamic", false}});
  weights.set("strategy", s.group ? "group" : "channel");
  if (s.group) weights.set("group_size", Json(s.group));
  if (s.desc_act) weights.set("actorder", "group");
  const Json group(Json::Object{
      {"targets", Json::Array{Json("Linear")}}, {"weights", weights}, {"input_activations", Json()}, {"output_activations", Json()}});
  Json c(Json::Object{{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}, {"quantization_status", "compressed"}});
  c.set("config_groups", Json(Json::Object{{"group_0", group}}));
  c.set("ignore", detail::names_json(s.ignore));
  return c;
}

}  // namespace tenon::quant
