// What a decoder is made of, read from the config.json of its family.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tenon/models/config.h"
#include "tenon/nn/decoder_attention.h"
#include "tenon/nn/moe.h"
#include "tenon/ops/activation.h"

namespace tenon::models {

/// How a family names the parts of its layers.
struct DecoderNames {
  const char *prefix, *layers, *embedding, *positions, *final_norm;
  const char *norm1, *attention, *norm2, *mlp;
  nn::GqaNames gqa;
  nn::MlpNames dense;
  nn::MoeNames moe;
};

inline constexpr nn::GqaNames kLlamaAttention = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"};
inline constexpr nn::MoeNames kMlpMoe = {"gate", "experts", nn::kGatedMlp, "shared_experts", ""};
inline constexpr DecoderNames kLlamaNames = {"model", "layers", "embed_tokens", "", "norm", "input_layernorm", "self_attn", "post_attention_layernorm",
                                             "mlp", kLlamaAttention, nn::kGatedMlp, kMlpMoe};
inline constexpr DecoderNames kMixtralNames = {"model", "layers", "embed_tokens", "", "norm", "input_layernorm", "self_attn",
                                               "post_attention_layernorm", "block_sparse_moe", kLlamaAttention, nn::kGatedMlp,
                                               {"gate", "experts", {"w1", "w3", "w2"}, "", ""}};
inline constexpr DecoderNames kQwen2MoeNames = {"model", "layers", "embed_tokens", "", "norm", "input_layernorm", "self_attn",
                                                "post_attention_layernorm", "mlp", kLlamaAttention, nn::kGatedMlp,
                                                {"gate", "experts", nn::kGatedMlp, "shared_expert", "shared_expert_gate"}};
inline constexpr DecoderNames kGpt2Names = {"transformer", "h", "wte", "wpe", "ln_f", "ln_1", "attn", "ln_2", "mlp",
                                            {"c_attn", "", "", "c_proj", "", ""}, {nullptr, "c_fc", "c_proj"}, kMlpMoe};

enum class DecoderKind : uint8_t { Gpt2, Llama, Mistral, Qwen2, Qwen3, Mixtral, Olmoe, Qwen2Moe, Qwen3Moe, Deepseek, DeepseekV2, DeepseekV3 };

struct DecoderFamily {
  DecoderKind kind;
  const DecoderNames& names;
};

/// Sizes and switches under the keys of config.json, in the spellings of Transformers 4 and 5.
/// Source: the configuration_*.py and modeling_*.py files of Transformers.
struct DecoderConfig {
  int64_t vocab_size = 0, hidden_size = 0, num_layers = 0, max_position_embeddings = 0, intermediate_size = 0;
  Activation act = Activation::Silu;
  float norm_eps = 1e-6f, aux_loss_coef = 0;
  float embedding_dropout = 0, mlp_dropout = 0;
  bool layer_norm = false, learned_positions = false, gated_mlp = true, mlp_bias = false, in_out = false, latent = false;
  bool tie_word_embeddings = false;
  bool balanced = false;  // the family adds a load-balancing loss
  float aux_loss_alpha = 0;  // DeepSeek: weight of the loss that its own code adds while training, of each sequence by itself or of the batch
  bool seq_aux = true;
  bool scale_by_layer = false;  // GPT-2: scores of layer i are divided by i + 1 as well
  nn::GqaConfig gqa;
  nn::MlaConfig mla;
  nn::RopeConfig rope;
  nn::MoeConfig moe;
  std::vector<int64_t> windows;  // of each layer, 0 = none
  std::vector<bool> sparse;      // whether each layer is a mixture of experts

  DecoderConfig() = default;
  /// Errors: Error(Format) naming what does not fit; Error(Type) naming a key of another type.
  DecoderConfig(DecoderKind kind, const Json& c);

  bool has_experts() const { return std::find(sparse.begin(), sparse.end(), true) != sparse.end(); }
};

}  // namespace tenon::models
