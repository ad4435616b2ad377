// Real tokenizers against the answers that the reference library gave for 683 texts, skipped where the files are absent; and a small one that
// is always there.
#include <fstream>

#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

Ids ids_of(const Json& row, const char* key) {
  Ids out;
  for (const Json& id : row.at(key).as_array()) out.push_back(static_cast<int32_t>(id.as_int()));
  return out;
}

Offsets offsets_of(const Json& row) {
  Offsets out;
  for (const Json& pair : row.at("offsets").as_array())
    out.emplace_back(static_cast<uint32_t>(pair.as_array()[0].as_int()), static_cast<uint32_t>(pair.as_array()[1].as_int()));
  return out;
}

// Checks every line of a file of answers; those that it does not record are not asked for.
void check_cases(const Tokenizer& tokenizer, const std::filesystem::path& cases, size_t expected = 683) {
  EncodeOptions plain;
  plain.add_special_tokens = false;
  DecodeOptions skip;
  skip.skip_special_tokens = true;
  skip.clean_up = false;  // the answers were made without the configuration
  std::ifstream file(cases);
  size_t count = 0;
  for (std::string line; std::getline(file, line); ++count) {
    const Json row = Json::parse(line);
    const std::string& text = row.at("text").as_string();
    CAPTURE(text);
    const Encoding alone = tokenizer.encode(text, plain);
    CHECK(alone.ids == ids_of(row, "ids"));
    if (row.has("offsets")) CHECK(alone.offsets == offsets_of(row));
    EncodeOptions only = plain;
    only.ids_only = true;
    CHECK(tokenizer.encode(text, only).ids == alone.ids);
    const Ids special = tokenizer.encode(text).ids;
    if (row.has("ids_special")) CHECK(special == ids_of(row, "ids_special"));
    if (row.has("decoded")) CHECK(tokenizer.decode(special, skip) == row.at("decoded").as_string());
  }
  CHECK(count == expected);
}

bool is_present(const std::filesystem::path& path) {
  if (std::filesystem::exists(path)) return true;
  MESSAGE("skipped: no " << path.string());
  return false;
}

}  // namespace

TEST_CASE("recorded answers: the first merges of Qwen2") {
  const std::filesystem::path folder = std::filesystem::path(TENON_TEST_DIR) / "golden" / "qwen2-tokenizer";
  check_cases(Tokenizer::from_folder(folder.string()), folder / "cases.jsonl", 50);
}

TEST_CASE("recorded answers: folders") {
  for (const char* name :
       {"bert-base-uncased", "bert-base-cased", "bert-base-chinese", "all-MiniLM-L6-v2", "roberta-base", "gpt2", "t5-small"}) {
    CAPTURE(name);
    const auto folder = shared_dir() / "tokenizers" / name;
    if (is_present(folder)) check_cases(Tokenizer::from_folder(folder.string()), folder / "cases.jsonl");
  }
}

TEST_CASE("recorded answers: tokenizer.json alone") {
  for (const char* name : {"all-MiniLM-L6-v2", "clip-vit-base-patch32", "deepseek-coder", "deepseek-v3", "llama-2-7b", "t5-small"}) {
    CAPTURE(name);
    const auto folder = shared_dir() / "tokenizers" / name;
    if (is_present(folder)) check_cases(Tokenizer::from_file((folder / "tokenizer.json").string()), folder / "cases.jsonl");
  }
}

TEST_CASE("recorded answers: qwen2 from vocab.json and merges.txt") {
  // the answers were made without the chat tokens that its tokenizer_config.json adds
  const auto folder = shared_dir() / "tokenizers" / "qwen2";
  if (!is_present(folder)) return;
  const TempFolder temp("qwen2");
  for (const char* file : {"vocab.json", "merges.txt"})
    std::filesystem::copy_file(folder / file, std::filesystem::path(temp.path()) / file);
  temp.write("tokenizer_config.json", R"({"tokenizer_class": "Qwen2Tokenizer"})");
  check_cases(Tokenizer::from_folder(temp.path()), folder / "cases.jsonl");
}

