// Image processors against Transformers' PIL-backed ones, and the images they cannot take.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "../io/temp_folder.h"
#include "samples.h"
#include "tenon/io/safetensors.h"
#include "tenon/vision/processor.h"

using namespace tenon;
using namespace tenon::vision;

namespace {

enum class Input { Image, Bytes, Fractions, Whole };

struct Case {
  const char* settings;
  int height, width, channels;
  Input input;
  Shape shape;
  uint64_t hash;  // of the float32 bytes
};

// Made with transformers 5.24 and Pillow 13: picture(height, width, channels) as PIL image, uint8 array, float32 array of x / 255,
// or float32 array of x; arrays are channels last.
// clang-format off
const Case kCases[] = {
    {R"({"image_processor_type": "ViTImageProcessor", "size": {"height": 12, "width": 10}})",
     17, 23, 3, Input::Image, {1, 3, 12, 10}, 0x8e7205dfc5245aaeu},
    {R"({"feature_extractor_type": "ViTFeatureExtractor", "size": 12, "resample": 3)"
     R"(, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.7, 0.6, 0.5]})",
     17, 23, 3, Input::Image, {1, 3, 12, 12}, 0xa40a4d4511ffd048u},
    {R"({"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 11})"
     R"(, "crop_size": {"height": 9, "width": 9}})",
     17, 23, 3, Input::Image, {1, 3, 9, 9}, 0x508b48dc9bfe3349u},
    {R"({"feature_extractor_type": "CLIPFeatureExtractor", "size": 11, "crop_size": 14})",
     31, 23, 3, Input::Image, {1, 3, 14, 14}, 0xdc82ebf3891ae3b1u},
    {R"({"image_processor_type": "CLIPImageProcessor", "do_resize": false, "crop_size": {"height": 20, "width": 15}})",
     17, 23, 1, Input::Image, {1, 3, 20, 15}, 0x2d1729e71a4078d7u},
    {R"({"image_processor_type": "CLIPImageProcessor", "size": 8, "crop_size": 8})",
     12, 10, 4, Input::Image, {1, 3, 8, 8}, 0xa16686fd52c7e504u},
    {R"({"image_processor_type": "CLIPImageProcessor", "size": 8, "crop_size": 8})",
     12, 10, 4, Input::Bytes, {1, 3, 8, 8}, 0xa16686fd52c7e504u},
    {R"({"image_processor_type": "DeiTImageProcessor", "size": 16, "crop_size": 11})",
     17, 23, 3, Input::Bytes, {1, 3, 11, 11}, 0x55ef14ff5fddf2ebu},
    {R"({"image_processor_type": "ViTImageProcessor", "size": 9, "do_rescale": false})",
     17, 23, 3, Input::Bytes, {1, 3, 9, 9}, 0xf754653ee3516a0bu},
    {R"({"image_processor_type": "ViTImageProcessor", "size": 9, "do_normalize": false})",
     17, 23, 3, Input::Fractions, {1, 3, 9, 9}, 0x45178068b5beb2a2u},
    {R"({"image_processor_type": "ViTImageProcessor", "size": 9})",
     17, 23, 3, Input::Fractions, {1, 3, 9, 9}, 0x4c25454d33a1c205u},
    {R"({"image_processor_type": "ViTImageProcessor", "size": 9})",
     17, 23, 3, Input::Whole, {1, 3, 9, 9}, 0x4a63c4e3a032894cu},
    {R"({"image_processor_type": "CLIPImageProcessor", "do_resize": false, "crop_size": 12})",
     17, 23, 3, Input::Fractions, {1, 3, 12, 12}, 0x90a689317560ca1du},
    {R"({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 20, "longest_edge": 23})"
     R"(, "do_center_crop": false})",
     17, 31, 3, Input::Image, {1, 3, 13, 23}, 0x5f534e9cbab2d3a8u},
};
// clang-format on

ImageProcessor processor(const char* settings) { return ImageProcessor(ImageProcessorConfig::from_json(Json::parse(settings))); }

Tensor array_of(const Image& image, Input input) {
  const Shape shape = {image.height, image.width, image.channels};
  if (input == Input::Bytes) return Tensor::from(image.pixels, shape);
  std::vector<float> values;
  for (uint8_t v : image.pixels) values.push_back(input == Input::Fractions ? static_cast<float>(v) / 255.0f : static_cast<float>(v));
  return Tensor::from(values, shape);
}

/// The same pixels, channels first.
Tensor channels_first(const Tensor& last) {
  const int64_t pixels = last.size(0) * last.size(1), channels = last.size(2);
  const size_t bytes = size_of(last.dtype());
  Tensor first = Tensor::empty({channels, last.size(0), last.size(1)}, last.dtype());
  const auto* from = static_cast<const char*>(last.raw());
  auto* to = static_cast<char*>(first.raw());
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < pixels; ++i, to += bytes) std::memcpy(to, from + static_cast<size_t>(i * channels + c) * bytes, bytes);
  return first;
}

uint64_t hash(const Tensor& t) { return samples::hash(t.raw(), t.nbytes()); }

}  // namespace

TEST_CASE("pixel_values equal Transformers' to the last bit") {
  for (const Case& c : kCases) {
    CAPTURE(c.settings);
    const ImageProcessor p = processor(c.settings);
    const Image image = samples::picture(c.height, c.width, c.channels);
    if (c.input == Input::Image) {
      const Tensor out = p(image);
      CHECK(out.shape() == c.shape);
      CHECK(hash(out) == c.hash);
      continue;
    }
    const Tensor array = array_of(image, c.input);
    CHECK(hash(p(array)) == c.hash);
    CHECK(hash(p(array, ChannelLayout::Last)) == c.hash);
    CHECK(hash(p(channels_first(array))) == c.hash);
    CHECK(hash(p(channels_first(array), ChannelLayout::First)) == c.hash);
  }
}

