// Checkpoint folders: one file, shards, what is missing or leads out of the folder; saving over an earlier save.
#include <doctest/doctest.h>

#include <cstring>

#include "io/temp_folder.h"
#include "tenon/io/checkpoint.h"

using namespace tenon;
using namespace tenon::io;

namespace {

Tensor filled(const Shape& shape, float value) {
  Tensor t = Tensor::empty(shape, DType::F32);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = value + static_cast<float>(i);
  return t;
}

const Json kConfig(Json::Object{{"model_type", Json("bert")}, {"hidden_size", Json(8)}});

std::vector<NamedTensor> three() { return {{"b", filled({4}, 1)}, {"a", filled({2, 2}, 10)}, {"c", filled({8}, 100)}}; }

bool holds_three(const Checkpoint& c) {
  if (c.size() != 3) return false;
  for (const auto& [name, tensor] : three()) {
    const Tensor t = c.get(name);
    if (t.shape() != tensor.shape() || std::memcmp(t.raw(), tensor.raw(), t.nbytes()) != 0) return false;
  }
  return true;
}

std::string open_error(const std::string& path) {
  return error_of([&] { Checkpoint::open(path); });
}

}  // namespace

TEST_CASE("checkpoint: save and open, one file") {
  const TempFolder folder;
  save_checkpoint(folder / "deep/er", kConfig, three());
  CHECK(list_folder(folder / "deep/er") == std::vector<std::string>{"config.json", "model.safetensors"});
  const auto c = Checkpoint::open(folder / "deep/er");
  CHECK(c.folder() == folder / "deep/er");
  CHECK(c.config().at("model_type").as_string() == "bert");
  CHECK(c.metadata() == Metadata{{"format", "pt"}});
  CHECK(holds_three(c));
  CHECK(c.info("a").shape == Shape{2, 2});
  CHECK_FALSE(c.has("d"));
  CHECK_FALSE(c.find("d").defined());
  CHECK(c.find("b").defined());
  CHECK(contains(error_of([&] { c.get("d"); }), "there is no tensor \"d\" among its 3 tensors"));
  CHECK(read_config(c.folder()).at("hidden_size").as_int() == 8);
}

TEST_CASE("checkpoint: save and open, shards") {
  const TempFolder folder;
  save_checkpoint(folder.path(), kConfig, three(), 32);
  CHECK(list_folder(folder.path()) == std::vector<std::string>{"config.json", "model-00001-of-00002.safetensors",
                                                               "model-00002-of-00002.safetensors", "model.safetensors.index.json"});
  const Json index = Json::parse_file(folder / "model.safetensors.index.json");
  CHECK(index.at("metadata").at("total_size").as_int() == 64);
  CHECK(index.at("weight_map").at("a").as_string() == "model-00001-of-00002.safetensors");
  CHECK(index.at("weight_map").at("c").as_string() == "model-00002-of-00002.safetensors");
  CHECK(holds_three(Checkpoint::open(folder.path())));
  save_checkpoint(folder.path(), kConfig, three(), 1);  // smaller than any tensor: one each
  CHECK(list_folder(folder.path()).size() == 5);
  CHECK(holds_three(Checkpoint::open(folder.path())));
}

TEST_CASE("checkpoint: saving again replaces the other form and keeps foreign files") {
  const TempFolder folder;
  for (const char* name : {"tokenizer.json", "adapter_model.safetensors", "model-1-of-2.safetensors"}) folder.put(name, "kept");
  save_checkpoint(folder.path(), kConfig, three(), 1);
  save_checkpoint(folder.path(), kConfig, std::vector<NamedTensor>{{"x", filled({1}, 5)}});
  CHECK(list_folder(folder.path()) == std::vector<std::string>{"adapter_model.safetensors", "config.json", "model-1-of-2.safetensors",
                                                               "model.safetensors", "tokenizer.json"});
  CHECK(Checkpoint::open(folder.path()).names() == std::vector<std::string>{"x"});
  save_checkpoint(folder.path(), kConfig, three(), 32);
  CHECK_FALSE(is_file(folder / "model.safetensors"));
  CHECK(holds_three(Checkpoint::open(folder.path())));
}

