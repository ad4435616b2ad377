// Philox against the known answers that Random123 publishes (kat_vectors, philox4x32 with 10 rounds).
#include <doctest/doctest.h>

#include <cmath>

#include "tenon/core/random.h"

using tenon::Random;
using Block = std::array<uint32_t, 4>;

TEST_CASE("random: Random123's known answers") {
  CHECK(Random(0, 0).block(0) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const uint64_t ones = ~uint64_t{0};
  CHECK(Random(ones, ones).block(ones) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Random(0x299f31d0a4093822, 0x0370734413198a2e).block(0x85a308d3243f6a88) == Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: numbers come from the blocks in order, and streams and seeds differ") {
  Random r(7, 3);
  for (uint64_t counter = 0; counter < 3; ++counter)
    for (const uint32_t expected : Random(7, 3).block(counter)) CHECK(r.next() == expected);
  CHECK(Random(7, 3).next() != Random(7, 4).next());
  CHECK(Random(7, 3).next() != Random(8, 3).next());
}

TEST_CASE("random: uniform and normal have the moments they should") {
  Random r(1);
  constexpr int n = 100000;
  double sum = 0, low = 1, high = 0;
  for (int i = 0; i < n; ++i) {
    const double u = r.uniform();
    sum += u, low = std::min(low, u), high = std::max(high, u);
  }
  CHECK(low >= 0);
  CHECK(high < 1);
  CHECK(sum / n == doctest::Approx(0.5).epsilon(0.01));
  double mean = 0, square = 0, fourth = 0;
  for (int i = 0; i < n; ++i) {
    const double v = r.normal();
    REQUIRE(std::isfinite(v));
    mean += v / n, square += v * v / n, fourth += v * v * v * v / n;
  }
  CHECK(std::abs(mean) < 0.02);
  CHECK(square == doctest::Approx(1).epsilon(0.02));
  CHECK(fourth == doctest::Approx(3).epsilon(0.06));
}
