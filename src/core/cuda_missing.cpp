// What a table of a device holds where there is no kernel: a function that says so.
#include <algorithm>

#include "core/cuda_loader.h"
#include "tenon/core/error.h"

namespace tenon::cuda::detail {
namespace {

template <size_t N>
struct Name {
  char text[N];
  constexpr Name(const char (&t)[N]) { std::copy_n(t, N, text); }
};

template <Name name, class Result, class... Args>
void fill(Result (*&entry)(Args...)) {
  if (!entry)
    entry = [](Args...) -> Result { fail(ErrorCode::Device, name.text, "there is no kernel for cuda yet; compute this on the cpu"); };
}

}  // namespace

void fill_missing(Kernels& t) {
  fill<"linear_packed_bytes">(t.linear_packed_bytes);
  fill<"linear_pack">(t.linear_pack);
  fill<"linear_unpack">(t.linear_unpack);
  fill<"quantized_packed_bytes">(t.quantized_packed_bytes);
  fill<"quantized_pack">(t.quantized_pack);
  fill<"quantized_unpack">(t.quantized_unpack);
  fill<"linear_scratch">(t.linear_scratch);
  fill<"linear">(t.linear);
  fill<"matmul">(t.matmul);
  fill<"fp8_matmul">(t.fp8_matmul);
  fill<"grouped_linear">(t.grouped_linear);
  fill<"grouped_gradient">(t.grouped_gradient);
  fill<"sparse_packed_bytes">(t.sparse_packed_bytes);
  fill<"sparse_pack">(t.sparse_pack);
  fill<"sparse_unpack">(t.sparse_unpack);
  fill<"sparse_scratch">(t.sparse_scratch);
  fill<"sparse_linear">(t.sparse_linear);
  fill<"route">(t.route);
  fill<"route_backward">(t.route_backward);
  fill<"sort_by_expert">(t.sort_by_expert);
  fill<"argmax_rows">(t.argmax_rows);
  fill<"sample_rows">(t.sample_rows);
  fill<"attention_scratch">(t.attention_scratch);
  fill<"attention">(t.attention);
  fill<"attention_backward">(t.attention_backward);
  fill<"attention_probs">(t.attention_probs);
  fill<"layer_norm">(t.layer_norm);
  fill<"layer_norm_backward">(t.layer_norm_backward);
  fill<"rms_norm">(t.rms_norm);
  fill<"rms_norm_backward">(t.rms_norm_backward);
  fill<"rope">(t.rope);
  fill<"combine_rows">(t.combine_rows);
  fill<"softmax">(t.softmax);
  fill<"softmax_backward">(t.softmax_backward);
  fill<"log_softmax">(t.log_softmax);
  fill<"log_softmax_backward">(t.log_softmax_backward);
  fill<"cross_entropy">(t.cross_entropy);
  fill<"l2_normalize">(t.l2_normalize);
  fill<"l2_normalize_backward">(t.l2_normalize_backward);
  fill<"dot_rows">(t.dot_rows);
  fill<"gather_rows">(t.gather_rows);
  fill<"scatter_add_rows">(t.scatter_add_rows);
  fill<"sum_rows">(t.sum_rows);
  fill<"quantize_rows">(t.quantize_rows);
  fill<"quantize_rows_fp8">(t.quantize_rows_fp8);
  fill<"quantize_blocks_fp8">(t.quantize_blocks_fp8);
  fill<"dequantize_rows">(t.dequantize_rows);
  fill<"move_parts">(t.move_parts);
  fill<"transpose">(t.transpose);
  fill<"store_rows">(t.store_rows);
  fill<"load_rows">(t.load_rows);
  fill<"activation">(t.activation);
  fill<"activation_backward">(t.activation_backward);
  fill<"gated">(t.gated);
  fill<"gated_backward">(t.gated_backward);
  fill<"add">(t.add);
  fill<"mul">(t.mul);
  fill<"clamp">(t.clamp);
  fill<"clamp_backward">(t.clamp_backward);
  fill<"axpby">(t.axpby);
  fill<"elementwise">(t.elementwise);
  fill<"reduce">(t.reduce);
  fill<"cast">(t.cast);
  fill<"dropout">(t.dropout);
  fill<"adamw">(t.adamw);
  fill<"adamw8">(t.adamw8);
  fill<"adafactor">(t.adafactor);
  fill<"sgd">(t.sgd);
  fill<"lion">(t.lion);
  fill<"sum_of_squares">(t.sum_of_squares);
  fill<"unfold_patches">(t.unfold_patches);
}

}  // namespace tenon::cuda::detail
