// Plans: oneDNN primitives made once for a shape and its types, and kept.
#pragma once

#include <cstdint>

#include "tenon/core/dtype.h"

namespace tenon::onednn {

/// c (M,N) = a b, or c += a b; a is (M,K), stored (K,M) if trans_a; b is (K,N), stored (N,K) if trans_b.
struct PlanKey {
  int64_t M = 0, N = 0, K = 0;
  DType type = DType::F32, c_type = DType::F32;  // of both factors, of c
  bool trans_a = false, trans_b = false, accumulate = false;
  int threads = 1;
  bool operator==(const PlanKey&) const = default;
};

/// Runs the plan, making it at first use. false, with nothing done, if oneDNN has only its reference implementation for it, which is
/// a thousand times slower.
bool run(const PlanKey& key, void* c, const void* a, const void* b);

/// Caps what oneDNN may use; without effect after its first use in the process.
void cap_at_avx2();
void cap_at_avx512();  // with bf16, without tiles

}  // namespace tenon::onednn
