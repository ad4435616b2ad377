// Loading and saving: round trips, prefixes, fresh heads, and checkpoints that do not fit.
#include <unistd.h>

#include <algorithm>

#include "golden.h"
#include "tenon/io/checkpoint.h"

using namespace tenon;
using namespace tenon::test;
namespace fs = std::filesystem;

namespace {

struct TemporaryFolder {
  std::string path = (fs::temp_directory_path() / ("tenon_test_load_" + std::to_string(getpid()))).string();
  TemporaryFolder() { fs::create_directories(path); }
  ~TemporaryFolder() { fs::remove_all(path); }
};

std::string error_of(const std::string& folder, const models::LoadOptions& options = {}) {
  Context ctx;
  try {
    models::load(ctx, folder, options);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

Json tiny(const char* type) {
  Json c;
  c.set("model_type", type), c.set("hidden_size", 16), c.set("num_hidden_layers", 1), c.set("num_attention_heads", 2);
  c.set("intermediate_size", 32), c.set("vocab_size", 50), c.set("max_position_embeddings", 12);
  c.set("image_size", 16), c.set("patch_size", 8);
  // decoders and their mixtures
  for (const char* key : {"num_key_value_heads", "num_experts_per_tok", "n_group", "topk_group"}) c.set(key, 2);
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts", "qk_rope_head_dim"}) c.set(key, 4);
  for (const char* key : {"moe_intermediate_size", "shared_expert_intermediate_size", "kv_lora_rank", "qk_nope_head_dim", "v_head_dim"}) c.set(key, 8);
  c.set("first_k_dense_replace", 0);
  // encoder-decoders
  c.set("d_model", 16), c.set("d_ff", 32), c.set("d_kv", 8), c.set("num_layers", 1), c.set("num_heads", 2), c.set("pad_token_id", 0);
  for (const std::string stack : {"encoder", "decoder"})
    c.set(stack + "_layers", 1), c.set(stack + "_ffn_dim", 32), c.set(stack + "_attention_heads", 2);
  return c;
}

}  // namespace

TEST_CASE("from_config, save, load: every class comes back equal") {
  Context ctx;
  for (const models::Entry& e : models::registry()) {
    CAPTURE(e.class_name);
    TemporaryFolder t;
    Json config = tiny(e.model_type);
    if (std::string(e.model_type) == "clip") {
      config.set("text_config", tiny("clip_text_model"));
      config.set("vision_config", tiny("clip_vision_model"));
    }
    const auto model = models::from_config(ctx, config, {.class_name = e.class_name, .pack = false, .seed = 3});
    CHECK(model->class_name() == e.class_name);
    models::save(*model, t.path);
    models::LoadReport report;
    const auto again = models::load(ctx, t.path, {}, &report);
    CHECK(again->class_name() == e.class_name);
    CHECK(report.missing.empty());
    CHECK(report.unexpected.empty());
    const auto a = model->parameters(), b = again->parameters();
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      CHECK(a[i].first == b[i].first);
      CHECK(relative_error(b[i].second, a[i].second) == 0);
    }
  }
}

TEST_CASE("a base model opens a checkpoint with a head, and a head starts on a base checkpoint") {
  const std::string folder = golden_folder("bert");
  if (folder.empty()) return;
  Context ctx;
  models::LoadReport report;
  const auto base = models::load(ctx, folder, {.class_name = "AutoModel"}, &report);
  CHECK(base->class_name() == "BertModel");
  CHECK(report.unexpected == std::vector<std::string>{"classifier.bias", "classifier.weight"});
  TemporaryFolder t;
  models::save(*base, t.path);
  CHECK(contains(error_of(t.path, {.class_name = "AutoModelForSequenceClassification"}), "classifier.weight"));
  const auto head = models::load(ctx, t.path, {.class_name = "AutoModelForSequenceClassification", .allow_missing = true}, &report);
  CHECK(report.missing == std::vector<std::string>{"classifier.weight", "classifier.bias"});
  Json three;
  three.set("num_labels", 5);
  const auto five = models::load(
      ctx, folder, {.class_name = "AutoModelForSequenceClassification", .config_overrides = three, .ignore_mismatched_sizes = true}, &report);
  CHECK(report.mismatched == std::vector<std::string>{"classifier.weight", "classifier.bias"});
}

TEST_CASE("experts of all in one tensor open as those of one each, and the block for a second token is passed over") {
  const std::string source = golden_folder("mixtral-16");
  if (source.empty()) return;
  Context ctx;
  const auto model = models::load(ctx, source);
  std::vector<io::NamedTensor> merged;
  std::map<std::string, std::vector<Tensor>> parts;
  const auto renamed = [](std::string name) { return name.replace(name.find("block_sparse_moe"), 16, "mlp"); };
  for (const auto& [name, t] : model->parameters()) {
    const size_t at = name.find(".experts.");
    if (at != std::string::npos) parts[renamed(name.substr(0, at + 9)) + (name.find(".w2.") != std::string::npos ? "down_proj" : "gate_up_proj")].push_back(t);
    else merged.emplace_back(name.find("block_sparse_moe") == std::string::npos ? name : renamed(name), t);
  }
  for (const auto& [name, list] : parts) {  // in the order gate, up (or down) of each expert
    Tensor all = Tensor::empty({16, list[0].size(0) * (name.find("down") == std::string::npos ? 2 : 1), list[0].size(1)}, DType::F32);
    char* to = static_cast<char*>(all.raw());
    for (const Tensor& t : list) to = std::copy_n(static_cast<const char*>(t.raw()), t.nbytes(), to);
    merged.emplace_back(name, all);
  }
  merged.emplace_back("model.layers.2.eh_proj.weight", Tensor::zeros({2, 2}, DType::F32));
  const TemporaryFolder folder;
  Json config = model->config();
  config.set("num_nextn_predict_layers", Json(1));
  io::save_checkpoint(folder.path, config, merged, uint64_t{1} << 30);
  models::LoadReport report;
  const auto again = models::load(ctx, folder.path, {}, &report);
  CHECK(report.unexpected.empty());
  models::Inputs in;
  in.input_ids = Tensor::from(std::vector<int64_t>{5, 9, 23, 7}, {1, 4});
  CHECK(relative_error(again->forward(ctx, in).logits, model->forward(ctx, in).logits) == 0);
}

TEST_CASE("what does not fit is named") {
  const std::string folder = golden_folder("bert");
  if (folder.empty()) return;
  Context ctx;
  CHECK(contains(error_of("/nowhere/at/all"), "/nowhere/at/all"));
  CHECK(contains(error_of(folder, {.class_name = "AutoModelForImageClassification"}), "BertForSequenceClassification"));
  Json wrong;
  wrong.set("num_labels", 4);
  const std::string shape = error_of(folder, {.config_overrides = wrong});
  CHECK(contains(shape, "classifier.weight"));
  CHECK(contains(shape, "(4, 32)"));
  CHECK(contains(shape, "(3, 32)"));
  for (const auto& [key, value, part] : std::vector<std::tuple<const char*, Json, const char*>>{
           {"model_type", Json("mamba9"), "mamba9"},
           {"hidden_size", Json(-4), "hidden_size"},
           {"hidden_size", Json("wide"), "hidden_size"},
           {"num_attention_heads", Json(5), "multiple"},
           {"hidden_act", Json("wiggle"), "wiggle"},
           {"num_hidden_layers", Json(1000000), "num_hidden_layers"},
           {"vocab_size", Json(1e300), "vocab_size"}}) {
    Json overrides;
    overrides.set(key, value);
    const std::string message = error_of(folder, {.config_overrides = overrides});
    CAPTURE(key);
    CAPTURE(message);
    CHECK(contains(message, part));
  }
}

TEST_CASE("hostile sizes of images are refused before anything is multiplied") {
  Context ctx;
  for (const char* key : {"image_size", "patch_size", "num_channels"}) {
    Json config = tiny("vit");
    config.set(key, int64_t{2147483647});
    std::string message;
    try {
      models::from_config(ctx, config);
    } catch (const Error& e) {
      message = e.what();
    }
    CHECK(contains(message, key));
  }
}

TEST_CASE("packed and plain weights answer alike; unpack undoes pack") {
  const std::string folder = golden_folder("bert");
  if (folder.empty()) return;
  Context ctx;
  models::Inputs in;
  in.input_ids = Tensor::from(std::vector<int64_t>{5, 6, 7}, {1, 3});
  const auto model = models::load(ctx, folder, {.precision = models::Precision::Int8});
  const Tensor coarse = model->forward(ctx, in).logits;
  model->unpack();
  const Tensor fine = model->forward(ctx, in).logits;
  CHECK(relative_error(coarse, fine) < 0.05);
  CHECK(relative_error(coarse, fine) > 0);
  model->pack(ctx, models::Precision::Float32);
  CHECK(relative_error(model->forward(ctx, in).logits, fine) < 1e-5);
}
