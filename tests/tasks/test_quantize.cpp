// A folder in, a quantised folder out: it opens again and computes what was promised, and bad input is named.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tenon/io/files.h"
#include "tenon/models/registry.h"
#include "tenon/tasks/quantize.h"
#include "tenon/tasks/token_windows.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "tenon-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return (path / name).string(); }
  fs::path path;
};

const std::vector<std::string> kWords = {"the", "market",  "rose",    "fell", "bank", "profit", "after", "report",
                                         "a",   "sharply", "company", "said", "of",   "and",    "in",    "shares"};

/// A tokenizer of a few words.
Json tokenizer_json() {
  Json vocab;
  vocab.set("<unk>", Json(0));
  for (size_t i = 0; i < kWords.size(); ++i) vocab.set(kWords[i], Json(static_cast<int64_t>(i + 1)));
  Json json;
  json.set("version", "1.0");
  json.set("added_tokens", Json(Json::Array{}));
  json.set("normalizer", Json());
  json.set("pre_tokenizer", Json(Json::Object{{"type", "Whitespace"}}));
  json.set("post_processor", Json());
  json.set("decoder", Json());
  json.set("model", Json(Json::Object{{"type", "WordLevel"}, {"vocab", vocab}, {"unk_token", "<unk>"}}));
  return json;
}

std::vector<std::string> some_text(int lines) {
  std::string text;
  Random random(3);
  for (int i = 0; i < lines; ++i) {
    for (int k = 0; k < 12; ++k) text += kWords[random.next() % kWords.size()] + " ";
    text += "\n";
  }
  return {text};
}

Json config_of(const std::string& type) {
  Json c = Json::parse(R"({"vocab_size": 24, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": false, "dtype": "float32", "initializer_range": 0.1})");
  c.set("model_type", Json(type));
  if (type == "mixtral") {
    c.set("architectures", Json(Json::Array{Json("MixtralForCausalLM")}));
    c.set("num_local_experts", Json(4)), c.set("num_experts_per_tok", Json(2));
  } else if (type == "deepseek_v2") {
    c.set("architectures", Json(Json::Array{Json("DeepseekV2ForCausalLM")}));
    const Json more =
        Json::parse(R"({"q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16,
         "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 64,
         "first_k_dense_replace": 1})");
    for (const auto& [key, value] : more.as_object()) c.set(key, value);
  } else if (type == "gpt2") {
    c.set("architectures", Json(Json::Array{Json("GPT2LMHeadModel")}));
    c.set("n_embd", Json(64)), c.set("n_layer", Json(2)), c.set("n_head", Json(4)), c.set("n_positions", Json(64));
  } else {
    c.set("architectures", Json(Json::Array{Json("LlamaForCausalLM")}));
  }
  return c;
}

std::string make_model(const Folder& in, const std::string& type) {
  Context ctx(2);
  const auto model = models::from_config(ctx, config_of(type), {.pack = false, .config_overrides = {}, .seed = 5});
  const std::string folder = in / type;
  models::save(*model, folder);
  io::write_file_atomic(folder + "/tokenizer.json", tokenizer_json().dump());
  io::write_file_atomic(folder + "/tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast"})");
  return folder;
}

QuantizeOptions options_of(compress::Method method) {
  QuantizeOptions o;
  o.block.method = method;
  o.block.group = 32;
  o.samples = 8, o.length = 32, o.held_out = 4, o.threads = 2;
  return o;
}

Tensor logits(const std::string& folder) {
  Context ctx(2);
  const auto model = models::load(ctx, folder);
  models::Inputs in;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 40; ++i) ids.push_back(1 + i * 7 % 16);
  in.input_ids = Tensor::from(ids, {2, 20});
  return model->forward(ctx, in).logits;
}

double relative(const Tensor& a, const Tensor& b) {
  double change = 0, whole = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    change += std::pow(static_cast<double>(a.data<float>()[i]) - b.data<float>()[i], 2);
    whole += std::pow(static_cast<double>(a.data<float>()[i]), 2);
  }
  return std::sqrt(change / whole);
}

}  // namespace

TEST_CASE("quantise, save, open: every method, dense, mixture and latent attention") {
  const Folder tmp;
  for (const char* type : {"llama", "mixtral", "deepseek_v2"}) {
    const std::string folder = make_model(tmp, type);
    const Tensor before = logits(folder);
    for (const compress::Method method :
         {compress::Method::Awq, compress::Method::Gptq, compress::Method::Rtn, compress::Method::Int8, compress::Method::Fp8}) {
      CAPTURE(type);
      CAPTURE(compress::name_of(method));
      const std::string output = tmp / (std::string(type) + "-" + compress::name_of(method));
      std::vector<int64_t> layers;
      QuantizeOptions o = options_of(method);
      o.progress = [&](const QuantizeProgress& p) {
        layers.push_back(p.layer);
        return p.layers == 2;
      };
      const QuantizeReport report = quantize(folder, output, some_text(60), {}, o);
      CHECK(layers == std::vector<int64_t>{1, 2});
      CHECK(report.windows == 8);
      CHECK(report.errors.size() == 2);
      CHECK(report.bytes_after < report.bytes_before / 2);
      CHECK(report.perplexity_after == doctest::Approx(report.perplexity_before).epsilon(0.2));
      for (const compress::LayerReport& l : report.layers) CHECK((l.quantized || l.name.ends_with("gate")));
      CHECK(Json::parse_file(output + "/config.json").at("quantization_config").has("quant_method"));
      CHECK(io::is_file(output + "/tokenizer.json"));
      CHECK_FALSE(io::is_file(output + "/.layer.safetensors"));
      const double change = relative(before, logits(output));
      CHECK(change > 0);
      CHECK(change < (method == compress::Method::Int8 || method == compress::Method::Fp8 ? 0.15 : 0.5));
      CHECK_THROWS_WITH_AS(quantize(output, tmp / "again", some_text(60), {}, options_of(method)), doctest::Contains("quantised already"),
                           Error);
    }
  }
}

