// LoRA adapters: PEFT's golden case, every family, precisions, switching, merging to the bit, files, and adapters that do not fit.
#include <algorithm>
#include <cstring>
#include <thread>

#include "golden.h"
#include "io/temp_folder.h"
#include "tenon/models/adapters.h"
#include "tenon/train/tape.h"

using namespace tenon;
using namespace tenon::test;
using models::Adapters;
using models::Inputs;
using models::Precision;

namespace {

Json tiny(const char* type) {
  Json c;
  c.set("model_type", type), c.set("hidden_size", 16), c.set("num_hidden_layers", 2), c.set("num_attention_heads", 2);
  c.set("intermediate_size", 32), c.set("vocab_size", 50), c.set("max_position_embeddings", 32), c.set("initializer_range", 0.3);
  c.set("num_key_value_heads", 1), c.set("num_local_experts", 4), c.set("num_experts_per_tok", 2);
  c.set("num_experts", 4), c.set("moe_intermediate_size", 8), c.set("shared_expert_intermediate_size", 8);
  c.set("n_routed_experts", 4), c.set("n_group", 2), c.set("topk_group", 2), c.set("first_k_dense_replace", 0);
  for (const char* key : {"kv_lora_rank", "qk_nope_head_dim", "v_head_dim"}) c.set(key, 8);
  c.set("qk_rope_head_dim", 4);
  c.set("d_model", 16), c.set("d_ff", 32), c.set("d_kv", 8), c.set("num_layers", 1), c.set("num_heads", 2), c.set("pad_token_id", 0);
  for (const std::string stack : {"encoder", "decoder"})
    c.set(stack + "_layers", 1), c.set(stack + "_ffn_dim", 32), c.set(stack + "_attention_heads", 2);
  c.set("decoder_start_token_id", 0), c.set("feed_forward_proj", "gated-gelu");
  return c;
}

std::unique_ptr<models::Model> make(Context& ctx, const char* type, const char* class_name, bool pack = false,
                                    Precision precision = Precision::Float32) {
  models::LoadOptions options;
  options.class_name = class_name, options.pack = pack, options.precision = precision, options.seed = 5;
  return models::from_config(ctx, tiny(type), options);
}

Json lora(const std::string& targets = "all-linear", int64_t r = 4) {
  Json c;
  c.set("peft_type", "LORA"), c.set("r", r), c.set("lora_alpha", 8), c.set("target_modules", targets), c.set("init_lora_weights", false);
  return c;
}

Json list(std::initializer_list<const char*> names) {
  Json::Array all;
  for (const char* n : names) all.emplace_back(n);
  return all;
}

Inputs tokens(bool answer = false) {
  Inputs in;
  in.input_ids = Tensor::from(std::vector<int64_t>{5, 9, 23, 41, 7, 8, 8, 13, 30, 31}, {2, 5});
  if (answer) in.decoder_input_ids = Tensor::from(std::vector<int64_t>{0, 4, 6, 0, 9, 2}, {2, 3});
  return in;
}

Tensor logits(Context& ctx, const models::Model& model, const Inputs& in) {
  const models::Outputs out = model.forward(ctx, in);
  return out.logits.defined() ? out.logits : out.last_hidden_state;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(std::as_const(a).raw(), std::as_const(b).raw(), a.nbytes()) == 0;
}

std::string error_of_load(Adapters& adapters, const std::string& folder) {
  return error_of([&] { adapters.load("other", folder); });
}

const std::string kGolden = std::string(TENON_TEST_DIR) + "/golden/";

}  // namespace

