// Feature extraction: equal to Transformers' pipeline, without padded rows.
#include "expect.h"
#include "tenon/tasks/feature_extraction.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("feature extraction gives the hidden state of each text's own tokens") {
  const FeatureExtraction extract(golden("bert"));
  const std::vector<std::string> texts = strings(expected().at("texts"));
  check_values(extract(texts[0]), expected().at("feature-extraction"));
  const std::vector<Tensor> all = extract(texts);
  REQUIRE(all.size() == texts.size());
  check_values(all[0], expected().at("feature-extraction"));
  CHECK(all[3].shape() == Shape{2, 32});  // an empty text has its two special tokens
  CHECK(extract(texts[4], {.truncation = true, .max_length = 7}).shape() == Shape{7, 32});
}