TEST_CASE("the other formats of 4 bits hold the same weights") {
  const Folder tmp;
  const std::string folder = make_model(tmp, "llama");
  QuantizeOptions o = options_of(compress::Method::Rtn);
  quantize(folder, tmp / "awq", {}, {}, o);
  const Tensor awq = logits(tmp / "awq");
  for (const char* format : {"gptq", "compressed-tensors"}) {
    o.format = format;
    quantize(folder, tmp / format, {}, {}, o);
    CHECK(relative(awq, logits(tmp / format)) < 1e-6);
  }
  o.format = "gguf";
  CHECK_THROWS_WITH_AS(quantize(folder, tmp / "x", {}, {}, o), doctest::Contains("gguf"), Error);
  QuantizeOptions ordered = options_of(compress::Method::Gptq);
  ordered.block.desc_act = true;
  quantize(folder, tmp / "ordered", some_text(60), {}, ordered);
  CHECK(relative(logits(folder), logits(tmp / "ordered")) < 0.5);
}

TEST_CASE("layers that cannot be quantised are left and listed, also in the configuration") {
  const Folder tmp;
  const std::string folder = make_model(tmp, "llama");
  QuantizeOptions o = options_of(compress::Method::Awq);
  o.block.group = 64;  // does not divide 96
  o.modules_to_not_convert = {"layers.0.self_attn.k_proj"};
  const QuantizeReport report = quantize(folder, tmp / "out", some_text(60), {}, o);
  std::string left;
  for (const compress::LayerReport& l : report.layers)
    if (!l.quantized) left += l.name + ": " + l.note + "\n";
  CHECK(left.find("model.layers.1.mlp.down_proj: its 96 columns") != std::string::npos);
  CHECK(left.find("model.layers.0.self_attn.k_proj: left on request") != std::string::npos);
  CHECK(left.find("layers.1.self_attn.k_proj") == std::string::npos);
  const std::string config = io::read_file(tmp / "out/config.json");
  CHECK(config.find("model.layers.1.mlp.down_proj") != std::string::npos);
  CHECK(relative(logits(folder), logits(tmp / "out")) < 0.5);

  const std::string gpt2 = make_model(tmp, "gpt2");
  CHECK_THROWS_WITH_AS(quantize(gpt2, tmp / "y", some_text(60), {}, options_of(compress::Method::Awq)),
                       doctest::Contains("no layer can be quantised"), Error);
}

TEST_CASE("bad input: text, options, folders, a stop") {
  const Folder tmp;
  const std::string folder = make_model(tmp, "llama");
  const auto run = [&](const std::vector<std::string>& texts, const QuantizeOptions& o) {
    return quantize(folder, tmp / "out", texts, {}, o);
  };
  QuantizeOptions o = options_of(compress::Method::Awq);
  CHECK_THROWS_WITH_AS(run({"the bank"}, o), doctest::Contains("at least 32 tokens, got 2"), Error);
  CHECK_THROWS_WITH_AS(run({}, o), doctest::Contains("expected text, got none"), Error);
  CHECK_THROWS_WITH_AS(quantize(folder, folder, some_text(9), {}, o), doctest::Contains("beside"), Error);
  o.block.group = 20;
  CHECK_THROWS_WITH_AS(run(some_text(9), o), doctest::Contains("multiple of 32, got 20"), Error);
  o = options_of(compress::Method::Awq);
  o.block.desc_act = true;
  CHECK_THROWS_WITH_AS(run(some_text(9), o), doctest::Contains("desc_act"), Error);
  o = options_of(compress::Method::Gptq);
  o.block.desc_act = true, o.format = "compressed-tensors";
  CHECK_THROWS_WITH_AS(run(some_text(9), o), doctest::Contains("desc_act: the format gptq keeps columns in another order; compressed-tensors"), Error);
  o = options_of(compress::Method::Awq);
  o.progress = [](const QuantizeProgress&) { return false; };
  CHECK_THROWS_WITH_AS(run(some_text(60), o), doctest::Contains("nothing was written"), Error);
  CHECK_FALSE(io::is_file(tmp / "out/model.safetensors"));
  o = options_of(compress::Method::Awq);
  const QuantizeReport report = run(some_text(4), o);  // 48 tokens: one window, which serves twice
  CHECK(report.notes.size() == 2);
  CHECK_THROWS_WITH_AS(quantize(std::string(TENON_TEST_DIR) + "/golden/bert", tmp / "z", some_text(60), {}, o),
                       doctest::Contains("expected a decoder"), Error);
}

TEST_CASE("windows lie evenly over the texts") {
  const Folder tmp;
  const auto tokenizer = text::Tokenizer::from_folder(make_model(tmp, "llama"));
  const tasks::TokenWindows w = tasks::token_windows(tokenizer, some_text(100), 100, 5);
  CHECK(w.size() == 5);
  CHECK(w.length == 100);
  CHECK(w.part(1, 3).size() == 200);
  const tasks::TokenWindows all = tasks::token_windows(tokenizer, some_text(100), 1200, 5);
  CHECK(all.size() == 1);
  for (int i = 0; i < 5; ++i) CHECK(std::equal(w.part(i, i + 1).begin(), w.part(i, i + 1).end(), all.ids.begin() + i * 1100 / 4));
  CHECK(tasks::token_windows(tokenizer, some_text(3), 512, 128).length == 36);
}

}  // namespace tenon
