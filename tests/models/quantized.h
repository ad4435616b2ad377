// Small decoders in every quantised format, each beside the plain checkpoint that holds the same weights dequantised.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "golden.h"
#include "io/temp_folder.h"
#include "tenon/io/checkpoint.h"
#include "tenon/nn/linear.h"
#include "tenon/quant/checkpoint_format.h"
#include "tenon/quant/dequantize.h"

namespace tenon::test {

/// A decoder whose layers are all of sizes that every format holds.
inline Json small_decoder(const std::string& type) {
  Json c;
  c.set("model_type", type), c.set("hidden_size", 64), c.set("num_hidden_layers", 2), c.set("num_attention_heads", 2);
  c.set("num_key_value_heads", type == "deepseek_v3" ? 2 : 1), c.set("head_dim", 32), c.set("intermediate_size", 96),
      c.set("vocab_size", 70);
  c.set("max_position_embeddings", 64), c.set("initializer_range", 0.15), c.set("tie_word_embeddings", false);
  c.set("num_local_experts", 5), c.set("num_experts_per_tok", 2), c.set("moe_intermediate_size", 64), c.set("n_routed_experts", 8);
  c.set("n_group", 2), c.set("topk_group", 1), c.set("first_k_dense_replace", 1), c.set("n_shared_experts", 1),
      c.set("norm_topk_prob", true);
  c.set("routed_scaling_factor", 1.5), c.set("q_lora_rank", 64), c.set("kv_lora_rank", 32), c.set("qk_nope_head_dim", 32);
  c.set("qk_rope_head_dim", 32), c.set("v_head_dim", 32);
  const bool deepseek = type == "deepseek_v3", mixtral = type == "mixtral";
  c.set("architectures", Json(Json::Array{Json(deepseek ? "DeepseekV3ForCausalLM" : mixtral ? "MixtralForCausalLM" : "LlamaForCausalLM")}));
  return c;
}

/// How to quantise: a format, its settings, and in which order columns are rounded.
struct Recipe {
  const char* method = "awq";
  quant::StoredSettings settings = {.group = 32, .symmetric = false, .version = "gemm", .groups = {32}, .ignore = {"lm_head"}};
  bool order_by_layer = false;  // act-order: of each layer its own, also where inputs are shared
};

inline std::vector<std::pair<std::string, Recipe>> recipes() {
  const auto with = [](const char* method, const char* version, int64_t group, bool symmetric, bool act_order) {
    return Recipe{
        method,
        {.group = group, .symmetric = symmetric, .desc_act = act_order, .version = version, .groups = {group}, .ignore = {"lm_head"}}};
  };
  Recipe fp8{"fp8", {.version = {}, .groups = {}, .block_rows = 32, .block_columns = 32, .ignore = {"lm_head"}}};
  Recipe apart = with("gptq", "gptq_v2", 32, false, true);
  apart.order_by_layer = true;
  return {{"awq", with("awq", "gemm", 32, false, false)},
          {"awq by rows", with("awq", "gemm", 0, false, false)},
          {"gptq", with("gptq", "gptq", 32, true, false)},
          {"gptq act-order", with("gptq", "gptq", 32, false, true)},
          {"gptq_v2 act-order, layers apart", apart},
          {"compressed-tensors", with("compressed-tensors", "pack-quantized", 32, false, false)},
          {"compressed-tensors symmetric", with("compressed-tensors", "pack-quantized", 0, true, false)},
          {"compressed-tensors act-order", with("compressed-tensors", "pack-quantized", 32, false, true)},
          {"fp8", fp8}};
}

/// The layer's name if this is a weight that quantisers convert, else "".
inline std::string quantised_layer(const std::string& name) {
  if (!name.ends_with("_proj.weight") && !name.ends_with("_proj_with_mqa.weight") && name.find(".experts.") == std::string::npos) return "";
  return name.substr(0, name.size() - 7);
}

inline quant::QuantizedMatrix rounded(Context& ctx, const Recipe& r, const Tensor& w, const std::string& layer) {
  const auto& s = r.settings;
  if (std::string_view(r.method) == "fp8") return quant::round_to_blocks(ctx, w, s.block_rows);
  const int64_t K = w.size(1), group = s.group ? s.group : K;
  if (!s.desc_act) return quant::round_to_nearest(ctx, w, WeightFormat::Int4, group, s.symmetric);
  std::vector<int64_t> order(static_cast<size_t>(K));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random random(r.order_by_layer ? std::hash<std::string>()(layer) : static_cast<uint64_t>(K));
  for (size_t i = order.size(); i-- > 1;) std::swap(order[i], order[random.next() % (i + 1)]);
  for (int64_t g = 0; g < K / group; ++g) std::sort(order.begin() + g * group, order.begin() + (g + 1) * group);
  Tensor sorted = Tensor::empty(w.shape(), DType::F32);
  for (int64_t n = 0; n < w.size(0); ++n)
    for (int64_t k = 0; k < K; ++k) sorted.data<float>()[n * K + k] = w.data<float>()[n * K + order[static_cast<size_t>(k)]];
  quant::QuantizedMatrix m = quant::round_to_nearest(ctx, sorted, WeightFormat::Int4, group, s.symmetric);
  m.order = order;
  return m;
}

/// Writes the model quantised, and with the same weights in float32.
inline void write_both(Context& ctx, const std::string& type, const Recipe& r, const std::string& quantised, const std::string& plain) {
  const auto model = models::from_config(ctx, small_decoder(type), {.pack = false, .seed = 11});
  const auto& format = *std::find_if(quant::kCheckpointFormats.begin(), quant::kCheckpointFormats.end(),
                                     [&](const auto& f) { return f.method == r.method; });
  std::vector<io::NamedTensor> few, wide;
  for (const auto& [name, t] : model->parameters()) {
    const std::string layer = quantised_layer(name);
    if (layer.empty()) {
      few.emplace_back(name, t), wide.emplace_back(name, t);
      continue;
    }
    const quant::QuantizedMatrix m = rounded(ctx, r, t, layer);
    for (const auto& [suffix, stored] : format.write(ctx, m, r.settings)) few.emplace_back(layer + "." + suffix, stored);
    wide.emplace_back(name, quant::dequantize(ctx, m));
  }
  Json config = model->config();
  io::save_checkpoint(plain, config, wide);
  config.set("quantization_config", format.config(r.settings));
  io::save_checkpoint(quantised, config, few);
}

inline models::Inputs some_tokens() {
  models::Inputs in;
  in.input_ids = Tensor::from(std::vector<int64_t>{5, 9, 23, 41, 7, 8, 8, 13, 30, 31, 60, 2, 2, 69}, {2, 7});
  return in;
}

}  // namespace tenon::test
