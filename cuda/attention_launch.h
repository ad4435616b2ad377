// The two families of attention on tensor cores; attention.cu chooses.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon::cuda {

/// By mma.sync: elements of 16 bits, keys up to 576 wide (backward: up to 192, values 128). False if the call is another.
bool attention_by_mma(const AttentionCall& c, int64_t longest);
bool attention_backward_by_mma(const AttentionCall& c, const AttentionGrad& g, int64_t longest);
/// By wgmma: false if the call is one that its kernels do not take, or that they would not make faster. Asks no device what it can do.
bool attention_by_wgmma(const AttentionCall& c, int64_t longest);
bool attention_backward_by_wgmma(const AttentionCall& c, const AttentionGrad& g, int64_t longest);

/// Rows of q, k and v that can be copied 16 bytes at a time, as the kernels of wgmma do.
bool wide_rows(const AttentionCall& c);

}  // namespace tenon::cuda
