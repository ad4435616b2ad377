// Counter-based random numbers (Philox 4x32-10): the n-th number of a stream depends on seed and n only, not on threads.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

namespace tenon {

/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; the known-answer tests of Random123.
class Random {
 public:
  /// Starts at block `counter` of the stream.
  explicit Random(uint64_t seed = 0, uint64_t stream = 0, uint64_t counter = 0) : seed_(seed), stream_(stream), counter_(counter) {}

  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }
  /// The next block that nobody has used.
  uint64_t counter() const { return counter_; }
  /// Leaves the next n blocks to the caller, who reads them with block(); returns the first. Numbers left of an earlier block are lost.
  uint64_t take_blocks(uint64_t n) {
    used_ = 4;
    return std::exchange(counter_, counter_ + n);
  }

  /// Four independent 32-bit numbers for one counter value.
  std::array<uint32_t, 4> block(uint64_t counter) const {
    std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(stream_),
                                 static_cast<uint32_t>(stream_ >> 32)};
    uint32_t k0 = static_cast<uint32_t>(seed_), k1 = static_cast<uint32_t>(seed_ >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      const uint64_t a = uint64_t{0xD2511F53u} * c[0], b = uint64_t{0xCD9E8D57u} * c[2];
      c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(b), static_cast<uint32_t>(a >> 32) ^ c[3] ^ k1,
           static_cast<uint32_t>(a)};
    }
    return c;
  }
  /// The next number in [0, 1) with 24 random bits.
  float uniform() { return static_cast<float>(next() >> 8) * 0x1p-24f; }
  /// The next standard normal number (Box-Muller).
  float normal() {
    const float u = 1.0f - uniform(), v = uniform();
    return std::sqrt(-2.0f * std::log(u)) * std::cos(6.28318530718f * v);
  }
  uint32_t next() {
    if (used_ == 4) buffer_ = block(counter_++), used_ = 0;
    return buffer_[used_++];
  }

 private:
  uint64_t seed_, stream_, counter_;
  std::array<uint32_t, 4> buffer_{};
  int used_ = 4;
};

}  // namespace tenon