TEST_CASE("checkpoint: saved from its own mapped tensors") {
  const TempFolder folder;
  save_checkpoint(folder.path(), kConfig, three());
  const auto c = Checkpoint::open(folder.path());
  std::vector<NamedTensor> tensors;
  for (const std::string& name : c.names()) tensors.emplace_back(name, c.get(name));
  save_checkpoint(folder.path(), c.config(), tensors, 16);
  CHECK(holds_three(Checkpoint::open(folder.path())));
  CHECK(holds_three(c));
}

TEST_CASE("checkpoint: a failed save leaves the earlier one") {
  const TempFolder folder;
  save_checkpoint(folder.path(), kConfig, three());
  auto bad = three();
  bad.emplace_back("late", Tensor());
  CHECK(contains(error_of([&] { save_checkpoint(folder.path(), kConfig, bad, 1); }), "tensor \"late\""));
  bad.back() = {"a", filled({1}, 0)};
  CHECK(contains(error_of([&] { save_checkpoint(folder.path(), kConfig, bad, 1); }), "tensor \"a\" is given twice"));
  CHECK(contains(error_of([&] { save_checkpoint(folder.path(), kConfig, three(), 0); }), "Limit: "));
  CHECK(list_folder(folder.path()) == std::vector<std::string>{"config.json", "model.safetensors"});
  CHECK(holds_three(Checkpoint::open(folder.path())));
}

TEST_CASE("checkpoint: a file instead of a folder") {
  const TempFolder folder;
  write_safetensors(folder / "adapter.safetensors", three());
  auto c = Checkpoint::open(folder / "adapter.safetensors");
  CHECK(holds_three(c));
  CHECK(c.config().is_null());
  CHECK(c.folder() == folder.path());
  folder.put("config.json", kConfig.dump());
  CHECK(Checkpoint::open(folder / "adapter.safetensors").config().has("model_type"));
  folder.put("weights.gguf", "GGUF");
  CHECK(contains(open_error(folder / "weights.gguf"), "File: [" + (folder / "weights.gguf") + "] expected a checkpoint folder"));
}

TEST_CASE("checkpoint: missing things are named") {
  const TempFolder folder;
  CHECK(open_error("/no/such/folder/anywhere") == "File: [/no/such/folder/anywhere] no such folder or file");
  CHECK(contains(open_error("no-org-here/bert-base"), "It looks like a hub name: the Python package resolves those"));
  CHECK(contains(open_error("bert-base-no-such"), "hub name"));
  CHECK(contains(open_error(""), "File: "));
  CHECK(contains(open_error(folder.path()), "expected config.json, found an empty folder"));
  folder.put("tokenizer.json", "{}");
  CHECK(contains(open_error(folder.path()), "expected config.json, found tokenizer.json"));
  CHECK(contains(error_of([&] { read_config(folder.path()); }), "expected config.json, found tokenizer.json"));
  CHECK(contains(error_of([&] { read_config(folder / "tokenizer.json"); }), "expected a checkpoint folder, got a file"));
  folder.put("config.json", "{}");
  CHECK(contains(open_error(folder.path()), "no weights: expected model.safetensors"));
  for (int i = 0; i < 20; ++i) folder.put("file" + std::to_string(i), "");
  CHECK(contains(open_error(folder.path()), "and 10 more"));
}

TEST_CASE("checkpoint: a damaged config") {
  const TempFolder folder;
  save_checkpoint(folder.path(), kConfig, three());
  folder.put("config.json", "{\"a\": ");
  CHECK(contains(open_error(folder.path()), "Format: [" + (folder / "config.json") + "] not valid JSON"));
  folder.put("config.json", "");
  CHECK(contains(open_error(folder.path()), "Format: "));
  folder.put("config.json", "[1, 2]");
  CHECK(contains(open_error(folder.path()), "Type: [" + (folder / "config.json") + "] expected a JSON object"));
  folder.put("config.json", std::string(100000, '['));
  CHECK(contains(open_error(folder.path()), "Format: "));
  folder.put("config.json", std::string((16 << 20) + 1, ' '));
  CHECK(contains(open_error(folder.path()), "Limit: [" + (folder / "config.json") + "] too long"));
}

