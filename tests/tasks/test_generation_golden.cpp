// generate() with real architectures: every recorded generation id for id, and the published text of a trained model.
#include <cstdlib>

#include "formula_session.h"
#include "tenon/io/safetensors.h"
#include "tenon/models/registry.h"
#include "tenon/text/tokenizer.h"

using namespace tenon;
using namespace tenon::test;
namespace gen = tenon::generation;

namespace {

std::string shared(const std::string& name) {
  const char* set = std::getenv("TENON_SHARED");
  return io::join_path(set ? set : TENON_SHARED_DIR, name);
}

/// Folders of cases with recorded generations of a model that can generate; those beside the tests go first.
std::vector<std::string> cases() {
  std::vector<std::string> folders;
  for (const std::string& root : {golden(""), shared("golden/cases")}) {
    if (!io::is_folder(root)) continue;
    for (const std::string& name : io::list_folder(root)) {
      const std::string meta = io::join_path(io::join_path(root, name), "meta.json");
      if (io::is_file(meta) && Json::parse_file(meta).has("generate")) folders.push_back(io::join_path(root, name));
    }
  }
  return folders;
}

bool known(const std::string& folder) {
  const std::string type = io::read_config(folder).value("model_type", "");
  for (const models::Entry& e : models::registry())
    if (type == e.model_type) return true;
  return false;
}

}  // namespace

TEST_CASE("every recorded generation, id for id") {
  const std::vector<std::string> folders = cases();
  if (folders.empty()) MESSAGE("skipped: no case has recorded generations");
  Context ctx;
  for (const std::string& folder : folders) {
    CAPTURE(folder);
    if (!known(folder)) continue;
    const std::unique_ptr<models::Model> model = models::load(ctx, folder);
    const io::SafeTensors given = io::SafeTensors::open(io::join_path(folder, "inputs.safetensors"));
    models::Inputs inputs;
    inputs.input_ids = given.tensor("input_ids"), inputs.attention_mask = given.tensor("attention_mask");
    const Json meta = Json::parse_file(io::join_path(folder, "meta.json"));
    for (const Json& g : meta.at("generate").as_array()) {
      const std::string arguments = g.at("arguments").dump();
      CAPTURE(arguments);
      const GenerationConfig config = GenerationConfig::from_pretrained(folder).update(g.at("arguments"));
      CHECK(rows_of(generate(ctx, *model, inputs, config).sequences) == rows_of(g.at("sequences")));
    }
  }
}

TEST_CASE("stories260K tells the story that its author published") {
  const std::string folder = shared("weights/stories260K");
  if (!io::is_folder(folder)) {
    MESSAGE("skipped: ", folder, " is not there");
    return;
  }
  Context ctx;
  const std::unique_ptr<models::Model> model = models::load(ctx, folder);
  const text::Tokenizer tokenizer = text::Tokenizer::from_folder(folder);
  const Json published = Json::parse_file(io::join_path(folder, "golden.json"));
  const gen::Ids want = ids_of(published.at("ids_from_bos"));
  GenerationConfig config = GenerationConfig::from_pretrained(folder);
  config.max_length = static_cast<int64_t>(want.size());
  for (const bool lookup : {false, true}) {
    if (lookup) config.prompt_lookup_num_tokens = 6;
    const gen::Ids ids = rows_of(generate(ctx, *model, {}, config).sequences)[0];
    CHECK(ids == want);
    const std::vector<int32_t> narrow(ids.begin(), ids.end());
    CHECK(tokenizer.decode(narrow, {.skip_special_tokens = true}) == published.at("expected_text").as_string());
  }
}
