// The scalar kernels: complete, and the specification of every other one.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon {

const Kernels& ref_kernels();

/// The parts that ref_kernels() puts together, one per file.
void fill_ref_rows(Kernels&);
void fill_ref_elements(Kernels&);
void fill_ref_matmul(Kernels&);
void fill_ref_attention(Kernels&);

}  // namespace tenon
