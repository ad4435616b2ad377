// Reads the config.json of each decoder family.
#include "tenon/models/decoder_config.h"

#include <cmath>

namespace tenon::models {
namespace {

constexpr int64_t kMaxLayers = 100000;

float read_float(const Json& c, const char* key, double fallback) { return static_cast<float>(c.value(key, fallback)); }

void read_factors(const Json& r, const char* key, std::vector<double>& out) {
  if (const Json* list = r.get(key))
    for (const Json& v : list->as_array(key)) out.push_back(v.as_number(key));
}

/// rope_parameters (5), or rope_theta and rope_scaling (4).
nn::RopeConfig read_rope(const Json& c, int64_t width, int64_t max_positions, double default_theta) {
  const char* key = c.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const Json* r = c.get(key);
  check(!r || r->is_null() || r->is_object(), ErrorCode::Format, "config.json", "\"", key, "\": expected an object with rope_type, got ",
        r ? r->dump() : "");
  const Json none = Json(Json::Object{});
  const Json& p = r ? *r : none;
  nn::RopeConfig rope;
  const std::string type = p.value("rope_type", p.value("type", "default").c_str());
  constexpr std::pair<const char*, nn::RopeType> kTypes[] = {{"default", nn::RopeType::Default}, {"linear", nn::RopeType::Linear},
                                                             {"dynamic", nn::RopeType::Dynamic}, {"yarn", nn::RopeType::Yarn},
                                                             {"longrope", nn::RopeType::Longrope}, {"su", nn::RopeType::Longrope},
                                                             {"llama3", nn::RopeType::Llama3}};
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) { return type == t.first; });
  check(found != std::end(kTypes), ErrorCode::Format, "config.json",
        "rope type: expected default, linear, dynamic, yarn, longrope or llama3, got \"", type, "\"");
  rope.type = found->second;
  const double partial = p.value("partial_rotary_factor", c.value("partial_rotary_factor", 1.0));
  check(partial > 0 && partial <= 1, ErrorCode::Format, "config.json", "\"partial_rotary_factor\": expected a share up to 1, got ", partial);
  rope.width = static_cast<int64_t>(static_cast<double>(width) * partial);
  rope.theta = p.value("rope_theta", c.value("rope_theta", default_theta));
  rope.max_positions = max_positions;
  rope.original_positions = p.value("original_max_position_embeddings", c.value("original_max_position_embeddings", max_positions));
  if (rope.type == nn::RopeType::Dynamic) rope.original_positions = max_positions;
  const double stretch = rope.original_positions > 0 ? static_cast<double>(max_positions) / static_cast<double>(rope.original_positions) : 1;
  const bool inferred = rope.type == nn::RopeType::Yarn || rope.type == nn::RopeType::Longrope;
  const bool known = p.has("factor") || rope.type == nn::RopeType::Default || rope.type == nn::RopeType::Longrope ||
                     (inferred && (p.has("original_max_position_embeddings") || c.has("original_max_position_embeddings")));
  check(known, ErrorCode::Format, "config.json", "rope type ", type, ": expected \"factor\", by how much the context is stretched");
  rope.factor = p.value("factor", inferred ? stretch : 1.0);
  rope.attention_factor = p.value("attention_factor", 0.0);
  rope.beta_fast = p.value("beta_fast", 32.0), rope.beta_slow = p.value("beta_slow", 1.0);
  rope.mscale = p.value("mscale", 0.0), rope.mscale_all_dim = p.value("mscale_all_dim", 0.0);
  rope.truncate = p.value("truncate", true);
  rope.low_freq_factor = p.value("low_freq_factor", 1.0), rope.high_freq_factor = p.value("high_freq_factor", 4.0);
  read_factors(p, "short_factor", rope.short_factor);
  read_factors(p, "long_factor", rope.long_factor);
  return rope;
}