TEST_CASE("PEFT's golden adapter: logits, loss and gradients, and every other parameter rests") {
  Context ctx;
  for (const bool pack : {true, false}) {
    models::LoadOptions options;
    options.pack = pack;
    const auto model = models::load(ctx, kGolden + "llama", options);
    const auto inputs = read_all(kGolden + "llama-lora/inputs.safetensors"), outputs = read_all(kGolden + "llama-lora/outputs.safetensors");
    const auto grads = read_all(kGolden + "llama-lora/grads.safetensors");
    Inputs in;
    assign(in, inputs);
    const Tensor before = logits(ctx, *model, in);
    Adapters adapters(*model);
    CHECK(adapters.load("default", kGolden + "llama-lora").empty());
    CHECK(same_bits(logits(ctx, *model, in), before));
    adapters.activate(ctx, {"default"});
    CHECK(relative_error(logits(ctx, *model, in), outputs.at("logits")) < 1e-4);
    train::Tape tape;
    const auto parameters = adapters.parameters("default");
    CHECK(parameters.size() == grads.size());
    for (const auto& p : parameters) tape.watch(p.value);
    in.labels = in.input_ids;
    ctx.set_recorder(&tape);
    const models::Outputs out = model->forward(ctx, in);
    ctx.set_recorder(nullptr);
    CHECK(out.loss.item() == doctest::Approx(6.023203372955322).epsilon(1e-5));
    tape.backward(ctx, out.loss);
    for (const auto& p : parameters) {
      std::string name = p.name_on_disk();
      name.insert(name.rfind(".weight"), ".default");
      CAPTURE(name);
      REQUIRE(grads.contains(name));
      CHECK(relative_error(tape.grad(p.value), grads.at(name)) < 1e-3);
    }
    for (const auto& [name, t] : model->parameters()) CHECK_FALSE(tape.grad(t).defined());
    adapters.activate(ctx, {});
    CHECK(same_bits(logits(ctx, *model, in), before));
  }
}

TEST_CASE("every family: all linear layers adapted, alone and merged, give the same") {
  struct Case {
    const char *type, *class_name;
    bool answer = false;
  };
  for (const Case& c : {Case{"llama", "LlamaForCausalLM"},
                        {"gpt2", "GPT2LMHeadModel"},
                        {"bert", "BertForSequenceClassification"},
                        {"distilbert", "DistilBertForMaskedLM"},
                        {"mixtral", "MixtralForCausalLM"},
                        {"qwen2_moe", "Qwen2MoeForCausalLM"},
                        {"deepseek_v2", "DeepseekV2ForCausalLM"},
                        {"t5", "T5ForConditionalGeneration", true},
                        {"marian", "MarianMTModel", true}}) {
    CAPTURE(c.class_name);
    for (const bool pack : {false, true}) {
      CAPTURE(pack);
      Context ctx;
      const auto model = make(ctx, c.type, c.class_name, pack);
      const Inputs in = tokens(c.answer);
      const Tensor before = logits(ctx, *model, in);
      Adapters adapters(*model);
      adapters.add("a", lora(), 1);
      adapters.add("b", lora("all-linear", 2), 2);
      CHECK(adapters.parameters("a").size() > 8);
      adapters.activate(ctx, {"a", "b"});
      const Tensor beside = logits(ctx, *model, in);
      CHECK(relative_error(beside, before) > 1e-3);
      adapters.merge(ctx, {"a", "b"});
      CHECK(relative_error(logits(ctx, *model, in), beside) < 1e-4);
      adapters.remove(ctx, "b");
      const Tensor alone = logits(ctx, *model, in);
      adapters.unmerge(ctx);
      CHECK(relative_error(logits(ctx, *model, in), alone) < 1e-4);
      adapters.activate(ctx, {});
      CHECK(same_bits(logits(ctx, *model, in), before));
    }
  }
}

TEST_CASE("packed in bf16 and int8, adapters act beside the weights and give them back") {
  for (const char* type : {"llama", "bert", "mixtral"}) {
    for (const Precision p : {Precision::BFloat16, Precision::Int8}) {
      CAPTURE(type);
      Context ctx;
      const char* name = type == std::string("llama")  ? "LlamaForCausalLM"
                         : type == std::string("bert") ? "BertModel"
                                                       : "MixtralForCausalLM";
      const auto exact = make(ctx, type, name), model = make(ctx, type, name, true, p);
      const Inputs in = tokens();
      const Tensor before = logits(ctx, *model, in);
      Adapters a(*exact), b(*model);
      for (Adapters* x : {&a, &b}) x->add("x", lora("all-linear", 8), 7), x->activate(ctx, {"x"});
      const Tensor want = logits(ctx, *exact, in);
      if (type != std::string("mixtral")) CHECK(relative_error(logits(ctx, *model, in), want) < 0.1);  // a router's choice may flip
      CHECK(relative_error(logits(ctx, *model, in), before) > 1e-2);
      b.merge(ctx, {"x"});
      b.unmerge(ctx);
      b.activate(ctx, {});
      CHECK(same_bits(logits(ctx, *model, in), before));
    }
  }
}

