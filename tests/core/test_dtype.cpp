// Conversions of the small floats: every value, and every rounding boundary between neighbours.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tenon/core/dtype.h"

using namespace tenon;

namespace {

/// The value of a small float by the book: sign, exponent of e bits with that bias, mantissa of m bits; no special values.
double by_the_book(unsigned bits, int e, int m, int bias) {
  const unsigned mantissa = bits & ((1u << m) - 1), exponent = (bits >> m) & ((1u << e) - 1);
  const double value =
      exponent == 0 ? std::ldexp(mantissa, 1 - bias - m) : std::ldexp((1u << m) + mantissa, static_cast<int>(exponent) - bias - m);
  return bits >> (e + m) & 1 ? -value : value;
}

/// Between each finite value of Half and the next: just below the middle goes down, just above goes up, the middle to even.
template <class Half>
void check_rounding(uint16_t largest) {
  for (uint16_t low = 0; low < largest; ++low) {
    const float a = Half{low}, b = Half{static_cast<uint16_t>(low + 1)};
    const float middle = a + (b - a) / 2;
    const float below = std::nextafterf(middle, 0), above = std::nextafterf(middle, std::numeric_limits<float>::infinity());
    const uint16_t even = low + (low & 1);
    REQUIRE(Half::from(middle).bits == even);
    REQUIRE(Half::from(-middle).bits == (even | 0x8000));
    REQUIRE(Half::from(below).bits == low);
    REQUIRE(Half::from(above).bits == low + 1);
  }
}

}  // namespace

TEST_CASE("dtype: float16 values, both ways") {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const float f = float16{static_cast<uint16_t>(bits)};
    const unsigned exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
    if (exponent == 31 && mantissa) {
      REQUIRE(std::isnan(f));
      REQUIRE(std::isnan(static_cast<float>(float16::from(f))));
    } else {
      if (exponent == 31)
        REQUIRE(std::isinf(f));
      else
        REQUIRE(f == by_the_book(bits, 5, 10, 15));
      REQUIRE(float16::from(f).bits == bits);  // the sign of zero too
    }
  }
}

TEST_CASE("dtype: bfloat16 values, both ways") {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const float f = bfloat16{static_cast<uint16_t>(bits)};
    if ((bits & 0x7fff) > 0x7f80) {
      REQUIRE(std::isnan(f));
      REQUIRE(std::isnan(static_cast<float>(bfloat16::from(f))));
    } else {
      if ((bits & 0x7f80) != 0x7f80) REQUIRE(f == by_the_book(bits, 8, 7, 127));
      REQUIRE(bfloat16::from(f).bits == bits);
    }
  }
}

TEST_CASE("dtype: rounding to nearest even") {
  check_rounding<float16>(0x7bff);
  check_rounding<bfloat16>(0x7f7f);
}

TEST_CASE("dtype: overflow, underflow, NaN payloads") {
  CHECK(float16::from(65519.996f).bits == 0x7bff);
  CHECK(float16::from(65520.0f).bits == 0x7c00);
  CHECK(float16::from(-1e30f).bits == 0xfc00);
  CHECK(float16::from(0x1p-25f).bits == 0);  // halfway to the smallest subnormal: even is zero
  CHECK(float16::from(std::nextafterf(0x1p-25f, 1.0f)).bits == 1);
  CHECK(float16::from(-1e-30f).bits == 0x8000);
  CHECK(bfloat16::from(std::numeric_limits<float>::max()).bits == 0x7f80);
  // a NaN whose payload is all in the lower half must not become an infinity
  const float nan = std::bit_cast<float>(0x7f800001u);
  CHECK(std::isnan(static_cast<float>(bfloat16::from(nan))));
  CHECK(std::isnan(static_cast<float>(float16::from(nan))));
}

TEST_CASE("dtype: 8-bit floats") {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const auto byte = static_cast<uint8_t>(bits);
    if ((bits & 0x7f) == 0x7f)
      REQUIRE(std::isnan(f8e4m3_to_float(byte)));
    else
      REQUIRE(f8e4m3_to_float(byte) == by_the_book(bits, 4, 3, 7));
    const unsigned exponent = bits >> 2 & 31, mantissa = bits & 3;
    if (exponent == 31)
      REQUIRE((mantissa ? std::isnan(f8e5m2_to_float(byte)) : std::isinf(f8e5m2_to_float(byte))));
    else
      REQUIRE(f8e5m2_to_float(byte) == by_the_book(bits, 5, 2, 15));
  }
  CHECK(f8e4m3_to_float(0x7e) == 448);
  CHECK(std::signbit(f8e4m3_to_float(0x80)));
  for (unsigned bits = 0; bits < 255; ++bits)
    REQUIRE(f8e8m0_to_float(static_cast<uint8_t>(bits)) == std::ldexp(1.0f, static_cast<int>(bits) - 127));
  CHECK(std::isnan(f8e8m0_to_float(0xff)));
}

TEST_CASE("dtype: names and sizes") {
  CHECK(name_of(DType::F64) == "float64");
  CHECK(name_of(DType::BF16) == "bfloat16");
  CHECK(name_of(DType::F8E4M3) == "float8_e4m3fn");
  CHECK(name_of(DType::F8E8M0) == "float8_e8m0fnu");
  CHECK(name_of(DType::Bool) == "bool");
  CHECK(size_of(DType::U64) == 8);
  CHECK(size_of(DType::I32) == 4);
  CHECK(size_of(DType::U16) == 2);
  CHECK(size_of(DType::F8E5M2) == 1);
  CHECK(is_float(DType::F8E5M2));
  CHECK_FALSE(is_float(DType::I64));
}
