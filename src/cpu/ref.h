// The scalar kernels: complete, and the specification of every other one.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon {

const Kernels& ref_kernels();

/// The parts that ref_kernels() puts together, one per file.
void fill_ref_rows(Kernels&);
void fill_ref_parts(Kernels&);
void fill_ref_elements(Kernels&);
void fill_ref_arrays(Kernels&);
void fill_ref_matmul(Kernels&);
void fill_ref_fp8(Kernels&);
void fill_ref_sparse(Kernels&);
void fill_ref_experts(Kernels&);
void fill_ref_attention(Kernels&);
void fill_ref_training(Kernels&);
void fill_ref_optim(Kernels&);

/// The router, whose scores and gradients are those of a table.
void route_with(const Kernels& kernels, const RouterCall& c);
void route_backward_with(const Kernels& kernels, float* dlogits, const float* dweight, const RouterCall& c);

/// One block of a grouped linear as a call of its own; it may use the whole call's scratch.
inline LinearCall block_call(LinearCall c, const LinearBlock& block) {
  const auto item = static_cast<int64_t>(size_of(c.type));
  c.y = static_cast<char*>(c.y) + block.begin * c.N * item;
  c.x = static_cast<const char*>(c.x) + block.begin * c.K * item;
  if (c.residual) c.residual = static_cast<const char*>(c.residual) + block.begin * c.N * item;
  c.w = block.w, c.w_scale = block.w_scale;
  c.M = block.end - block.begin;
  c.blocks = nullptr, c.num_blocks = 0;
  return c;
}

}  // namespace tenon
