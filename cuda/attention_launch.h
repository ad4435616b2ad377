// The two families of attention on tensor cores; attention.cu chooses.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon::cuda {

/// By mma.sync: elements of 16 bits, keys up to 576 wide. False if the call is another.
bool attention_by_mma(const AttentionCall& c, int64_t longest);
/// By wgmma: false if the call is one that its kernels do not take, or that they would not make faster. Asks no device what it can do.
bool attention_by_wgmma(const AttentionCall& c, int64_t longest);

}  // namespace tenon::cuda
