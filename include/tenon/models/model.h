// What every model looks like from outside: inputs by name, outputs by name, parameters by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/json.h"
#include "tenon/models/decoding.h"
#include "tenon/nn/module.h"
#include "tenon/ops/router_losses.h"

namespace tenon::models {

/// Named as Transformers' arguments; an undefined tensor was not given. Ids, masks and labels are int64 or int32 (B,T).
struct Inputs {
  Tensor input_ids, attention_mask, token_type_ids, position_ids;
  Tensor inputs_embeds;  // (B,T,C) float32, instead of input_ids
  Tensor pixel_values;   // (B,channels,height,width) float32
  Tensor decoder_input_ids, decoder_attention_mask;  // encoder-decoders: (B,T) of the answer
  Tensor decoder_inputs_embeds;                      // (B,T,C) float32, instead of decoder_input_ids
  Tensor encoder_outputs;                            // (B,S,C) float32, what the encoder gave before, instead of input_ids
  Tensor prefix_key_values;  // decoders: (n, layers * 2 * key width) float32, keys and values before those of every sequence
  Tensor prompt_embeds;      // decoders, start(): (n,C) float32, embeddings before every sequence
  Tensor router_targets;     // mixtures of experts: (B,T) the expert that each token should go to, negative for none
  Tensor labels;         // (B) classes, (B) or (B,L) float targets, or (B,T) token ids with -100 for "do not count"
  bool output_hidden_states = false;
  bool output_attentions = false;
  bool interpolate_pos_encoding = false;  // ViT, CLIP vision: images of another size than the checkpoint's
  bool return_loss = false;               // CLIP: the contrastive loss
  bool output_router_logits = false;      // mixtures of experts: router_logits and, where the family has one, aux_loss
  bool use_cache = false;                 // models that generate: past_key_values, with which a later call goes on
  CacheCodes cache_codes = CacheCodes::None;  // start(): keys and values of the text so far are kept in bytes, with a scale a token and head
  std::shared_ptr<PastKeyValues> past_key_values;  // what went before; changed by the call. attention_mask covers it, too

  /// Calls f(name, tensor) for each tensor member.
  template <class F>
  void visit(F&& f) {
    f("input_ids", input_ids), f("attention_mask", attention_mask), f("token_type_ids", token_type_ids);
    f("position_ids", position_ids), f("inputs_embeds", inputs_embeds), f("pixel_values", pixel_values), f("labels", labels);
    f("decoder_input_ids", decoder_input_ids), f("decoder_attention_mask", decoder_attention_mask);
    f("decoder_inputs_embeds", decoder_inputs_embeds), f("encoder_outputs", encoder_outputs);
    f("prefix_key_values", prefix_key_values), f("prompt_embeds", prompt_embeds), f("router_targets", router_targets);
  }
};

/// Named as Transformers' outputs; what a model does not compute stays undefined. Rows of padded positions hold zeros: they are not
/// computed (except where the first position of a sequence is padding, see nn/packed_rows.h).
struct Outputs {
  Tensor loss;               // scalar
  Tensor logits;             // (B,L) or (B,T,V)
  Tensor logits_per_image;   // (images, texts)
  Tensor logits_per_text;    // (texts, images)
  Tensor text_embeds;        // (texts, projection), unit length
  Tensor image_embeds;       // (images, projection), unit length
  Tensor last_hidden_state;  // (B,T,C)
  Tensor pooler_output;      // (B,C)
  std::vector<Tensor> hidden_states;  // layers + 1 of (B,T,C)
  std::vector<Tensor> attentions;     // layers of (B,H,T,T) float32
  std::vector<Tensor> decoder_hidden_states;  // encoder-decoders: decoder layers + 1 of (B,T,C)
  std::vector<Tensor> decoder_attentions;     // decoder layers of (B,H,T,T) float32; with a past (B,H,T,past + T), as `attentions`
  std::vector<Tensor> cross_attentions;       // decoder layers of (B,H,T,S) float32
  Tensor encoder_last_hidden_state;           // (B,S,C)
  std::vector<Tensor> encoder_hidden_states;  // encoder layers + 1 of (B,S,C)
  std::vector<Tensor> encoder_attentions;     // encoder layers of (B,H,S,S) float32
  Tensor aux_loss;                    // scalar: load balance of a mixture of experts
  std::vector<Tensor> router_logits;  // layers with experts of (B*T,E) float32
  ops::RouterLosses router_losses;    // scalars, where the model's RoutingSettings ask for them
  Tensor expert_loads;                // with them: int64 (layers with experts, E), tokens that each expert got
  std::shared_ptr<PastKeyValues> past_key_values;  // with use_cache; the model must outlive it

