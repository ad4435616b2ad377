// Plans: oneDNN primitives made once for a shape, its formats and its epilogue, and the packed weights that they share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tenon/core/kernels.h"

namespace tenon::onednn {

enum class Residual : uint8_t {
  None,
  Separate,  // another matrix than dst
  InPlace,   // what dst holds before; also the accumulation of a matmul
};

/// dst (M,N) = act(src (M,K) weights (K,N) + bias) + residual
struct PlanKey {
  int64_t M = 0, N = 0, K = 0;
  DType type = DType::F32, dst_type = DType::F32;  // of src and weights, of dst and residual
  Activation act = Activation::None;
  Residual residual = Residual::None;
  bool bias = false;
  bool packed = false;  // weights as pack() wrote them; else plain, (N,K) if trans_b
  bool trans_a = false, trans_b = false;
  int threads = 1;
  bool operator==(const PlanKey&) const = default;
};

struct PlanArgs {
  const void *src = nullptr, *weights = nullptr;
  void* dst = nullptr;
  const float* bias = nullptr;
  const void* residual = nullptr;
};

/// Runs the plan, making it at first use. false, with nothing done, if oneDNN has only its reference implementation for it, which is
/// a thousand times slower.
bool run(const PlanKey& key, const PlanArgs& args);

/// The packed layout is chosen by N, K and type alone. packed_bytes is 0 where oneDNN has no fast kernel for the type.
size_t packed_bytes(DType type, int64_t N, int64_t K);
/// Packs rows [first, first + rows) of a plain (N,K) weight of `type`; first is a multiple of kPackRows, and so is rows unless last.
void pack_rows(void* packed, const void* rows_of_w, DType type, int64_t N, int64_t K, int64_t first, int64_t rows, int threads);
constexpr int64_t kPackRows = 256;
/// The whole weight, plain and of `type`, back into w.
void unpack(void* w, DType w_type, const void* packed, DType type, int64_t N, int64_t K, int threads);

/// Caps what oneDNN may use; without effect after its first use in the process.
void cap_at_avx2();

}  // namespace tenon::onednn