TEST_CASE("modules to save and biases are the adapter's own, and the weights under them come back to the bit") {
  Context ctx;
  for (const bool pack : {false, true}) {
    const auto model = make(ctx, "bert", "BertForSequenceClassification", pack);
    const Tensor before = logits(ctx, *model, tokens());
    Adapters adapters(*model);
    Json config = lora("query");
    config.set("target_modules", list({"query", "value"})), config.set("modules_to_save", list({"classifier"})),
        config.set("bias", "lora_only");
    adapters.add("a", config, 1);
    std::vector<std::string> own;
    for (const auto& p : adapters.parameters("a")) {
      if (!p.saved) continue;
      own.push_back(p.name_on_disk());
      Tensor t = p.value;
      for (float& v : std::span(t.data<float>(), static_cast<size_t>(t.numel()))) v += 0.5f;
    }
    CHECK(own.size() == 2 * 2 + 2);
    CHECK(std::count(own.begin(), own.end(), "base_model.model.classifier.weight") == 1);
    CHECK(std::count(own.begin(), own.end(), "base_model.model.bert.encoder.layer.1.attention.self.value.base_layer.bias") == 1);
    adapters.activate(ctx, {"a"});
    const Tensor with = logits(ctx, *model, tokens());
    CHECK(relative_error(with, before) > 1e-2);
    const TempFolder folder;
    adapters.save("a", folder.path());
    CHECK(adapters.load("b", folder.path()).empty());
    adapters.activate(ctx, {"b"});
    CHECK(relative_error(logits(ctx, *model, tokens()), with) < 1e-6);
    adapters.activate(ctx, {});
    CHECK(same_bits(logits(ctx, *model, tokens()), before));
    adapters.activate(ctx, {"a"});
    adapters.merge(ctx, {"a"});
    adapters.forget(ctx);
    CHECK(adapters.names().empty());
    CHECK(relative_error(logits(ctx, *model, tokens()), with) < 1e-5);
  }
}

TEST_CASE("what is targeted: endings, whole names, patterns, layers, ranks and scales") {
  Context ctx;
  const auto model = make(ctx, "llama", "LlamaForCausalLM");
  Adapters adapters(*model);
  int n = 0;
  const auto layers = [&](const Json& config) {
    const std::string name = "x" + std::to_string(n++);
    adapters.add(name, config);
    return adapters.scalings(name);
  };
  Json c = lora();
  CHECK(layers(c).size() == 2 * 7);  // not the head
  c.set("target_modules", Json());
  CHECK(layers(c).size() == 2 * 2);  // PEFT's for Llama: q_proj, v_proj
  c.set("target_modules", list({"up_proj", "lm_head"})), c.set("layers_to_transform", 1);
  CHECK(layers(c).size() == 2);
  c.set("target_modules", "model\\.layers\\.0\\..*(q|k)_proj"), c.set("layers_to_transform", Json());
  CHECK(layers(c).size() == 2);
  c.set("exclude_modules", list({"k_proj"}));
  CHECK(layers(c).size() == 1);
  c.set("target_modules", list({"q_proj", "v_proj"})), c.set("exclude_modules", Json());
  Json ranks, alphas;
  ranks.set("layers.0.*.q_proj", 16), alphas.set("v_proj", 12);
  c.set("rank_pattern", ranks), c.set("alpha_pattern", alphas);
  auto s = layers(c);
  CHECK(s[0].second == doctest::Approx(8.0 / 16));
  CHECK(s[1].second == doctest::Approx(12.0 / 4));
  CHECK(s[2].second == doctest::Approx(8.0 / 4));
  c.set("use_rslora", true);
  CHECK(layers(c)[0].second == doctest::Approx(8.0 / 4));
}

