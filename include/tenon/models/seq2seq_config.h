// What an encoder-decoder is made of, read from the config.json of its family.
#pragma once

#include <string>

#include "tenon/models/config.h"
#include "tenon/nn/decoder_attention.h"
#include "tenon/nn/mlp.h"
#include "tenon/ops/activation.h"

namespace tenon::models {

/// How a family names the parts of a layer; `mlp` and its norm differ between T5's encoder and decoder.
struct Seq2SeqNames {
  const char *prefix, *layers;  // of the base model in a checkpoint with a head; of the layers below "encoder" and "decoder"
  const char *self, *self_norm, *cross, *cross_norm, *encoder_mlp, *encoder_mlp_norm, *decoder_mlp, *decoder_mlp_norm, *final_norm;
  nn::GqaNames attention;
  nn::MlpNames plain, gated;
};

inline constexpr Seq2SeqNames kBartNames = {
    "model", "layers", "self_attn", "self_attn_layer_norm", "encoder_attn", "encoder_attn_layer_norm", "", "final_layer_norm", "",
    "final_layer_norm", "layer_norm", {"q_proj", "k_proj", "v_proj", "out_proj", "", ""}, {nullptr, "fc1", "fc2"}, {}};
inline constexpr Seq2SeqNames kT5Names = {
    "", "block", "layer.0.SelfAttention", "layer.0.layer_norm", "layer.1.EncDecAttention", "layer.1.layer_norm", "layer.1.DenseReluDense",
    "layer.1.layer_norm", "layer.2.DenseReluDense", "layer.2.layer_norm", "final_layer_norm", {"q", "k", "v", "o", "", ""},
    {nullptr, "wi", "wo"}, {"wi_0", "wi_1", "wo"}};

enum class Seq2SeqKind : uint8_t { Marian, M2m100, T5, Mt5 };

struct Seq2SeqFamily {
  Seq2SeqKind kind;
  const Seq2SeqNames& names;
};

/// One of the two stacks.
struct Seq2SeqStackConfig {
  int64_t layers = 0, intermediate_size = 0;
  float layer_dropout = 0;  // how often training leaves a layer out
  nn::GqaConfig attention;
};

/// Sizes and switches under the keys of config.json.
/// Source: the configuration_*.py and modeling_*.py files of Transformers.
struct Seq2SeqConfig {
  /// Sinusoids that begin at 0 (Marian), after padding_idx and skipping padding (M2M100), or biases by distance (T5).
  enum class Positions : uint8_t { Sinusoid, AfterPadding, Distance };

  int64_t vocab_size = 0, decoder_vocab_size = 0, d_model = 0, max_position_embeddings = 0;  // 0 positions: any number
  int64_t pad_token_id = 0, decoder_start_token_id = -1;                                    // -1: not set
  int64_t num_buckets = 0, max_distance = 0;
  Seq2SeqStackConfig encoder, decoder;
  Activation act = Activation::Relu;
  Positions positions = Positions::Sinusoid;
  float norm_eps = 1e-5f, embed_scale = 1, output_scale = 1;
  float dropout = 0, activation_dropout = 0;  // of embeddings and of what layers add; of a feed-forward part's inner activations
  bool gated = false, bias = true, layer_norm = true, norm_first = false, final_norm = false;
  bool shared_embeddings = true, scales_decoder_embeds = false, logits_bias = false, drops_result = false;
  bool tie_word_embeddings = true;

  Seq2SeqConfig() = default;
  /// Errors: Error(Format) naming what does not fit; Error(Type) naming a key of another type.
  Seq2SeqConfig(Seq2SeqKind kind, const Json& c);
};

}  // namespace tenon::models
