// What a checkpoint says of its quantised weights: the settings in its config.json and the tensors of one layer.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/core/json.h"
#include "tenon/quant/quantized_matrix.h"

namespace tenon::quant {

/// Tensors by what follows the name of their layer: "qweight", "scales".
using StoredTensors = std::vector<std::pair<std::string, Tensor>>;

/// quantization_config, as far as it says how weights are stored.
struct StoredSettings {
  int64_t group = 128;                        // columns that share a scale; 0 = all of a row
  bool symmetric = false;                     // zero points are all 8
  bool desc_act = false;                      // GPTQ: columns were quantised in another order
  std::string version;                        // "gemm" or "gemv"; "gptq" or "gptq_v2"
  std::vector<int64_t> groups;                // compressed-tensors: the sizes that layers may have; 0 = all of a row
  int64_t block_rows = 0, block_columns = 0;  // Fp8: what a scale covers; 0 = one scale a row or for all
  std::vector<std::string> ignore;            // layers that were left as they are
};

/// One linear layer of a checkpoint. Its tensors are mapped: nothing is read before the layer is.
struct StoredLayer {
  std::string name;  // for messages
  int64_t N = 0, K = 0;
  StoredTensors tensors;

  /// Undefined if there is none.
  Tensor find(std::string_view suffix) const {
    for (const auto& [key, t] : tensors)
      if (key == suffix) return t;
    return {};
  }
};

/// What a stored layer holds: a matrix with scales in groups, or int8 rows with a scale each.
struct StoredWeight {
  QuantizedMatrix matrix;
  Tensor rows, scale;  // (N,K) i8, (N) f32

