// Hopper's products of warpgroups: the addresses of tiles, descriptors, and every form of a product against plain loops. And what the emulation
// finds out: sums, factors and copies that are used before they are there.
#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "block.h"
#include "emulation/block.h"

#include "bodies/wgmma_probe.h"
#include "ops/agree.h"

using namespace tenon;
using namespace tenon::cuda;

namespace {

template <class E>
std::vector<E> elements(size_t n, uint64_t seed) {
  std::vector<E> v;
  for (const float f : agree::normal(n, seed)) {
    if constexpr (std::is_same_v<E, float8>) v.push_back(E{float_to_f8e4m3(f)});
    else v.push_back(E::from(f));
  }
  return v;
}
template <class E>
float value(E e) {
  if constexpr (std::is_same_v<E, float8>) return f8e4m3_to_float(e.bits);
  else return static_cast<float>(e);
}

template <class Body>
void run(const Body& body) {
  alignas(16) static char memory[232 * 1024];
  std::memset(memory, 0xff, sizeof(memory));
  HostBlock block;
  block.threads = Body::kThreads, block.shared = memory, block.shared_bytes = Body::kShared;
  body(block);
  block.end();
}

template <class E, int N, int K, WgmmaA kA, bool kAcrossB>
void check_product() {
  INFO("N ", N, ", K ", K, ", a ", static_cast<int>(kA), ", b across k: ", kAcrossB);
  alignas(16) static E a[128 * K], b[N * K];
  std::vector<float> c(128 * N);
  const std::vector<E> x = elements<E>(128 * K, 1), y = elements<E>(N * K, 2);
  std::memcpy(static_cast<void*>(a), x.data(), sizeof(a)), std::memcpy(static_cast<void*>(b), y.data(), sizeof(b));
  run(WgmmaProbeBody<E, N, K, kA, kAcrossB>{c.data(), a, b});
  double worst = 0;
  for (int m = 0; m < 128; ++m)
    for (int n = 0; n < N; ++n) {
      double sum = 0;
      for (int k = 0; k < K; ++k) sum += static_cast<double>(value(a[m * K + k])) * value(b[n * K + k]);
      worst = std::max(worst, std::abs(sum - c[static_cast<size_t>(m * N + n)]));
    }
  CHECK(worst < 1e-4);
}

template <class E, int N, int K>
void check_forms() {
  check_product<E, N, K, WgmmaA::Along, false>();
  check_product<E, N, K, WgmmaA::Registers, false>();
  if constexpr (sizeof(E) == 2) {
    check_product<E, N, K, WgmmaA::Along, true>();
    check_product<E, N, K, WgmmaA::Registers, true>();
    check_product<E, N, K, WgmmaA::Across, true>();
    check_product<E, N, K, WgmmaA::Across, false>();
  }
}

/// A body of one product, in which `misuse` does something between its steps.
template <class Misuse>
struct Misused {
  static constexpr int kThreads = 128;
  static constexpr size_t kShared = 3 * 64 * 128 + kAtomBytes;
  const char* from;
  Misuse misuse;
  struct Held {
    float sums[8][4];
  };
  void operator()(HostBlock& block) const {
    char* tile = aligned_to_atoms(block);
    Lanes<Held, HostBlock> held(block);
    block.own([&](int t) {
      held[t] = {};
      for (int i = t; i < 64 * 8; i += kThreads) block.copy_later(tile + i * 16, from, 16);
    });
    block.commit();
    const auto sums = [&](int t) -> auto& { return held[t].sums; };
    const auto product = [&] {
      const uint32_t at = block.shared_address(tile);
      block.wgmma<bfloat16, 64>(sums, [&](int) { return along_k(at, 64, 0, 0); }, [&](int) { return along_k(at, 64, 0, 32); }, true);
      block.wgmma_commit();
    };
    misuse(block, tile, held, sums, product);
  }
};

template <class Misuse>
std::string error_of(Misuse misuse) {
  alignas(16) static const char zeros[16] = {};
  try {
    run(Misused<Misuse>{zeros, misuse});
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("wgmma: places of a tile are a permutation, and eight lines meet all banks") {
  for (const int lines : {8, 24, 128}) {
    std::set<int> places;
    for (int line = 0; line < lines; ++line)
      for (int byte = 0; byte < 256; byte += 16) {
        const int at = in_panels(lines, line, byte);
        CHECK(at % 16 == 0);
        CHECK(at < static_cast<int>(panel_tile_bytes(lines, 256)));
        CHECK(at / (lines * 128) == byte / 128);
        CHECK(at % (lines * 128) / 128 == line);
        places.insert(at);
      }
    CHECK(places.size() == static_cast<size_t>(lines) * 16);
  }
  for (int byte = 0; byte < 128; byte += 16) {
    std::set<int> banks;
    for (int line = 8; line < 16; ++line) banks.insert(in_panels(64, line, byte) % 128 / 16);
    CHECK(banks.size() == 8);
  }
}

TEST_CASE("wgmma: descriptors have the fields of the instruction set") {
  // address 0x2400 / 16, no leading offset that counts, 1024 / 16 between groups of eight lines, the 128-byte swizzle
  CHECK(along_k(0x2000, 128, 8, 0) == (uint64_t{0x240} | uint64_t{1} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62));
  CHECK(along_k(0x2000, 128, 0, 160) == (uint64_t{0x200 + 0x400 + 2} | uint64_t{1} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62));
  // the second panel's lines from 16 on; a panel of 96 lines is 12288 bytes
  CHECK(across_k(0x400, 96, 16, 64) == (uint64_t{0x40 + 0x300 + 0x80} | uint64_t{0x300} << 16 | uint64_t{64} << 32 | uint64_t{1} << 62));
  CHECK((wgmma_matrix(227 * 1024, 0, 16) & 0x3fff) == 227 * 1024 / 16);
}

TEST_CASE("wgmma: products agree with plain loops in every form") {
  check_forms<bfloat16, 64, 16>();
  check_forms<bfloat16, 64, 144>();
  check_forms<bfloat16, 96, 64>();
  check_forms<bfloat16, 128, 192>();
  check_forms<bfloat16, 256, 80>();
  check_forms<float16, 64, 64>();
  check_forms<float16, 128, 128>();
  check_forms<float16, 192, 32>();
  check_forms<float8, 64, 32>();
  check_forms<float8, 128, 256>();
  check_forms<float8, 256, 160>();
}

TEST_CASE("wgmma: the emulation finds misuse") {
  CHECK(error_of([](auto& block, char*, auto&, auto& sums, auto& product) {
          block.template wait_for_wgmma<0>();
          block.wgmma_fence(sums);
          product();
          block.template wgmma_wait<0>(sums);
        }) == "");
  CHECK(error_of([](auto& block, char*, auto&, auto& sums, auto& product) {
          block.template wait<0>();
          block.wgmma_fence(sums);
          product();
        }).find("copies that only wait() waited for") != std::string::npos);
  CHECK(error_of([](auto& block, char*, auto&, auto&, auto& product) {
          block.template wait_for_wgmma<0>();
          product();
        }).find("no fence") != std::string::npos);
  CHECK(error_of([](auto& block, char*, auto&, auto& sums, auto& product) {
          block.template wait_for_wgmma<0>();
          block.wgmma_fence(sums);
          product();
        }).find("nobody waited for") != std::string::npos);
  CHECK(error_of([](auto& block, char*, auto& held, auto& sums, auto& product) {
          block.template wait_for_wgmma<0>();
          block.wgmma_fence(sums);
          product();
          block.own([&](int t) { held[t].sums[0][0] = 0; });
          block.template wgmma_wait<0>(sums);
        }).find("sums that were touched") != std::string::npos);
  CHECK(error_of([](auto& block, char* tile, auto&, auto& sums, auto& product) {
          block.template wait_for_wgmma<0>();
          block.wgmma_fence(sums);
          product();
          block.own([&](int t) { tile[t] = 1; });
          block.template wgmma_wait<0>(sums);
        }).find("factors that were changed") != std::string::npos);
}
