// The trials of kernels that multiply by wgmma, once for each device and use.
#include "hopper.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "launch.h"

namespace tenon::cuda {
namespace {

#if defined(__CUDACC__) && !defined(TENON_CUDA_SM90A)
constexpr bool kCompiled = false;
#else
constexpr bool kCompiled = true;
#endif
constexpr int kMostDevices = 64;

enum State : int { Untried, Right, Wrong };
std::atomic<int> states[kMostDevices][kWgmmaUses];
std::mutex trials;

bool wanted() {
  static const bool off = [] {
    const char* value = std::getenv("TENON_CUDA_WGMMA");
    return value && std::strcmp(value, "0") == 0;
  }();
  return kCompiled && !off;
}

bool run_trial(WgmmaUse use) {
  try {
    switch (use) {
      case WgmmaUse::Attention: return try_attention_wgmma();
      case WgmmaUse::AttentionBackward: return try_attention_backward_wgmma();
      case WgmmaUse::Grouped: return try_grouped_wgmma();
      case WgmmaUse::Fp8: return try_fp8_wgmma();
    }
  } catch (const Error&) {
  }
  return false;
}

State state_of(WgmmaUse use) {
  const int device = current_device();
  if (device < 0 || device >= kMostDevices) return Wrong;
  std::atomic<int>& state = states[device][static_cast<int>(use)];
  if (state.load(std::memory_order_acquire) == Untried && !recording()) {
    const std::lock_guard lock(trials);
    if (state.load(std::memory_order_relaxed) == Untried) state.store(run_trial(use) ? Right : Wrong, std::memory_order_release);
  }
  return static_cast<State>(state.load(std::memory_order_acquire));
}

}  // namespace

bool uses_wgmma(WgmmaUse use) { return wanted() && compute_capability() == 90 && state_of(use) == Right; }

const char* tensor_cores() {
  if (compute_capability() != 90) return "mma.sync";
  if (!kCompiled) return "mma.sync (a build without 90a)";
  if (!wanted()) return "mma.sync (TENON_CUDA_WGMMA=0)";
  for (int use = 0; use < kWgmmaUses; ++use)
    if (state_of(static_cast<WgmmaUse>(use)) == Wrong) return "mma.sync in part (wgmma gave wrong results)";
  return "wgmma";
}

}  // namespace tenon::cuda