  /// Calls f(name, tensor or vector of tensors) for each member in Transformers' order.
  template <class F>
  void visit(F&& f) {
    f("loss", loss), f("logits", logits), f("logits_per_image", logits_per_image), f("logits_per_text", logits_per_text);
    f("text_embeds", text_embeds), f("image_embeds", image_embeds), f("last_hidden_state", last_hidden_state);
    f("pooler_output", pooler_output), f("hidden_states", hidden_states), f("attentions", attentions);
    f("decoder_hidden_states", decoder_hidden_states), f("decoder_attentions", decoder_attentions), f("cross_attentions", cross_attentions);
    f("encoder_last_hidden_state", encoder_last_hidden_state), f("encoder_hidden_states", encoder_hidden_states);
    f("encoder_attentions", encoder_attentions);
    f("aux_loss", aux_loss), f("router_logits", router_logits);
    router_losses.visit(f);
    f("expert_loads", expert_loads);
  }
};

/// How a mixture of experts routes and what its routers are taught, beyond its configuration; the same for all its layers. Weights of
/// losses are added to the loss of passes with ctx.training().dropout, that is while training.
struct RoutingSettings {
  int64_t active_experts = 0;  // experts per token; 0 = as configured
  int64_t newcomers = 0;       // of them, places whose scores are multiplied by newcomer_weight, see ops::RouterOptions
  float newcomer_weight = 1;
  float noise = 0, jitter = 0;  // of the logits and of the router's input while training, see nn::Router
  bool report = false;          // router_losses and expert_loads are computed though no loss has a weight
  ops::RouterLossOptions losses;  // their score is the model's own
  float balance = 0, sequence_balance = 0, device = 0, communication = 0, z = 0, load_entropy = 0, token_entropy = 0, router_target = 0;

  /// f(name, weight) for each loss, in the order of ops::RouterLosses.
  template <class F>
  void visit_weights(F&& f) {
    f("balance", balance), f("sequence_balance", sequence_balance), f("device", device), f("communication", communication), f("z", z);
    f("load_entropy", load_entropy), f("token_entropy", token_entropy), f("router_target", router_target);
  }
  bool watches() const {
    return report || balance != 0 || sequence_balance != 0 || device != 0 || communication != 0 || z != 0 || load_entropy != 0 ||
           token_entropy != 0 || router_target != 0;
  }
};

/// Precision of the weights and of the activations between them.
enum class Precision : uint8_t {
  Float32,
  BFloat16,  // bf16 weights and activations, sums and statistics in float32
  Int8,      // int8 weights per output channel, int8 activations per token, bf16 or float32 between (what is faster here)
  Int4,      // 4-bit weights rounded to nearest in groups of 128, int8 activations per token and group; the head as in Int8
  Fp8,       // e4m3 weights with a scale per row and 128 columns, exact products unless set_fp8_rows(); the head as in BFloat16
};

/// How a layer's weight is packed in a precision; head: of the language model's head, which suffers more than it costs.
WeightFormat format_of(Precision precision, bool head = false);

class Model {
 public:
  virtual ~Model() = default;
  /// The Transformers class, "BertForSequenceClassification".
  virtual std::string class_name() const = 0;
  /// Computes what the model computes; const and safe to call from several threads, each with its own Context. Ids and masks are read by the
  /// host and other inputs by the model's device: each may lie on either, and is copied. What comes back lies on the model's device.
  /// Errors: Error(Limit) for ids outside the vocabulary or sequences longer than the positions, Error(Shape), Error(Type); Error(Device) if
  /// the Context computes elsewhere than where the model lies.
  Outputs forward(Context& ctx, const Inputs& inputs) const { return compute(ctx, placed(ctx, inputs)); }
  /// Lists every parameter under its name in the checkpoint.
  virtual void visit(nn::Visitor& v) = 0;
  /// The base model's prefix in checkpoints with a head ("bert"), which a headless checkpoint lacks; "" if it has none.
  virtual std::string base_prefix() const { return ""; }
  /// Whether a checkpoint may hold a tensor of this name that the model has no use for.
  virtual bool superfluous(const std::string&) const { return false; }
  /// CLIP: the projected features of a text or an image, not normalised. Errors: Error(Type) for models without them.
  Tensor features(Context& ctx, const Inputs& inputs) const { return compute_features(ctx, placed(ctx, inputs)); }
  /// Encoder-decoders: the encoder alone, last_hidden_state, hidden_states and attentions. Errors: Error(Type) for other models.
  Outputs encode(Context& ctx, const Inputs& inputs) const { return compute_encoding(ctx, placed(ctx, inputs)); }
  /// Starts sequences without a token, one per row of in.input_ids, to generate with; an encoder-decoder encodes input_ids here. The
  /// model must outlive them. Errors: Error(Type) for models that do not generate; as forward().
  std::unique_ptr<DecodingSession> start(Context& ctx, const Inputs& inputs) const { return begin(ctx, placed(ctx, inputs)); }