void read_gpt2(DecoderConfig& d, const Json& c) {
  d.hidden_size = read_size(c, {"n_embd", "hidden_size"}, 768);
  d.num_layers = read_int(c, {"n_layer", "num_hidden_layers"}, 12);
  d.gqa.heads = d.gqa.kv_heads = read_size(c, {"n_head", "num_attention_heads"}, 12);
  d.max_position_embeddings = read_size(c, {"n_positions", "max_position_embeddings"}, 1024);
  d.intermediate_size = read_size(c, {"n_inner"}, 4 * d.hidden_size);
  d.act = ops::parse_activation(c.value("activation_function", "gelu_new"));
  d.norm_eps = read_float(c, "layer_norm_epsilon", 1e-5);
  d.layer_norm = d.learned_positions = d.in_out = d.mlp_bias = true;
  d.embedding_dropout = read_dropout(c, {"embd_pdrop"}, 0.1);
  d.mlp_dropout = d.gqa.output_dropout = read_dropout(c, {"resid_pdrop"}, 0.1);
  d.gqa.dropout = read_dropout(c, {"attn_pdrop"}, 0.1);
  d.gated_mlp = false;
  d.tie_word_embeddings = c.value("tie_word_embeddings", true);
  d.gqa.qkv_bias = d.gqa.output_bias = d.gqa.fused_in_out = true;
  d.gqa.rotary = false;
  d.scale_by_layer = c.value("scale_attn_by_inverse_layer_idx", false);
  const double head = static_cast<double>(d.hidden_size / d.gqa.heads);
  d.gqa.scale = c.value("scale_attn_weights", true) ? static_cast<float>(1 / std::sqrt(std::max(head, 1.0))) : 1.0f;
  check(!c.value("add_cross_attention", false), ErrorCode::Format, "config.json", "\"add_cross_attention\" is not supported");
}

/// Which layers see a window: layer_types (5), or the rule of each family (4).
void read_windows(DecoderConfig& d, DecoderKind kind, const Json& c) {
  d.windows.assign(static_cast<size_t>(d.num_layers), 0);
  const bool qwen = kind == DecoderKind::Qwen2 || kind == DecoderKind::Qwen3 || kind == DecoderKind::Qwen2Moe || kind == DecoderKind::Qwen3Moe;
  const bool windowed = qwen ? c.value("use_sliding_window", false) : kind == DecoderKind::Mistral || kind == DecoderKind::Mixtral;
  // null says "none", an absent key means Transformers' default.
  const int64_t usual = kind == DecoderKind::Mixtral ? 0 : 4096;
  const int64_t window = !windowed ? 0 : c.find("sliding_window") ? c.value("sliding_window", 0) : usual;
  check(window >= 0, ErrorCode::Format, "config.json", "\"sliding_window\": expected a positive number, got ", window);
  if (window == 0) return;
  const Json* types = c.get("layer_types");
  for (int64_t i = 0; i < d.num_layers; ++i) {
    bool here = !qwen || kind == DecoderKind::Qwen3Moe || i >= c.value("max_window_layers", 28);
    if (qwen && types && i < static_cast<int64_t>(types->as_array("layer_types").size()))
      here = types->as_array()[static_cast<size_t>(i)].as_string("layer_types") == "sliding_attention";
    if (here) d.windows[static_cast<size_t>(i)] = window;
  }
}

void read_llama_like(DecoderConfig& d, DecoderKind kind, const Json& c) {
  d.hidden_size = read_size(c, {"hidden_size"}, 4096);
  d.num_layers = read_int(c, {"num_hidden_layers"}, 32);
  d.gqa.heads = read_size(c, {"num_attention_heads"}, 32);
  const bool eight = kind == DecoderKind::Mistral || kind == DecoderKind::Mixtral;  // Transformers' default, where the key is absent
  d.gqa.kv_heads = read_size(c, {"num_key_value_heads"}, eight && !c.find("num_key_value_heads") ? 8 : d.gqa.heads);
  d.max_position_embeddings = read_size(c, {"max_position_embeddings"}, kind == DecoderKind::Llama ? 2048 : 32768);
  d.intermediate_size = read_size(c, {"intermediate_size"}, 11008);
  d.act = ops::parse_activation(c.value("hidden_act", "silu"));
  d.norm_eps = read_float(c, "rms_norm_eps", kind == DecoderKind::Mixtral || kind == DecoderKind::Olmoe ? 1e-5 : 1e-6);
  d.tie_word_embeddings = c.value("tie_word_embeddings", false);
  d.mlp_bias = c.value("mlp_bias", false);
  d.gqa.dropout = read_dropout(c, {"attention_dropout"}, 0);
  const bool qwen2 = kind == DecoderKind::Qwen2 || kind == DecoderKind::Qwen2Moe;
  const bool bias = c.value("attention_bias", false);
  d.gqa.qkv_bias = qwen2 ? c.value("qkv_bias", true) : bias;
  d.gqa.output_bias = !qwen2 && bias;
  if (kind == DecoderKind::Qwen3 || kind == DecoderKind::Qwen3Moe) d.gqa.qk_norm = nn::GqaConfig::QkNorm::Head;
  if (kind == DecoderKind::Olmoe) d.gqa.qk_norm = nn::GqaConfig::QkNorm::Whole, d.gqa.clip = read_float(c, "clip_qkv", 0);
}