TEST_CASE("checkpoint: damaged indexes") {
  const TempFolder folder;
  const auto with_index = [&](const std::string& text) {
    folder.put("model.safetensors.index.json", text);
    return open_error(folder.path());
  };
  const auto with_map = [&](const std::string& pairs) { return with_index("{\"weight_map\": {" + pairs + "}}"); };
  folder.put("config.json", "{}");
  write_safetensors(folder / "one.safetensors", std::vector<NamedTensor>{{"a", filled({1}, 1)}, {"extra", filled({1}, 3)}});
  write_safetensors(folder / "two.safetensors", std::vector<NamedTensor>{{"b", filled({1}, 2)}});
  CHECK(with_map(R"("a": "one.safetensors", "b": "two.safetensors")") == "no error");
  CHECK(Checkpoint::open(folder.path()).names() == std::vector<std::string>{"a", "extra", "b"});
  CHECK(contains(with_map(R"("a": "one.safetensors", "b": "one.safetensors")"), "tensor \"b\" is not in the shard \"one.safetensors\""));
  CHECK(contains(with_map(R"("a": "one.safetensors", "b": "three.safetensors")"),
                 "the shard \"three.safetensors\" is missing; it should hold 1 tensors, \"b\" among them"));
  for (const char* shard :
       {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..", ".", "", "a\\\\b", "C:x", "one.safetensors\\u0000"})
    CHECK(contains(with_map(std::string(R"("a": ")") + shard + '"'), "expected the name of a file in this folder, got "));
  CHECK(contains(with_map(R"("a": 1)"), "expected a file name for tensor \"a\""));
  CHECK(contains(with_map(""), "weight_map is empty"));
  CHECK(contains(with_index("{}"), "expected a weight_map"));
  CHECK(contains(with_index("{\"weight_map\": []}"), "expected a weight_map"));
  CHECK(contains(with_index("["), "Format: [" + (folder / "model.safetensors.index.json") + "] not valid JSON"));
  write_safetensors(folder / "two.safetensors", std::vector<NamedTensor>{{"b", filled({1}, 2)}, {"a", filled({1}, 2)}});
  CHECK(contains(with_map(R"("a": "one.safetensors", "b": "two.safetensors")"), "tensor \"a\" is there twice"));
  folder.put("two.safetensors", "cut");
  CHECK(contains(with_map(R"("b": "two.safetensors")"), "Format: [" + (folder / "two.safetensors") + "] no safetensors file"));
}

TEST_CASE("checkpoint: weights in PyTorch's format, whole or in shards, safetensors first") {
  const TempFolder folder;
  const std::string bytes = read_file(join_path(TENON_TEST_DIR, "fuzz/corpus/torch/state_dict.bin"));
  folder.put("config.json", kConfig.dump());
  folder.put("pytorch_model.bin", bytes);
  CHECK(Checkpoint::open(folder.path()).get("scalar").item() == 7);
  CHECK(Checkpoint::open(folder / "pytorch_model.bin").info("half").dtype == DType::F16);
  std::filesystem::rename(folder / "pytorch_model.bin", folder / "pytorch_model-00001-of-00001.bin");
  folder.put("pytorch_model.bin.index.json", R"({"weight_map": {"scalar": "pytorch_model-00001-of-00001.bin"}})");
  CHECK(Checkpoint::open(folder.path()).get("scalar").item() == 7);
  write_safetensors(folder / "model.safetensors", three());
  CHECK(holds_three(Checkpoint::open(folder.path())));
}

TEST_CASE("checkpoint: the reference checkpoints open and rewrite to the same bytes") {
  const std::string cases = join_path(TENON_SHARED_DIR, "golden/cases");
  if (!is_folder(cases)) {
    MESSAGE("skipped: no reference data in ", cases);
    return;
  }
  const TempFolder folder;
  size_t opened = 0;
  for (const std::string& name : list_folder(cases)) {
    const std::string source = join_path(cases, name);
    if (!is_file(join_path(source, "model.safetensors"))) continue;
    CAPTURE(name);
    const auto c = Checkpoint::open(source);
    CHECK(c.config().has("model_type"));
    std::vector<NamedTensor> tensors;
    for (const std::string& n : c.names()) tensors.emplace_back(n, c.get(n));
    write_safetensors(folder / "copy", tensors, c.metadata());
    CHECK(read_file(folder / "copy") == read_file(join_path(source, "model.safetensors")));
    ++opened;
  }
  CHECK(opened > 10);
}
