// Fill-mask: equal to Transformers' pipeline; targets, several masks, errors.
#include "expect.h"
#include "tenon/tasks/fill_mask.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("fill-mask answers what Transformers answers") {
  const FillMask fill(golden("bert-mlm"));
  const std::vector<std::string> texts = strings(expected().at("masked"));
  const auto both = fill(texts);
  REQUIRE(both[0].size() == 1);
  REQUIRE(both[1].size() == 2);
  const Json& want = expected().at("fill-mask");
  check_tokens(both[0][0], want.as_array()[0]);
  for (size_t m = 0; m < 2; ++m) check_tokens(both[1][m], want.as_array()[1].as_array()[m]);
  check_tokens(fill(texts[0], {.top_k = 2, .targets = {"capital", "city", "cat"}})[0], expected().at("fill-mask-targets"));
  CHECK(fill.mask() == "[MASK]");
}

TEST_CASE("fill-mask: what cannot be filled is named") {
  const FillMask fill(golden("bert-mlm"));
  CHECK(error_of([&] { fill("no gap"); }, "[MASK]") == ErrorCode::Limit);
  CHECK(error_of([&] { fill("a [MASK]", {.targets = {""}}); }, "targets") == ErrorCode::Limit);
  CHECK(fill("a [MASK]", {.top_k = 0})[0].size() == 160);
  Folder unmasked("unmasked");
  unmasked.copy(golden("bert-mlm"));
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) unmasked.write(file, io::read_file(golden("clip/") + file));
  CHECK(error_of([&] { FillMask(unmasked.path()); }, "mask") == ErrorCode::Format);
}
