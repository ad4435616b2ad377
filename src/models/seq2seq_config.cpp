// Reads the config.json of each encoder-decoder family.
#include "tenon/models/seq2seq_config.h"

#include <cmath>

namespace tenon::models {
namespace {

constexpr int64_t kMaxLayers = 100000;

int64_t read_layers(const Json& c, const char* key, int64_t fallback) {
  const int64_t n = c.value(key, fallback);
  check(n >= 0 && n <= kMaxLayers, ErrorCode::Format, "config.json", "\"", key, "\": expected 0 to ", kMaxLayers, ", got ", n);
  return n;
}

Seq2SeqStackConfig read_bart_stack(const Json& c, const std::string& which, int64_t d_model, double layer_dropout) {
  Seq2SeqStackConfig s;
  s.layers = read_layers(c, (which + "_layers").c_str(), 12);
  s.intermediate_size = read_size(c, {(which + "_ffn_dim").c_str()}, 4096);
  const int64_t heads = read_size(c, {(which + "_attention_heads").c_str()}, 16);
  check(d_model % heads == 0, ErrorCode::Format, "config.json", "\"d_model\" ", d_model, " is not a multiple of ", heads, " ", which,
        " heads");
  s.attention.heads = s.attention.kv_heads = heads;
  s.attention.head_dim = d_model / heads;
  s.attention.qkv_bias = s.attention.output_bias = true;
  s.layer_dropout = read_dropout(c, {(which + "_layerdrop").c_str()}, layer_dropout);
  return s;
}

void read_bart_like(Seq2SeqConfig& s, Seq2SeqKind kind, const Json& c) {
  const bool marian = kind == Seq2SeqKind::Marian;
  s.d_model = read_size(c, {"d_model"}, 1024);
  check(s.d_model % 2 == 0, ErrorCode::Format, "config.json", "\"d_model\": expected an even number, as sinusoids need it, got ",
        s.d_model);
  s.vocab_size = read_size(c, {"vocab_size"}, marian ? 58101 : 128112);
  s.decoder_vocab_size = marian ? read_size(c, {"decoder_vocab_size"}, s.vocab_size) : s.vocab_size;
  s.encoder = read_bart_stack(c, "encoder", s.d_model, marian ? 0 : 0.05);
  s.decoder = read_bart_stack(c, "decoder", s.d_model, marian ? 0 : 0.05);
  s.dropout = read_dropout(c, {"dropout"}, 0.1);
  s.activation_dropout = read_dropout(c, {"activation_dropout"}, 0);
  s.encoder.attention.dropout = s.decoder.attention.dropout = read_dropout(c, {"attention_dropout"}, marian ? 0 : 0.1);
  s.act = ops::parse_activation(c.value("activation_function", marian ? "gelu" : "relu"));
  s.pad_token_id = c.value("pad_token_id", marian ? 58100 : 1);
  s.decoder_start_token_id = c.value("decoder_start_token_id", marian ? 58100 : 2);
  s.embed_scale = c.value("scale_embedding", !marian) ? static_cast<float>(std::sqrt(static_cast<double>(s.d_model))) : 1.0f;
  s.tie_word_embeddings = c.value("tie_word_embeddings", true);
  if (marian) {
    s.max_position_embeddings = read_size(c, {"max_position_embeddings"}, 1024);
    s.shared_embeddings = c.value("share_encoder_decoder_embeddings", true);
    if (s.shared_embeddings) s.decoder_vocab_size = s.vocab_size;
    s.scales_decoder_embeds = s.logits_bias = true;
    check(!c.value("normalize_before", false) && !c.value("normalize_embedding", false), ErrorCode::Format, "config.json",
          "\"normalize_before\" and \"normalize_embedding\" are not supported");
  } else {
    s.norm_first = s.final_norm = true;
    s.positions = Seq2SeqConfig::Positions::AfterPadding;
    check(s.d_model > 2, ErrorCode::Format, "config.json", "\"d_model\": expected 4 or more, got ", s.d_model);
  }
}

/// "relu", "gated-gelu", "gated-silu": the activation and whether it gates.
void read_feed_forward(Seq2SeqConfig& s, const std::string& projection) {
  s.gated = projection.compare(0, 6, "gated-") == 0;
  const std::string act = s.gated ? projection.substr(6) : projection;
  s.act = projection == "gated-gelu" ? Activation::GeluTanh : ops::parse_activation(act);
}

void read_t5(Seq2SeqConfig& s, Seq2SeqKind kind, const Json& c) {
  const bool multilingual = kind == Seq2SeqKind::Mt5;
  s.d_model = read_size(c, {"d_model", "hidden_size"}, 512);
  s.vocab_size = s.decoder_vocab_size = read_size(c, {"vocab_size"}, multilingual ? 250112 : 32128);
  s.encoder.layers = read_layers(c, c.has("num_layers") ? "num_layers" : "num_hidden_layers", multilingual ? 8 : 6);
  s.decoder.layers = read_layers(c, "num_decoder_layers", s.encoder.layers);
  s.encoder.intermediate_size = s.decoder.intermediate_size = read_size(c, {"d_ff"}, multilingual ? 1024 : 2048);
  s.encoder.attention.heads = s.encoder.attention.kv_heads = read_size(c, {"num_heads", "num_attention_heads"}, multilingual ? 6 : 8);
  s.encoder.attention.head_dim = read_size(c, {"d_kv"}, 64);
  s.encoder.attention.scale = 1;
  s.dropout = s.activation_dropout = s.encoder.attention.dropout = read_dropout(c, {"dropout_rate"}, 0.1);
  s.drops_result = true;
  s.decoder.attention = s.encoder.attention;
  s.norm_eps = static_cast<float>(c.value("layer_norm_epsilon", 1e-6));
  read_feed_forward(s, c.value("feed_forward_proj", multilingual ? "gated-gelu" : "relu"));
  s.num_buckets = read_size(c, {"relative_attention_num_buckets"}, 32, 1 << 20);
  s.max_distance = read_size(c, {"relative_attention_max_distance"}, 128);
  check(s.num_buckets >= 4 && s.max_distance > s.num_buckets / 2, ErrorCode::Format, "config.json",
        "\"relative_attention_num_buckets\": expected at least ", "4 and less than twice \"relative_attention_max_distance\" ",
        s.max_distance, ", got ", s.num_buckets);
  s.pad_token_id = c.value("pad_token_id", 0);
  s.decoder_start_token_id = c.value("decoder_start_token_id", multilingual ? 0 : -1);
  s.positions = Seq2SeqConfig::Positions::Distance;
  s.bias = s.layer_norm = false;
  s.norm_first = s.final_norm = true;
  // T5 1.1 writes tie_word_embeddings false (Transformers 5: scale_decoder_outputs false) and scales nothing.
  const bool scales = !multilingual && c.value("scale_decoder_outputs", c.value("tie_word_embeddings", true));
  if (scales) s.output_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.d_model)));
  s.tie_word_embeddings = c.value("tie_word_embeddings", true);
}

}  // namespace

Seq2SeqConfig::Seq2SeqConfig(Seq2SeqKind kind, const Json& c) {
  kind == Seq2SeqKind::T5 || kind == Seq2SeqKind::Mt5 ? read_t5(*this, kind, c) : read_bart_like(*this, kind, c);
  for (Seq2SeqStackConfig* s : {&encoder, &decoder}) {
    s->attention.hidden_size = d_model;
    s->attention.rotary = false;
    s->attention.norm_eps = norm_eps;
    s->attention.output_dropout = dropout;
  }
  encoder.attention.causal = false;
}

}  // namespace tenon::models
