// The image tasks: equal to Transformers' pipelines; files, pixels and batches; errors.
#include "expect.h"

using namespace tenon;
using namespace tenon::test;

namespace {
const std::vector<std::string> kPaths = {example_data("cat.png"), example_data("rocket.jpg")};
}

TEST_CASE("image classification answers what Transformers answers") {
  const ImageClassification classify(golden("vit"));
  const Json& want = expected().at("image-classification");
  const auto all = classify(kPaths);
  const auto pixels = classify(std::span<const vision::Image>(tasks::load_images(kPaths)), {.top_k = 0});
  for (size_t i = 0; i < 2; ++i) {
    check_labels(all[i], want.as_array()[i]);
    check_labels(pixels[i], want.as_array()[i]);
  }
  CHECK(classify(kPaths[0], {.top_k = 2}).size() == 2);
}

TEST_CASE("image features are those of Transformers") {
  const ImageFeatureExtraction extract(golden("vit-pooler"));
  check_values(extract(kPaths[0]), expected().at("image-feature-extraction"));
  check_values(extract(kPaths[0], {.pool = true}), expected().at("image-feature-extraction-pool"));
  CHECK(extract(kPaths).size() == 2);
  const ImageFeatureExtraction unpooled(golden("vit"));  // a classifier's checkpoint has no pooler
  CHECK(unpooled(kPaths[0]).shape() == Shape{17, 32});
  CHECK(error_of([&] { unpooled(kPaths[0], {.pool = true}); }, "pooler") == ErrorCode::Type);
  CHECK(ImageFeatureExtraction(golden("clip"))(kPaths[0]).shape() == Shape{17, 32});
}

TEST_CASE("zero-shot image classification answers what Transformers answers") {
  const ZeroShotImageClassification classify(golden("clip"));
  const std::vector<std::string> labels = strings(expected().at("labels"));
  const Json& want = expected().at("zero-shot-image-classification");
  const auto all = classify(std::span<const vision::Image>(tasks::load_images(kPaths)), labels);
  for (size_t i = 0; i < 2; ++i) {
    check_labels(all[i], want.as_array()[i]);
    check_labels(classify(kPaths[i], labels), want.as_array()[i]);
  }
  CHECK(error_of([&] { classify(kPaths[0], {}); }, "label") == ErrorCode::Limit);
  CHECK(error_of([&] { classify(kPaths[0], labels, {.hypothesis_template = "none"}); }, "{}") == ErrorCode::Limit);
}

TEST_CASE("image files are turned upright, pixels are taken as they are") {
  const std::string turned = std::string(TENON_TEST_DIR) + "/fuzz/corpus/image/turned.jpg";
  const vision::Image as_stored = vision::load_image(turned), upright = tasks::load_image(turned);
  CHECK(as_stored.pixels != upright.pixels);
  const ImageFeatureExtraction extract(golden("vit-pooler"));
  const Tensor a = extract(turned), b = extract(upright);
  CHECK(std::equal(a.values<float>().begin(), a.values<float>().end(), b.values<float>().begin()));
}

TEST_CASE("image tasks: files that are no images are named") {
  const ImageClassification classify(golden("vit"));
  CHECK(error_of([&] { classify("no/such.jpg"); }, "no/such.jpg") == ErrorCode::File);
  CHECK(error_of([&] { classify(golden("pipelines.json")); }, "pipelines.json") == ErrorCode::Format);
  CHECK(error_of([&] { ImageClassification(golden("bert")); }, "bert") == ErrorCode::Format);
  CHECK(classify(kPaths[0]).size() == 5);
}
