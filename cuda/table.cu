// Puts the CUDA table together.
#include "fillers.h"

namespace tenon::cuda {

void fill_table(Kernels& table) {
  table = Kernels{};
  table.name = "cuda";
  table.fast_bf16 = true;
  fill_elements(table);
  fill_norms(table);
  fill_rows(table);
  fill_training(table);
  fill_matmul(table);
  fill_grouped(table);
  fill_quantized(table);
  fill_fp8(table);
  fill_experts(table);
  fill_sampling(table);
  fill_attention(table);
  fill_parts(table);
  fill_probabilities(table);
  fill_arrays(table);
  fill_orders(table);
  fill_optim(table);
}

}  // namespace tenon::cuda