void read_mla(DecoderConfig& d, DecoderKind kind, const Json& c) {
  nn::MlaConfig& m = d.mla;
  d.latent = true;
  m.hidden_size = d.hidden_size, m.heads = d.gqa.heads;
  m.q_lora_rank = c.value("q_lora_rank", 0);
  check(m.q_lora_rank >= 0 && m.q_lora_rank <= INT32_MAX, ErrorCode::Format, "config.json", "\"q_lora_rank\": expected null or a size, got ",
        m.q_lora_rank);
  m.kv_lora_rank = read_size(c, {"kv_lora_rank"}, 512);
  m.qk_nope_head_dim = read_size(c, {"qk_nope_head_dim"}, 128);
  m.qk_rope_head_dim = read_size(c, {"qk_rope_head_dim"}, 64);
  m.v_head_dim = read_size(c, {"v_head_dim"}, 128);
  m.bias = c.value("attention_bias", false);
  m.dropout = d.gqa.dropout;
  m.rope_interleaved = kind == DecoderKind::DeepseekV2 || c.value("rope_interleave", true);
  double scale = 1 / std::sqrt(static_cast<double>(m.qk_head_dim()));
  if (d.rope.type != nn::RopeType::Default && d.rope.mscale_all_dim != 0) scale *= std::pow(nn::yarn_mscale(d.rope.factor, d.rope.mscale_all_dim), 2);
  m.scale = static_cast<float>(scale);
}

/// DeepSeek's experts: V1, V2, V3.
void read_deepseek_moe(DecoderConfig& d, DecoderKind kind, const Json& c) {
  nn::MoeConfig& m = d.moe;
  m.num_experts = read_int(c, {"n_routed_experts", "num_local_experts", "num_experts"}, 0);
  m.intermediate_size = read_size(c, {"moe_intermediate_size"}, 1407);
  m.router.top_k = read_size(c, {"num_experts_per_tok"}, kind == DecoderKind::DeepseekV3 ? 8 : 6);
  m.router.normalize = c.value("norm_topk_prob", kind == DecoderKind::DeepseekV3);
  m.router.scale = read_float(c, "routed_scaling_factor", kind == DecoderKind::DeepseekV3 ? 2.5 : 1.0);
  m.shared_intermediate_size = m.intermediate_size * read_int(c, {"n_shared_experts"}, kind == DecoderKind::DeepseekV3 ? 1 : 2);
  const std::string method = c.value("topk_method", kind == DecoderKind::DeepseekV3 ? "noaux_tc" : "greedy");
  if (kind == DecoderKind::DeepseekV3) {
    m.router.score = c.value("scoring_func", "sigmoid") == "softmax" ? ops::RouterScore::Softmax : ops::RouterScore::Sigmoid;
    m.router.group_by_top2 = true;
    m.correction_bias = true;
  } else {
    m.router.normalize = kind == DecoderKind::Deepseek && m.router.normalize;  // V2 never does, whatever its config says
    check(method == "greedy" || method == "group_limited_greedy", ErrorCode::Format, "config.json",
          "\"topk_method\": expected greedy or group_limited_greedy, got \"", method, "\"");
  }
  if (kind == DecoderKind::DeepseekV3 || method == "group_limited_greedy") {
    m.router.groups = read_size(c, {"n_group"}, kind == DecoderKind::DeepseekV3 ? 8 : 1);
    m.router.top_groups = read_size(c, {"topk_group"}, kind == DecoderKind::DeepseekV3 ? 4 : 1);
  }
  d.aux_loss_alpha = read_float(c, "aux_loss_alpha", 0);
  check(d.aux_loss_alpha >= 0, ErrorCode::Format, "config.json", "\"aux_loss_alpha\": expected 0 or more, got ", d.aux_loss_alpha);
  d.seq_aux = c.value("seq_aux", true);
  const int64_t first = c.value("first_k_dense_replace", kind == DecoderKind::DeepseekV3 ? 3 : 0), every = read_size(c, {"moe_layer_freq"}, 1);
  for (int64_t i = 0; i < d.num_layers; ++i) d.sparse[static_cast<size_t>(i)] = m.num_experts > 0 && i >= first && i % every == 0;
}