TEST_CASE("other number types give what their values give") {
  const ImageProcessor p = processor(R"({"image_processor_type": "ViTImageProcessor", "size": 9})");
  const Tensor bytes = array_of(samples::picture(17, 23, 3), Input::Bytes);
  const uint64_t expected = hash(p(bytes));
  for (DType t : {DType::F64, DType::F32, DType::I64, DType::I32, DType::I16}) CHECK(hash(p(bytes.to(t))) == expected);

  const ImageProcessor raw = processor(R"({"image_processor_type": "ViTImageProcessor", "do_resize": false, "do_normalize": false,
                                           "do_rescale": false})");
  const Tensor out = raw(Tensor::from(std::vector<int64_t>{-5, 0, 300, 70000}, {1, 4}));
  CHECK(out.shape() == Shape{1, 1, 1, 4});
  CHECK(std::vector<float>(out.values<float>().begin(), out.values<float>().end()) == std::vector<float>{-5, 0, 300, 70000});
}

TEST_CASE("batches: several images, one array of rank 4, any number of threads") {
  const ImageProcessor p = processor(R"({"image_processor_type": "ViTImageProcessor", "size": 9})");
  std::vector<Image> images;
  for (int i = 0; i < 5; ++i) images.push_back(samples::picture(10 + i, 30 - i, 3));
  const Tensor all = p(images, 3);
  CHECK(all.shape() == Shape{5, 3, 9, 9});
  for (int i = 0; i < 5; ++i) CHECK(hash(p(images[static_cast<size_t>(i)], 1)) == hash(all.rows(i, i + 1)));

  const Tensor one = array_of(samples::picture(6, 8, 3), Input::Bytes);
  Tensor two = Tensor::empty({2, 6, 8, 3}, DType::U8);
  for (int i = 0; i < 2; ++i) std::memcpy(two.data<uint8_t>() + i * one.numel(), one.data<uint8_t>(), one.nbytes());
  CHECK(hash(p(two).rows(1, 2)) == hash(p(one)));
}

TEST_CASE("bad images are errors") {
  const ImageProcessor vit, clip(ImageProcessorConfig::of_type("CLIPImageProcessor"));
  CHECK(error_of([&] { vit(std::span<const Image>{}); }).starts_with("Shape"));
  CHECK(contains(error_of([&] { vit(samples::picture(3, 3, 1)); }), "do_convert_rgb"));
  CHECK(error_of([&] { vit(Image{}); }).starts_with("Shape"));
  CHECK(error_of([&] { clip(Image{}); }).starts_with("Shape"));
  const auto array_error = [&](const Tensor& t) { return error_of([&] { vit(t); }); };
  CHECK(array_error(Tensor{}).starts_with("Shape"));
  CHECK(array_error(Tensor::zeros({5, 5, 7}, DType::U8)).starts_with("Shape"));
  CHECK(array_error(Tensor::zeros({0, 5, 3}, DType::U8)).starts_with("Shape"));
  CHECK(array_error(Tensor::zeros({5}, DType::U8)).starts_with("Shape"));
  const auto grey_error = [&](const std::vector<float>& values) {
    const ImageProcessor grey = processor(R"({"image_processor_type": "ViTImageProcessor", "image_mean": 0.5, "image_std": 0.5})");
    return error_of([&] { grey(Tensor::from(values, {1, static_cast<int64_t>(values.size())})); });
  };
  CHECK(grey_error({0.0f, 0.5f, 1.0f}) == "no error");
  CHECK(contains(grey_error({0.5f, 1.5f}), "fractions in 0..1"));
  CHECK(contains(grey_error({0.0f, 256.0f}), "whole numbers in 0..255"));
  CHECK(grey_error({0.5f, NAN}).starts_with("Limit"));
  CHECK(grey_error({0.5f, INFINITY}).starts_with("Limit"));
  ImageProcessorConfig uncropped = clip.config();
  uncropped.do_center_crop = false;
  const std::vector<Image> different = {samples::picture(20, 30, 3), samples::picture(30, 20, 3)};
  CHECK(contains(error_of([&] { ImageProcessor{uncropped}(different); }), "stacked"));
  CHECK(clip(different).shape() == Shape{2, 3, 224, 224});
}

TEST_CASE("real photographs: pixel_values of the reference") {
  const char* set = std::getenv("TENON_SHARED");
  const std::string shared = set ? set : TENON_SHARED_DIR;
  if (!std::filesystem::exists(shared + "/golden/images")) {
    MESSAGE("skipped: no reference data in ", shared);
    return;
  }
  const std::pair<const char*, const char*> images[] = {
      {"kitten", "photos/kitten.jpg"}, {"camera", "skimage/camera.png"}, {"coco_000000039769", "photos/coco_000000039769.png"}};
  for (const char* kind : {"vit", "clip"}) {
    const ImageProcessor p = ImageProcessor::load(shared + "/golden/images/" + kind + ".json");
    for (const auto& image : images) {
      const std::string name = image.first, path = image.second;
      CAPTURE(name);
      const Tensor got = p(load_image(shared + "/images/" + path));
      const Tensor expected = io::SafeTensors::open(shared + "/golden/images/" + name + "." + kind + ".safetensors").tensor("pixel_values");
      REQUIRE(got.shape() == expected.shape());
      float worst = 0;
      for (int64_t i = 0; i < got.numel(); ++i) worst = std::max(worst, std::fabs(got.values<float>()[i] - expected.values<float>()[i]));
      CHECK(worst < 1e-6f);
    }
  }
}
