// Which device multiplies by wgmma. Kernels of it are written for compute capability 9.0; before their first use on a device they are tried
// there against the kernels that they replace, and if results differ those are kept.
#pragma once

namespace tenon::cuda {

enum class WgmmaUse { Attention, AttentionBackward, Grouped, Fp8 };
constexpr int kWgmmaUses = 4;

/// True if the calling thread's device is of compute capability 9.0, this library has code for it, TENON_CUDA_WGMMA is not 0, and the trial
/// passed. The first call on a device runs it, in the thread's stream, and waits; while a graph is recorded it cannot, and the answer is no.
bool uses_wgmma(WgmmaUse use);

/// How the thread's device multiplies, in words; runs the trials.
const char* tensor_cores();

/// The trials: true if results agree. Errors: as kernels and copies.
bool try_attention_wgmma();
bool try_attention_backward_wgmma();
bool try_grouped_wgmma();
bool try_fp8_wgmma();

}  // namespace tenon::cuda