TEST_CASE("recorded answers: SentencePiece models and tiktoken's rank files") {
  for (const char* name :
       {"llama-2-7b/tokenizer.model", "mistral-7b-v0.1/tokenizer.model", "t5-small/spiece.model", "sentencepiece-tests/test_model.model",
        "sentencepiece-tests/test_ja_model.model", "tiktoken/cl100k_base.tiktoken", "tiktoken/o200k_base.tiktoken"}) {
    CAPTURE(name);
    const std::filesystem::path file = shared_dir() / "tokenizers" / name;
    if (!is_present(file)) continue;
    const char* suffix = file.extension() == ".model" ? ".spm.cases.jsonl" : ".cases.jsonl";
    check_cases(Tokenizer::from_file(file.string()), file.parent_path() / (file.stem().string() + suffix));
  }
}

TEST_CASE("recorded answers: t5-small from its SentencePiece model") {
  const auto folder = shared_dir() / "tokenizers" / "t5-small";
  if (!is_present(folder)) return;
  const TempFolder temp("t5");
  for (const char* file : {"spiece.model", "tokenizer_config.json"})
    std::filesystem::copy_file(folder / file, std::filesystem::path(temp.path()) / file);
  check_cases(Tokenizer::from_folder(temp.path()), folder / "cases.jsonl");
}

TEST_CASE("real folders: a rank file under another name") {
  const auto folder = shared_dir() / "tokenizers" / "llama-3";
  if (!is_present(folder)) return;
  const Tokenizer tokenizer = Tokenizer::from_folder(folder.string());
  CHECK(tokenizer.vocab_size() == 128256);
  CHECK(tokenizer.encode("Hello <|eot_id|> world").ids == Ids{9906, 220, 128009, 1917});
  CHECK(tokenizer.role_id(Role::Bos) == 128000);
  const Tokenizer alone = Tokenizer::from_file((folder / "tokenizer.model").string());
  CHECK(alone.encode("Hello world").ids == Ids{9906, 1917});
  CHECK(alone.encode("<|eot_id|>").size() > 1);
}

TEST_CASE("real folders: what the configuration says") {
  const auto root = shared_dir() / "tokenizers";
  if (!is_present(root / "all-MiniLM-L6-v2")) return;
  const Tokenizer mini = Tokenizer::from_folder((root / "all-MiniLM-L6-v2").string());
  CHECK(mini.config().model_max_length == 512);
  CHECK(mini.role_id(Role::Cls) == 101);
  CHECK(mini.role_id(Role::Pad) == 0);
  CHECK(mini.role(Role::Bos).empty());
  CHECK(mini.vocab_size() == 30522);
  CHECK(mini.num_special_tokens_to_add(true) == 3);
  const Tokenizer roberta = Tokenizer::from_folder((root / "roberta-base").string());
  CHECK(roberta.role_id(Role::Mask) == 50264);
  CHECK(roberta.config().model_input_names == std::vector<std::string>{"input_ids", "attention_mask"});
  const Tokenizer clip = Tokenizer::from_folder((root / "clip-vit-base-patch32").string());
  DecodeOptions skip;
  skip.skip_special_tokens = true;
  CHECK(clip.decode(clip.encode("A photo of a cat!").ids, skip) == "a photo of a cat !");
}

TEST_CASE("real folders: saved and read again") {
  const auto root = shared_dir() / "tokenizers";
  for (const char* name : {"bert-base-cased", "roberta-base", "clip-vit-base-patch32", "t5-small"}) {
    if (!is_present(root / name)) continue;
    const Tokenizer before = Tokenizer::from_folder((root / name).string());
    const TempFolder temp(std::string("saved_") + name);
    before.save(temp.path());
    const Tokenizer after = Tokenizer::from_folder(temp.path());
    for (const char* text : {"Hello, World! It's 1234 caf\xC3\xA9s.", "<mask> [MASK] \xE4\xBD\xA0\xE5\xA5\xBD", ""}) {
      const Encoding a = before.encode(text, "pair of it"), b = after.encode(text, "pair of it");
      CHECK(a.ids == b.ids);
      CHECK(a.offsets == b.offsets);
      CHECK(before.decode(a.ids) == after.decode(b.ids));
    }
    CHECK(before.config().roles == after.config().roles);
    CHECK(before.to_json() == after.to_json());
  }
}