TEST_CASE("fresh adapters change nothing, whatever their start") {
  Context ctx;
  const auto model = make(ctx, "gpt2", "GPT2LMHeadModel", true);
  const Tensor before = logits(ctx, *model, tokens());
  Adapters adapters(*model);
  for (const Json& init : {Json(true), Json("gaussian")}) {
    Json c = lora();
    c.set("init_lora_weights", init);
    adapters.add("x", c, 3);
    float largest = 0;
    for (const float v : std::as_const(adapters.parameters("x")[0].value).values<float>()) largest = std::max(largest, std::abs(v));
    CHECK(largest > 0.05f);
    adapters.activate(ctx, {"x"});
    CHECK(relative_error(logits(ctx, *model, tokens()), before) < 1e-6);
    adapters.remove(ctx, "x");
  }
}

TEST_CASE("adapters that do not fit are refused by name, and nothing stays of them") {
  Context ctx;
  const auto llama = make(ctx, "llama", "LlamaForCausalLM"), bert = make(ctx, "bert", "BertModel");
  Adapters of_llama(*llama), of_bert(*bert);
  of_bert.add("a", lora("encoder.layer.0.output.dense"), 1);
  const TempFolder folder;
  of_bert.save("a", folder.path());
  CHECK(error_of_load(of_llama, folder.path()).find("encoder.layer.0.output.dense") != std::string::npos);
  Json c = lora("all-linear");
  io::write_file_atomic(folder / "adapter_config.json", c.dump());
  CHECK(error_of_load(of_llama, folder.path()).find("has no layer \"encoder.layer.0.output.dense\"") != std::string::npos);
  of_llama.add("a", lora("all-linear", 3));
  of_llama.save("a", folder.path());
  io::write_file_atomic(folder / "adapter_config.json", lora("all-linear", 4).dump());
  CHECK(error_of_load(of_llama, folder.path()).find("expected (") != std::string::npos);
  CHECK(of_llama.names() == std::vector<std::string>{"a"});
  for (const auto& [key, value] : {std::pair<const char*, Json>{"use_dora", true},
                                   {"r", 0},
                                   {"r", "x"},
                                   {"lora_dropout", 2},
                                   {"bias", "some"},
                                   {"init_lora_weights", "pissa"},
                                   {"peft_type", "LOHA"},
                                   {"target_modules", "(q_proj"},
                                   {"target_modules", 3},
                                   {"target_modules", "nothing"},
                                   {"target_modules", list({"embed_tokens"})},
                                   {"rank_pattern", list({"a"})},
                                   {"r", int64_t{1} << 40}}) {
    CAPTURE(key);
    Json bad = lora("all-linear", 3);
    bad.set(key, value);
    io::write_file_atomic(folder / "adapter_config.json", bad.dump());
    CHECK(error_of_load(of_llama, folder.path()) != "no error");
  }
  for (const char* text : {"", "[]", "{", "{\"r\": \"\xff\"}"}) {
    io::write_file_atomic(folder / "adapter_config.json", text);
    CHECK(error_of_load(of_llama, folder.path()) != "no error");
  }
  CHECK(error_of_load(of_llama, folder / "nowhere").find("adapter_model.safetensors") != std::string::npos);
  of_llama.save("a", folder.path());
  const std::string whole = io::read_file(folder / "adapter_model.safetensors");
  for (const size_t cut : {size_t{0}, size_t{7}, size_t{60}, whole.size() - 1}) {
    io::write_file_atomic(folder / "adapter_model.safetensors", whole.substr(0, cut));
    CHECK(error_of_load(of_llama, folder.path()) != "no error");
  }
  CHECK(error_of([&] { of_llama.activate(ctx, {"b"}); }).find("\"b\"") != std::string::npos);
  CHECK(error_of([&] { of_llama.add("a", lora()); }).find("already") != std::string::npos);
}