void read_softmax_moe(DecoderConfig& d, DecoderKind kind, const Json& c) {
  nn::MoeConfig& m = d.moe;
  m.num_experts = read_int(c, {"num_local_experts", "num_experts", "n_routed_experts"}, kind == DecoderKind::Mixtral ? 8 : 64);
  m.router.top_k = read_size(c, {"num_experts_per_tok"}, kind == DecoderKind::Mixtral ? 2 : 8);
  m.router.normalize = kind == DecoderKind::Mixtral || c.value("norm_topk_prob", false);
  m.jitter = kind == DecoderKind::Mixtral ? read_float(c, "router_jitter_noise", 0) : 0;
  const bool qwen = kind == DecoderKind::Qwen2Moe || kind == DecoderKind::Qwen3Moe;
  m.intermediate_size = qwen ? read_size(c, {"moe_intermediate_size"}, 768) : d.intermediate_size;
  if (kind == DecoderKind::Qwen2Moe) {
    m.shared_intermediate_size = read_size(c, {"shared_expert_intermediate_size"}, 5632);
    m.shared_gate = true;
  }
  d.balanced = true;
  d.aux_loss_coef = read_float(c, "router_aux_loss_coef", kind == DecoderKind::Olmoe ? 0.01 : 0.001);
  const int64_t step = qwen ? read_size(c, {"decoder_sparse_step"}, 1) : 1;
  for (int64_t i = 0; i < d.num_layers; ++i) d.sparse[static_cast<size_t>(i)] = m.num_experts > 0 && (i + 1) % step == 0;
  if (const Json* dense = qwen ? c.get("mlp_only_layers") : nullptr)
    for (const Json& i : dense->as_array("mlp_only_layers"))
      if (const int64_t layer = i.as_int("mlp_only_layers"); layer >= 0 && layer < d.num_layers) d.sparse[static_cast<size_t>(layer)] = false;
}

}  // namespace

DecoderConfig::DecoderConfig(DecoderKind kind, const Json& c) {
  const bool deepseek = kind == DecoderKind::Deepseek || kind == DecoderKind::DeepseekV2 || kind == DecoderKind::DeepseekV3;
  kind == DecoderKind::Gpt2 ? read_gpt2(*this, c) : read_llama_like(*this, kind, c);
  vocab_size = read_size(c, {"vocab_size"}, kind == DecoderKind::Gpt2 ? 50257 : 32000);
  check(num_layers >= 0 && num_layers <= kMaxLayers, ErrorCode::Format, "config.json", "\"num_hidden_layers\": expected 0 to ", kMaxLayers,
        ", got ", num_layers);
  check(gqa.kv_heads > 0 && gqa.heads % gqa.kv_heads == 0, ErrorCode::Format, "config.json", "\"num_key_value_heads\": ", gqa.kv_heads,
        " does not divide ", gqa.heads, " heads");
  const bool latent_kind = kind == DecoderKind::DeepseekV2 || kind == DecoderKind::DeepseekV3;
  gqa.hidden_size = hidden_size;
  gqa.norm_eps = norm_eps;
  const int64_t shared = kind == DecoderKind::Qwen3 || kind == DecoderKind::Qwen3Moe ? 128 : hidden_size / gqa.heads;
  check(latent_kind || c.has("head_dim") || shared > 0, ErrorCode::Format, "config.json", "hidden_size ", hidden_size, " is too small for ",
        gqa.heads, " heads");
  gqa.head_dim = latent_kind ? 1 : read_size(c, {"head_dim"}, shared);
  if (!learned_positions)
    rope = read_rope(c, latent_kind ? read_size(c, {"qk_rope_head_dim"}, 64) : gqa.head_dim, max_position_embeddings,
                     kind == DecoderKind::Mixtral ? 1e6 : 1e4);
  if (latent_kind) read_mla(*this, kind, c);
  read_windows(*this, kind, c);
  sparse.assign(static_cast<size_t>(num_layers), false);
  const bool experts = kind == DecoderKind::Mixtral || kind == DecoderKind::Olmoe || kind == DecoderKind::Qwen2Moe || kind == DecoderKind::Qwen3Moe;
  if (deepseek) read_deepseek_moe(*this, kind, c);
  if (experts) read_softmax_moe(*this, kind, c);
  moe.hidden_size = hidden_size;
  moe.act = act;
  if (has_experts()) moe.validate();
}

}  // namespace tenon::models