  /// Mixtures of experts: routes like this from now on, also in sessions that were started before; not while a pass runs.
  /// Errors: Error(Type) for models without experts; Error(Limit) for settings that do not fit them, which change nothing.
  virtual void set_routing(const RoutingSettings&);
  /// Their settings of now. Errors: Error(Type) for models without experts.
  virtual const RoutingSettings& routing() const;

  const Json& config() const { return config_; }
  Json& config() { return config_; }
  Precision precision() const { return precision_; }
  /// Where it computes.
  Device device() const { return device_; }
  /// Moves the model to where ctx computes. What is packed is packed there again, from plain weights that stay where they are. If that fails the
  /// model is as before. Errors: Error(Memory); Error(Device) for weights that have no kernel there, and for a model with adapters.
  void to(Context& ctx);
  /// Packs every Linear for inference in this precision where ctx computes, and moves what is not packed there. Plain weights stay readable.
  /// Errors: as to().
  void pack(Context& ctx, Precision precision);
  /// Whether pack() keeps in int8 what a checkpoint of few bits holds plain (the head): a load without exact products asks for it.
  void set_int8_beside(bool on) { int8_beside_ = on; }
  bool int8_beside() const { return int8_beside_; }
  /// Whether pack() has FP8 weights, of checkpoints and of Precision::Fp8, multiply rows rounded to e4m3 per token and 128 columns, where the model
  /// lies on a device. The CPU's products are exact.
  void set_fp8_rows(bool on) { fp8_rows_ = on; }
  bool fp8_rows() const { return fp8_rows_; }
  /// Counts how often what it computes with was replaced: weights that were packed, moved or unpacked, adapters, routing.
  uint64_t revision() const { return revision_; }
  /// Says that it was.
  void touch() { ++revision_; }
  /// Back to the plain weights, as training needs them; weights stored in 16 bits become float32.
  void unpack();
  /// All parameters by name, in visiting order.
  std::vector<std::pair<std::string, Tensor>> parameters() const;
  /// Those of them that are parts of quantised weights, as the checkpoint holds them, each with the number of weights that it stands for.
  std::vector<std::pair<std::string, int64_t>> quantized_parts() const;
  /// The number of weights; tied ones count once, quantised ones as what they stand for.
  int64_t num_parameters() const;

 protected:
  explicit Model(Json config) : config_(std::move(config)) {}
  /// What forward(), features(), encode() and start() do, given inputs that lie where they are read.
  virtual Outputs compute(Context& ctx, const Inputs& inputs) const = 0;
  virtual Tensor compute_features(Context&, const Inputs&) const;
  virtual Outputs compute_encoding(Context&, const Inputs&) const;
  virtual std::unique_ptr<DecodingSession> begin(Context&, const Inputs&) const;
  /// The type of activations: BF16 in BFloat16 and, where it pays, Int8.
  DType activations() const { return activations_; }

 private:
  Inputs placed(Context& ctx, Inputs inputs) const;
  void pack_here(Context& ctx, Precision precision);

  Json config_;
  Precision precision_ = Precision::Float32;
  DType activations_ = DType::F32;
  Device device_;
  bool int8_beside_ = false, fp8_rows_ = false, packed_ = false;
  uint64_t revision_ = 0;
};

}  // namespace tenon::models
