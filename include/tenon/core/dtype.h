// Element types of tensors and the conversions between the 16-bit and 8-bit floats and float32.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tenon {

enum class DType : uint8_t { F64, F32, F16, BF16, F8E4M3, F8E5M2, F8E8M0, I64, I32, I16, I8, U64, U32, U16, U8, Bool };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::F64: case DType::I64: case DType::U64: return 8;
    case DType::F32: case DType::I32: case DType::U32: return 4;
    case DType::F16: case DType::BF16: case DType::I16: case DType::U16: return 2;
    default: return 1;
  }
}

constexpr bool is_float(DType t) { return t <= DType::F8E8M0; }

/// The name Transformers and PyTorch users know: "float32", "bfloat16", "int64", ...
constexpr std::string_view name_of(DType t) {
  constexpr std::string_view names[] = {"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu",
                                        "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"};
  return names[static_cast<size_t>(t)];
}

/// bfloat16: the upper half of a float32, rounded to nearest even; NaN stays NaN.
struct bfloat16 {
  uint16_t bits;
  static constexpr bfloat16 from(float f) {
    const uint32_t u = std::bit_cast<uint32_t>(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40)};
    return {static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
  }
  constexpr operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

/// IEEE half precision.
struct float16 {
  uint16_t bits;
  static constexpr float16 from(float f) {
    const uint32_t u = std::bit_cast<uint32_t>(f), sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
    if (a >= 0x47800000) return {static_cast<uint16_t>(sign | (a > 0x7f800000 ? 0x7e00 : 0x7c00))};
    if (a < 0x38800000) {  // a half's subnormal: adding 0.5 lets the float unit round at the right bit
      const float r = std::bit_cast<float>(a) + 0.5f;
      return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(r) - 0x3f000000))};
    }
    return {static_cast<uint16_t>(sign | ((a - 0x38000000 + 0xfff + ((a >> 13) & 1)) >> 13))};
  }
  constexpr operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, e = (bits >> 10) & 31, m = bits & 0x3ff;
    if (e == 31) return std::bit_cast<float>(sign | 0x7f800000 | (m << 13));
    if (e == 0) {
      const float f = static_cast<float>(m) * 0x1p-24f;
      return std::bit_cast<float>(std::bit_cast<uint32_t>(f) | sign);
    }
    return std::bit_cast<float>(sign | ((e + 112) << 23) | (m << 13));
  }
};

/// An e4m3fn number as it lies in memory.
struct float8 {
  uint8_t bits = 0;
};

/// The float value of an e4m3fn byte (bias 7, no infinity, 0x7f is NaN, largest 448).
constexpr float f8e4m3_to_float(uint8_t b) {
  const uint32_t sign = static_cast<uint32_t>(b & 0x80) << 24, e = (b >> 3) & 15, m = b & 7;
  if (e == 15 && m == 7) return std::bit_cast<float>(sign | 0x7fc00000);
  const float f = e == 0 ? static_cast<float>(m) * 0x1p-9f : std::bit_cast<float>(((e + 120) << 23) | (m << 20));
  return std::bit_cast<float>(std::bit_cast<uint32_t>(f) | sign);
}

/// The nearest e4m3 of v (ties to even), which is clamped to -448 to 448; 0 for a NaN.
constexpr uint8_t float_to_f8e4m3(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  const float a = std::bit_cast<float>(bits & 0x7fffffff), clamped = a < 448.0f ? a : a == a ? 448.0f : 0.0f;
  // Adding 2^20 times its own power of two leaves three bits of the fraction; below 2^-6 the steps no longer shrink.
  const uint32_t power = std::bit_cast<uint32_t>(clamped) & 0x7f800000, exponent = power > 0x3c800000 ? power : 0x3c800000;
  const uint32_t magic = exponent + (20u << 23), sum = std::bit_cast<uint32_t>(clamped + std::bit_cast<float>(magic));
  return static_cast<uint8_t>(((bits >> 24) & 0x80) | (sum - magic + ((exponent >> 20) - (121u << 3))));
}

/// The float value of an e5m2 byte: the upper half of a float16.
constexpr float f8e5m2_to_float(uint8_t b) { return float16{static_cast<uint16_t>(b << 8)}; }

/// The float value of an e8m0fnu byte, a power of two: 2^(b - 127), 0xff is NaN.
constexpr float f8e8m0_to_float(uint8_t b) {
  return std::bit_cast<float>(b == 0xff ? 0x7fc00000u : b == 0 ? 0x00400000u : static_cast<uint32_t>(b) << 23);
}

}  // namespace tenon
