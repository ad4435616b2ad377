// The settings of image processors: defaults, old and new spellings, files, bad values.
#include <doctest/doctest.h>

#include "../io/temp_folder.h"
#include "tenon/vision/processor.h"
#include "tenon/vision/processor_config.h"

using namespace tenon;
using namespace tenon::vision;

namespace {

std::string settings_error(const std::string& settings) {
  return error_of([&] { ImageProcessorConfig::from_json(Json::parse(settings)); });
}

}  // namespace

TEST_CASE("defaults and old spellings") {
  const ImageProcessorConfig vit = ImageProcessorConfig::of_type("ViTFeatureExtractor");
  CHECK(vit.image_processor_type == "ViTImageProcessor");
  CHECK(vit.size == SizeSpec{224, 224, 0, 0});
  CHECK(vit.resample == Filter::Bilinear);
  CHECK(ImageProcessorConfig::of_type("DeiTImageProcessorFast").crop_size == SizeSpec{224, 224, 0, 0});
  ImageProcessorConfig clip = ImageProcessorConfig::of_type("CLIPImageProcessorPil");
  CHECK(clip.size == SizeSpec{0, 0, 224, 0});
  CHECK(clip.do_convert_rgb);
  clip.update(Json::parse(R"({"size": 32, "crop_size": [20, 30], "resample": 1, "image_mean": 0.25, "do_normalize": null})"));
  CHECK(clip.size == SizeSpec{0, 0, 32, 0});
  CHECK(clip.crop_size == SizeSpec{20, 30, 0, 0});
  CHECK(clip.resample == Filter::Lanczos);
  CHECK(clip.image_mean == std::vector<double>{0.25});
  CHECK(clip.do_normalize);
}

TEST_CASE("what is written is read again") {
  const TempFolder folder;
  ImageProcessorConfig clip = ImageProcessorConfig::of_type("CLIPImageProcessor");
  clip.size = {0, 0, 30, 40};
  clip.crop_size = {20, 25, 0, 0};
  ImageProcessor(clip).save(folder / "saved");
  const ImageProcessorConfig again = ImageProcessorConfig::load(folder / "saved");
  CHECK(again.to_json().dump() == clip.to_json().dump());
  CHECK(again.size == clip.size);
  CHECK(again.rescale_factor == clip.rescale_factor);
  CHECK(ImageProcessorConfig::load(folder / "saved/preprocessor_config.json").crop_size == clip.crop_size);
}

TEST_CASE("settings are found in processor_config.json, and the type in config.json") {
  const TempFolder folder;
  folder.put("preprocessor_config.json", R"({"size": 30})");
  CHECK(contains(error_of([&] { ImageProcessorConfig::load(folder.path()); }), "image_processor_type"));
  folder.put("config.json", R"({"model_type": "clip"})");
  CHECK(ImageProcessorConfig::load(folder.path()).size == SizeSpec{0, 0, 30, 0});
  folder.put("processor_config.json", R"({"processor_class": "CLIPProcessor"})");
  CHECK(ImageProcessorConfig::load(folder.path()).size.shortest_edge == 30);
  folder.put("processor_config.json", R"({"image_processor": {"image_processor_type": "ViTImageProcessor", "size": 40}})");
  CHECK(ImageProcessorConfig::load(folder.path()).size == SizeSpec{40, 40, 0, 0});
  CHECK(error_of([&] { ImageProcessorConfig::load(folder / "nowhere"); }).starts_with("File"));
}

TEST_CASE("bad settings are named") {
  CHECK(contains(settings_error(R"({"image_processor_type": "FooImageProcessor"})"), "known are ViTImageProcessor"));
  CHECK(settings_error(R"({"image_processor_type": 3})").starts_with("Type"));
  CHECK(settings_error("[]").starts_with("Type"));
  CHECK(settings_error("{}").starts_with("Format"));
  const auto vit = [](const std::string& more) { return settings_error(R"({"image_processor_type": "ViTImageProcessor", )" + more + "}"); };
  CHECK(vit(R"("size": "x")").starts_with("Type"));
  CHECK(vit(R"("size": 0)").starts_with("Limit"));
  CHECK(vit(R"("size": 1e9)").starts_with("Limit"));
  CHECK(vit(R"("size": {"height": 3})").starts_with("Format"));
  CHECK(vit(R"("size": {"height": 3, "width": 3, "shortest_edge": 3})").starts_with("Format"));
  CHECK(contains(vit(R"("size": {"depth": 3})"), "depth"));
  CHECK(vit(R"("size": [1, 2, 3])").starts_with("Format"));
  CHECK(vit(R"("resample": 9)").starts_with("Limit"));
  CHECK(vit(R"("do_center_crop": true)").starts_with("Format"));
  CHECK(vit(R"("do_resize": "yes")").starts_with("Type"));
  CHECK(vit(R"("image_std": [1, 0, 1])").starts_with("Limit"));
  CHECK(vit(R"("image_mean": [])").starts_with("Format"));
  CHECK(vit(R"("do_pad": true)").starts_with("Format"));
}

TEST_CASE("the size that an image gets") {
  ImageProcessorConfig config = ImageProcessorConfig::of_type("CLIPImageProcessor");
  CHECK(resized_extent(config, {100, 1}) == Extent{22400, 224});
  CHECK(error_of([&] { resized_extent(config, {static_cast<int>(kMaxPixels), 1}); }).starts_with("Limit"));
  config.size = {0, 0, 20, 24};
  CHECK(resized_extent(config, {40, 60}) == Extent{16, 24});
  CHECK(resized_extent(config, {60, 40}) == Extent{24, 16});
  CHECK(resized_extent(config, {20, 22}) == Extent{20, 22});
  config.size = {7, 5, 0, 0};
  CHECK(resized_extent(config, {1, 1000}) == Extent{7, 5});
  config.do_resize = false;
  CHECK(resized_extent(config, {1, 1000}) == Extent{1, 1000});
}