  bool is_rows() const { return rows.defined(); }
};

namespace detail {

template <class... Parts>
void check_stored(bool holds, const StoredLayer& layer, const Parts&... parts) {
  check(holds, ErrorCode::Format, "quantized weights", layer.name, ": ", parts...);
}

/// The tensor, which must be there with this type and shape.
inline const Tensor stored_tensor(const StoredLayer& layer, std::string_view suffix, std::initializer_list<DType> types,
                                  const Shape& shape) {
  const Tensor t = layer.find(suffix);
  check_stored(t.defined(), layer, suffix, " is missing");
  bool known = false;
  std::string names;
  for (const DType type : types) known |= t.dtype() == type, names += (names.empty() ? "" : " or ") + std::string(name_of(type));
  check_stored(known, layer, suffix, ": expected ", names, ", got ", name_of(t.dtype()));
  check_stored(t.shape() == shape, layer, suffix, ": expected shape ", shape, " for a weight (", layer.N, ", ", layer.K, "), got ",
               t.shape());
  return t;
}

/// The group size for the layer's K. Errors: Error(Format) unless it divides K into groups that the kernels take.
inline int64_t stored_group(const StoredLayer& layer, int64_t group) {
  if (group == 0 || group == layer.K) return layer.K;
  check_stored(group % 32 == 0, layer, "group_size: expected a multiple of 32, or -1 for a whole row, got ", group);
  check_stored(layer.K % group == 0, layer, "group_size ", group, " does not divide its ", layer.K, " input features");
  return group;
}

/// group_size of a config: -1 means all of a row. Errors: Error(Format).
inline int64_t read_group(const Json& c, std::initializer_list<const char*> keys, int64_t fallback) {
  int64_t group = fallback;
  for (const char* k : keys)
    if (const Json* v = c.get(k); v && !v->is_null()) group = v->as_int(k);
  check(group == -1 || group > 0, ErrorCode::Format, "quantization_config", "\"", *keys.begin(), "\": expected a size or -1, got ", group);
  return group == -1 ? 0 : group;
}

inline std::vector<std::string> read_names(const Json& c, const char* key) {
  std::vector<std::string> names;
  if (const Json* v = c.get(key); v && !v->is_null())
    for (const Json& name : v->as_array(key)) names.push_back(name.as_string(key));
  return names;
}

inline Json names_json(const std::vector<std::string>& names) {
  Json::Array all;
  for (const std::string& n : names) all.emplace_back(n);
  return all;
}

inline void check_bits(int64_t bits) {
  check(bits == 4, ErrorCode::Format, "quantization_config", "\"bits\": only 4 is supported, got ", bits);
}

/// A tensor's bytes under another shape, without a copy.
inline Tensor bytes_of(const Tensor& t, const Shape& shape) {
  const auto at = static_cast<const char*>(t.raw()) - static_cast<const char*>(t.storage()->data);
  return Tensor::over(t.storage(), static_cast<size_t>(at), shape, DType::U8);
}

/// Scales as float32, (rows,columns) or turned. Errors: Error(Format) for zeros and what is not finite.
inline Tensor read_scales(const StoredLayer& layer, const Tensor& stored, bool turned, int64_t rows, int64_t columns) {
  const Tensor wide = stored.to(DType::F32);
  const float* from = wide.data<float>();
  Tensor scale = Tensor::empty({rows, columns}, DType::F32);
  float* to = scale.data<float>();
  const int64_t row = turned ? 1 : wide.size(-1), column = turned ? wide.size(-1) : 1;
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t g = 0; g < columns; ++g) {
      const float s = from[n * row + g * column];
      check_stored(std::isfinite(s) && s != 0, layer, "the scale of output ", n, ", group ", g, ": expected a number other than 0, got ",
                   s);
      to[n * columns + g] = s;
    }
  return scale;
}

/// The first of n scales that is zero or not finite, n if there is none; `exponent` masks the bits that are all set in what is not finite.
template <class Bits>
int64_t first_bad_scale(const void* scales, int64_t n, Bits exponent) {
  constexpr Bits kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  const auto* bits = static_cast<const Bits*>(scales);
  const auto bad = [&](Bits b) { return ((b & exponent) == exponent) | ((b & kMagnitude) == 0); };
  unsigned any = 0;  // without a branch, for vectors
  for (int64_t i = 0; i < n; ++i) any |= static_cast<unsigned>(bad(bits[i]));
  int64_t i = 0;
  while (i < n && !(any && bad(bits[i]))) ++i;
  return i;
}

inline int64_t first_bad_scale(DType type, const void* scales, int64_t n) {
  if (type == DType::F16) return first_bad_scale<uint16_t>(scales, n, 0x7c00);
  if (type == DType::BF16) return first_bad_scale<uint16_t>(scales, n, 0x7f80);
  if (type == DType::F32) return first_bad_scale<uint32_t>(scales, n, 0x7f800000);
  const auto* powers = static_cast<const uint8_t*>(scales);  // e8m0: only NaN is no scale
  return type == DType::F8E8M0 ? std::find(powers, powers + n, uint8_t{0xff}) - powers : n;
}

/// Both halves of each byte of 4-bit zero points as the words hold them: to[n * G + g] from word (g, n / 8) or, by rows, (n, g / 8).
template <class Place>
Tensor read_zeros(int64_t N, int64_t G, int offset, Place&& place) {
  Tensor zero = Tensor::empty({N, G}, DType::U8);
  uint8_t* to = zero.data<uint8_t>();
  for (int64_t n = 0; n < N; ++n)
    for (int64_t g = 0; g < G; ++g) {
      const auto [word, shift] = place(n, g);
      to[n * G + g] = static_cast<uint8_t>(((static_cast<uint32_t>(word) >> shift) + static_cast<uint32_t>(offset)) & 15);
    }
  return zero;
}

}  // namespace detail

/// Looks at every scale of a layer, about a thirtieth of its bytes, so that damage is found when a checkpoint is opened.
/// columns: how many of each row are scales; the others, which fill words up, may hold anything.
/// Errors: Error(Format) naming the tensor and the place of a scale that is zero or not finite.
inline void check_scales(const StoredLayer& layer, int64_t columns) {
  for (const auto& [suffix, t] : layer.tensors) {
    if ((suffix != "scales" && suffix != "weight_scale" && suffix != "weight_scale_inv") || t.numel() == 0) continue;
    const int64_t width = t.rank() == 2 ? t.size(1) : 1, used = std::min(columns, width);
    const bool whole = used == width;  // then all rows at once
    const int64_t count = whole ? t.numel() : used;
    for (int64_t first = 0; first < t.numel(); first += whole ? count : width) {
      const int64_t bad =
          first +
          detail::first_bad_scale(t.dtype(), static_cast<const char*>(t.raw()) + first * static_cast<int64_t>(size_of(t.dtype())), count);
      if (bad == first + count) continue;
      const std::string place = std::to_string(bad / width) + (t.rank() == 2 ? ", " + std::to_string(bad % width) : "");
      fail(ErrorCode::Format, "quantized weights", layer.name, ".", suffix, ": element (", place, "): expected a number other than 0, got ",
           t.view({t.numel()}).rows(bad, bad + 1).to(DType::F32).item());
    }
  }
}
inline void check_scales(const StoredLayer& layer, const StoredSettings&) { check_scales(layer, layer.K); }

}  // namespace tenon::quant