TEST_CASE("experts in one tensor, as Transformers 5 keeps them, become adapters of each") {
  Context ctx;
  const auto model = make(ctx, "mixtral", "MixtralForCausalLM");
  constexpr int64_t E = 4, r = 2, C = 16, F = 32;
  std::vector<io::NamedTensor> tensors;
  Random random(3);
  const auto normal = [&](const Shape& shape) {
    Tensor t = Tensor::empty(shape, DType::F32);
    for (float& v : std::span(t.data<float>(), static_cast<size_t>(t.numel()))) v = random.normal();
    return t;
  };
  const std::string at = "base_model.model.model.layers.1.mlp.experts.";
  const Tensor a = normal({E * 2 * r, C}), b = normal({2 * F, E * 2 * r});
  tensors = {{at + "base_layer.lora_A.weight", a},
             {at + "base_layer.lora_B.weight", b},
             {at + "lora_A.weight", normal({E * r, F})},
             {at + "lora_B.weight", normal({C, E * r})}};
  Json c = lora("", r), ranks;
  ranks.set(".*\\.gate_up_proj", 2 * r);
  c.set("target_modules", Json::Array()), c.set("target_parameters", list({"down_proj", "gate_up_proj"})), c.set("rank_pattern", ranks);
  c.set("layers_to_transform", 1);
  const TempFolder folder;
  io::write_safetensors(folder / "adapter_model.safetensors", tensors);
  io::write_file_atomic(folder / "adapter_config.json", c.dump());
  Adapters adapters(*model);
  CHECK(adapters.load("x", folder.path()).empty());
  const auto parameters = adapters.parameters("x");
  CHECK(parameters.size() == E * 3 * 2);
  for (const auto& p : parameters) {
    if (p.module != "model.layers.1.block_sparse_moe.experts.2.w3" || p.part != "lora_B.weight") continue;
    CHECK(p.value.shape() == Shape{F, 2 * r});
    CHECK(std::as_const(p.value).data<float>()[5 * 2 * r + 3] == std::as_const(b).data<float>()[(F + 5) * E * 2 * r + 3 * E + 2]);
  }
  adapters.activate(ctx, {"x"});
  const Tensor y = logits(ctx, *model, tokens());
  adapters.save("x", folder.path());  // in the form that it came in
  const auto saved = read_all(folder / "adapter_model.safetensors");
  CHECK(saved.size() == tensors.size());
  for (const auto& [name, t] : tensors) {
    REQUIRE(saved.contains(name));
    CHECK(same_bits(saved.at(name), t));
  }
  CHECK(adapters.load("again", folder.path()).empty());
  adapters.activate(ctx, {"again"});
  CHECK(same_bits(logits(ctx, *model, tokens()), y));
  for (const auto& p : adapters.parameters("again"))  // trained apart, gate and up no longer share a factor
    if (p.module.ends_with("w3") && p.part == "lora_A.weight") Tensor(p.value).data<float>()[3] += 1;
  adapters.activate(ctx, {"again"});
  const Tensor apart = logits(ctx, *model, tokens());
  adapters.save("again", folder.path());
  CHECK(adapters.load("third", folder.path()).empty());
  adapters.activate(ctx, {"third"});
  CHECK(relative_error(logits(ctx, *model, tokens()), apart) < 1e-5);
}

TEST_CASE("a model with adapters serves several threads") {
  Context ctx;
  const auto model = make(ctx, "llama", "LlamaForCausalLM", true);
  Adapters adapters(*model);
  adapters.add("a", lora(), 1);
  adapters.activate(ctx, {"a"});
  const Tensor want = logits(ctx, *model, tokens());
  std::vector<Tensor> got(3);
  std::vector<std::thread> threads;
  for (Tensor& t : got)
    threads.emplace_back([&] {
      Context own(1);
      t = logits(own, *model, tokens());
    });
  for (std::thread& t : threads) t.join();
  for (const Tensor& t : got) CHECK(relative_error(t, want) < 1e-5);
}
