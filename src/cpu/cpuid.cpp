// Asks the processor through CPUID, and the operating system through XGETBV.
#include "cpu/cpuid.h"

#include <cstdint>
#include <initializer_list>
#include <utility>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tenon {
namespace {

#if defined(__x86_64__) || defined(__i386__)
uint64_t read_xcr0() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

/// Asks Linux (5.16 or later) for the use of tile registers by this process, once and for all of its threads.
bool ask_for_tiles() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

CpuFeatures detect() {
  const auto bit = [](uint32_t word, int i) { return ((word >> i) & 1) != 0; };
  CpuFeatures f;
  bool saves_tiles = false;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  f.fma = bit(c, 12);
  f.f16c = bit(c, 29);
  if (bit(c, 27)) {  // osxsave: xgetbv may be executed
    const uint64_t xcr0 = read_xcr0();
    f.os_saves_ymm = (xcr0 & 0x6) == 0x6;
    f.os_saves_zmm = (xcr0 & 0xe6) == 0xe6;
    saves_tiles = (xcr0 & 0x60000) == 0x60000;
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    const uint32_t subleaves = a;
    f.avx2 = bit(b, 5);
    f.avx512f = bit(b, 16);
    f.avx512dq = bit(b, 17);
    f.avx512bw = bit(b, 30);
    f.avx512vl = bit(b, 31);
    f.avx512_vnni = bit(c, 11);
    f.amx_bf16 = bit(d, 22);
    f.amx_tile = bit(d, 24);
    f.amx_int8 = bit(d, 25);
    f.os_grants_tiles = f.amx_tile && saves_tiles && ask_for_tiles();
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) f.avx512_bf16 = bit(a, 5);
  }
  return f;
}
#else
CpuFeatures detect() {
  CpuFeatures f;
#if defined(__aarch64__)
  f.neon = true;  // part of the base architecture
#endif
  return f;
}
#endif

std::string lacks(std::initializer_list<std::pair<const char*, bool>> features, bool os_saves,
                  const char* otherwise = "the operating system does not save its registers") {
  std::string missing;
  for (const auto& [name, present] : features)
    if (!present) missing += (missing.empty() ? "the processor lacks " : ", ") + std::string(name);
  if (missing.empty() && !os_saves) missing = otherwise;
  return missing;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::string lacks_avx2(const CpuFeatures& f) { return lacks({{"avx2", f.avx2}, {"fma", f.fma}, {"f16c", f.f16c}}, f.os_saves_ymm); }

std::string lacks_avx512(const CpuFeatures& f) {
  return lacks({{"avx512f", f.avx512f}, {"avx512bw", f.avx512bw}, {"avx512dq", f.avx512dq}, {"avx512vl", f.avx512vl}, {"fma", f.fma}},
               f.os_saves_zmm);
}

std::string lacks_amx(const CpuFeatures& f) {
  if (std::string missing = lacks_avx512(f); !missing.empty()) return missing;
  return lacks({{"avx512_vnni", f.avx512_vnni},
                {"avx512_bf16", f.avx512_bf16},
                {"amx_tile", f.amx_tile},
                {"amx_bf16", f.amx_bf16},
                {"amx_int8", f.amx_int8}},
               f.os_grants_tiles, "the operating system does not grant tile registers (Linux does from 5.16 on)");
}

}  // namespace tenon
