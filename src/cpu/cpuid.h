// What this processor and its operating system support.
#pragma once

#include <string>

namespace tenon {

struct CpuFeatures {
  bool neon = false;
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false, avx512_vnni = false, avx512_bf16 = false;
  bool os_saves_ymm = false, os_saves_zmm = false;  // without it the registers are lost at a context switch
};

const CpuFeatures& cpu_features();

/// Names what is missing for a set in words, or "" if nothing is.
std::string lacks_avx2(const CpuFeatures&);
std::string lacks_avx512(const CpuFeatures&);

}  // namespace tenon
