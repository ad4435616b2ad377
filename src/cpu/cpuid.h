// What this processor and its operating system support.
#pragma once

#include <string>

namespace tenon {

struct CpuFeatures {
  bool neon = false;
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false, avx512_vnni = false, avx512_bf16 = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false;
  bool os_saves_ymm = false, os_saves_zmm = false;  // without it the registers are lost at a context switch
  bool os_grants_tiles = false;                     // Linux gives tile registers to a process that asks
};

const CpuFeatures& cpu_features();

/// Names what is missing for a set in words, or "" if nothing is.
std::string lacks_avx2(const CpuFeatures&);
std::string lacks_avx512(const CpuFeatures&);
std::string lacks_amx(const CpuFeatures&);

}  // namespace tenon
