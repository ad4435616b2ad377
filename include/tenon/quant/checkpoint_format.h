// The table of checkpoint formats: from quantization_config and a layer's stored tensors to a matrix, and back.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tenon/quant/awq.h"
#include "tenon/quant/compressed_tensors.h"
#include "tenon/quant/fp8.h"
#include "tenon/quant/gptq.h"

namespace tenon::quant {

struct CheckpointFormat {
  std::string_view method;                     // "quant_method" of quantization_config
  std::span<const std::string_view> suffixes;  // the tensors that a layer may have, those that tell it is quantised first
  size_t telling;                              // how many those are
  StoredSettings (*settings)(const Json&);
  void (*check)(const StoredLayer&, const StoredSettings&);  // headers
  StoredWeight (*read)(Context&, const StoredLayer&, const StoredSettings&);
  StoredTensors (*write)(Context&, const QuantizedMatrix&, const StoredSettings&);
  Json (*config)(const StoredSettings&);
  void (*check_contents)(const StoredLayer&, const StoredSettings&);  // scales and orders of columns: little to read
};

namespace detail {
inline constexpr std::array<std::string_view, 3> kAwqNames = {"qweight", "qzeros", "scales"};
inline constexpr std::array<std::string_view, 4> kGptqNames = {"qweight", "qzeros", "scales", "g_idx"};
inline constexpr std::array<std::string_view, 6> kFp8Names = {"weight_scale_inv", "weight_scale",     "weight",
                                                              "input_scale",      "activation_scale", "input_scale_ub"};
inline constexpr std::array<std::string_view, 8> kCompressedNames = {
    "weight_packed", "weight_scale", "weight", "weight_shape", "weight_zero_point", "weight_g_idx", "input_scale", "input_zero_point"};
}  // namespace detail

inline constexpr std::array<CheckpointFormat, 5> kCheckpointFormats = {{
    {"awq", detail::kAwqNames, 1, awq_settings, check_awq, read_awq, write_awq, awq_config, check_awq_contents},
    {"gptq", detail::kGptqNames, 1, gptq_settings, check_gptq, read_gptq, write_gptq, gptq_config, check_gptq_contents},
    {"compressed-tensors", detail::kCompressedNames, 2, compressed_tensors_settings, check_compressed_tensors, read_compressed_tensors,
     write_compressed_tensors, compressed_tensors_config, check_compressed_contents},
    {"fp8", detail::kFp8Names, 2, fp8_settings, check_fp8, read_fp8, write_fp8, fp8_config, check_scales},
    {"fbgemm_fp8", detail::kFp8Names, 2, fp8_settings, check_fp8, read_fp8, write_fp8, fp8_config, check_scales},
}};

/// A format with the settings of one checkpoint.
struct Scheme {
  const CheckpointFormat* format = nullptr;
  StoredSettings settings;

  /// Errors: Error(Format) for a method, a version or a number of bits that is not supported (naming what is), Error(Type).
  static Scheme from_json(const Json& quantization_config) {
    const std::string method = quantization_config.value("quant_method", "");
    std::string known;
    for (const CheckpointFormat& f : kCheckpointFormats) {
      if (method == f.method) return {&f, f.settings(quantization_config)};
      known += (known.empty() ? "" : ", ") + std::string(f.method);
    }
    fail(ErrorCode::Format, "quantization_config", "\"quant_method\": expected one of ", known, ", got \"", method, "\"");
  }
  /// That of a model's config.json, or nothing.
  static std::optional<Scheme> of_config(const Json& config) {
    const Json* c = config.get("quantization_config");
    if (!c || c->is_null()) return std::nullopt;
    return from_json(*c);
  }

  /// "awq, 4 bits, groups of 128"
  std::string describe() const {
    std::string text(format->method);
    if (format->method == "awq" || format->method == "gptq") {
      text += " " + settings.version + ", 4 bits, " + (settings.group ? "groups of " + std::to_string(settings.group) : "a scale a row");
      if (settings.desc_act) text += ", act-order";
    } else if (settings.block_rows) {
      text += ", 8 bits, blocks of " + std::to_string(settings.block_rows) + " by " + std::to_string(settings.block_columns);
    } else if (format->method == "compressed-tensors") {
      text += " " + settings.version;
    }
    return text;
  }
};

}  // namespace tenon::quant
