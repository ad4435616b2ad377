// The table of weight formats: what each is called and how large it is.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "tenon/core/error.h"
#include "tenon/core/kernels.h"

namespace tenon::quant {

struct FormatInfo {
  WeightFormat format;
  std::string_view name;
  std::string_view alias;  // another spelling that people use
  int bits;                // per weight
  double bytes_per_weight;
  bool has_scale;  // one float32 per output channel
  bool grouped;    // packed from a QuantizedMatrix, with scales of its own
};

inline constexpr std::array<FormatInfo, 5> kFormats = {{
    {WeightFormat::F32, "float32", "fp32", 32, 4, false, false},
    {WeightFormat::BF16, "bfloat16", "bf16", 16, 2, false, false},
    {WeightFormat::Int8, "int8", "int8", 8, 1, true, false},
    {WeightFormat::Int4, "int4", "int4", 4, 0.5, false, true},
    {WeightFormat::Fp8, "float8", "fp8", 8, 1, false, true},
}};

/// How a weight is packed for inference.
struct Packing {
  WeightFormat format = WeightFormat::F32;
  bool fp8_rows = false;  // as in PackedWeight; the CPU's products are exact, whatever it says

  constexpr Packing(WeightFormat f, bool rows = false) : format(f), fp8_rows(rows) {}
};

constexpr const FormatInfo& info(WeightFormat format) { return kFormats[static_cast<size_t>(format)]; }

/// Reads a format's name or alias.
/// Errors: Error(Format) listing what is known.
inline WeightFormat parse_format(std::string_view name) {
  std::string known;
  for (const FormatInfo& f : kFormats) {
    if (name == f.name || name == f.alias) return f.format;
    known += (known.empty() ? "" : ", ") + std::string(f.name);
  }
  fail(ErrorCode::Format, "weight format", "expected one of ", known, ", got '", name, "'");
}

}  // namespace tenon::quant
