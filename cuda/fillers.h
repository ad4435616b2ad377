// The parts of the CUDA table, one per file of launchers.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon::cuda {

void fill_elements(Kernels&);
void fill_norms(Kernels&);
void fill_rows(Kernels&);
void fill_training(Kernels&);
void fill_matmul(Kernels&);
void fill_grouped(Kernels&);
void fill_quantized(Kernels&);
void fill_fp8(Kernels&);
void fill_experts(Kernels&);
void fill_sampling(Kernels&);
void fill_attention(Kernels&);
void fill_parts(Kernels&);
void fill_probabilities(Kernels&);
void fill_arrays(Kernels&);
void fill_orders(Kernels&);
void fill_optim(Kernels&);

/// All of them; entries without a kernel stay null.
void fill_table(Kernels& table);

}  // namespace tenon::cuda
