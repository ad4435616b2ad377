// Known image processors, and the reading and writing of their settings.
#include "tenon/vision/processor_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tenon/io/files.h"

namespace tenon::vision {
namespace {

constexpr std::string_view kWhere = "image processor";
constexpr int64_t kMaxEdge = 65535;

using Values = std::array<double, 3>;
constexpr Values kHalf = {0.5, 0.5, 0.5};
constexpr Values kClipMean = {0.48145466, 0.4578275, 0.40821073};
constexpr Values kClipStd = {0.26862954, 0.26130258, 0.27577711};

struct Known {
  std::string_view type;
  std::string_view model_type;  // of config.json, for folders whose settings name no type
  SizeSpec size;
  bool square;
  Filter resample;
  int crop;  // 0: no centre crop
  bool rgb;
  const Values& mean;
  const Values& std;
};

constexpr Known kKnown[] = {
    {"ViTImageProcessor", "vit", {224, 224, 0, 0}, true, Filter::Bilinear, 0, false, kHalf, kHalf},
    {"DeiTImageProcessor", "deit", {256, 256, 0, 0}, true, Filter::Bicubic, 224, false, kHalf, kHalf},
    {"CLIPImageProcessor", "clip", {0, 0, 224, 0}, false, Filter::Bicubic, 224, true, kClipMean, kClipStd},
    {"SiglipImageProcessor", "siglip", {224, 224, 0, 0}, false, Filter::Bicubic, 0, true, kHalf, kHalf},
    {"BitImageProcessor", "bit", {0, 0, 224, 0}, false, Filter::Bicubic, 224, true, kClipMean, kClipStd},
};

std::string canonical(std::string_view type) {
  for (std::string_view suffix : {"Fast", "Pil"})
    if (type.ends_with(suffix)) type.remove_suffix(suffix.size());
  constexpr std::string_view kOld = "FeatureExtractor";
  if (!type.ends_with(kOld)) return std::string(type);
  return std::string(type.substr(0, type.size() - kOld.size())) + "ImageProcessor";
}

int read_edge(const Json& json, std::string_view key, std::string_view edge) {
  const int64_t v = json.as_int(key);
  check(v >= 1 && v <= kMaxEdge, ErrorCode::Limit, kWhere, key, ".", edge, ": expected 1 to ", kMaxEdge, ", got ", v);
  return static_cast<int>(v);
}

/// A number, [height, width], or an object with the keys of SizeSpec.
SizeSpec read_size(const Json& json, std::string_view key, bool square) {
  SizeSpec size;
  if (json.is_number()) {
    const int edge = read_edge(json, key, "edge");
    return square ? SizeSpec{edge, edge, 0, 0} : SizeSpec{0, 0, edge, 0};
  }
  if (json.is_array()) {
    const Json::Array& edges = json.as_array(key);
    check(edges.size() == 2, ErrorCode::Format, kWhere, key, ": expected [height, width], got ", edges.size(), " numbers");
    return {read_edge(edges[0], key, "height"), read_edge(edges[1], key, "width"), 0, 0};
  }
  for (const auto& [name, value] : json.as_object(key)) {
    if (value.is_null()) continue;
    const int edge = read_edge(value, key, name);
    if (name == "height")
      size.height = edge;
    else if (name == "width")
      size.width = edge;
    else if (name == "shortest_edge")
      size.shortest_edge = edge;
    else if (name == "longest_edge")
      size.longest_edge = edge;
    else
      fail(ErrorCode::Format, kWhere, key, ": expected height and width, or shortest_edge with or without longest_edge, got '",
           name.substr(0, 40), "'");
  }
  const bool exact = size.height && size.width && !size.shortest_edge && !size.longest_edge;
  const bool by_edge = size.shortest_edge && !size.height && !size.width;
  check(exact || by_edge, ErrorCode::Format, kWhere, key, ": expected height and width, or shortest_edge with or without longest_edge");
  return size;
}

std::vector<double> read_values(const Json& json, std::string_view key) {
  std::vector<double> values;
  if (json.is_number())
    values.push_back(json.as_number(key));
  else
    for (const Json& v : json.as_array(key)) values.push_back(v.as_number(key));
  check(values.size() >= 1 && values.size() <= 4, ErrorCode::Format, kWhere, key, ": expected one number per channel, got ", values.size());
  for (double v : values) check(std::isfinite(v), ErrorCode::Limit, kWhere, key, ": expected finite numbers");
  return values;
}

void check_consistent(const ImageProcessorConfig& c) {
  check(!c.do_center_crop || c.crop_size.height, ErrorCode::Format, kWhere, "do_center_crop needs a crop_size of height and width");
  check(std::isfinite(c.rescale_factor), ErrorCode::Limit, kWhere, "rescale_factor: expected a finite number");
  for (double v : c.image_std) check(v != 0, ErrorCode::Limit, kWhere, "image_std: expected numbers other than 0");
}

Json size_to_json(const SizeSpec& size) {
  Json json{Json::Object{}};
  if (size.height) json.set("height", size.height);
  if (size.longest_edge) json.set("longest_edge", size.longest_edge);
  if (size.shortest_edge) json.set("shortest_edge", size.shortest_edge);
  if (size.width) json.set("width", size.width);
  return json;
}

Json values_to_json(const std::vector<double>& values) { return Json(Json::Array(values.begin(), values.end())); }

/// The processor that goes with the model beside it; empty if that is not known either.
std::string_view type_for_model_in(const std::string& folder) {
  const std::string path = io::join_path(folder, "config.json");
  if (!io::is_file(path)) return {};
  const std::string model_type = Json::parse_file(path).value("model_type", "");
  for (const Known& k : kKnown)
    if (k.model_type == model_type) return k.type;
  return {};
}

Json read_settings(const std::string& path) {
  if (io::is_file(path)) return Json::parse_file(path);
  const std::string nested = io::join_path(path, "processor_config.json"), plain = io::join_path(path, "preprocessor_config.json");
  if (io::is_file(nested)) {
    const Json json = Json::parse_file(nested);
    if (const Json* part = json.get("image_processor")) return *part;
  }
  check(io::is_file(plain), ErrorCode::File, path, "expected preprocessor_config.json or processor_config.json with an image_processor");
  return Json::parse_file(plain);
}

}  // namespace

ImageProcessorConfig ImageProcessorConfig::of_type(std::string_view type) {
  const std::string name = canonical(type);
  std::string known;
  for (const Known& k : kKnown) {
    if (k.type != name) {
      known += (known.empty() ? "" : ", ") + std::string(k.type);
      continue;
    }
    ImageProcessorConfig c;
    c.image_processor_type = name;
    c.size = k.size;
    c.default_to_square = k.square;
    c.resample = k.resample;
    c.do_center_crop = k.crop > 0;
    c.crop_size = {k.crop, k.crop, 0, 0};
    c.do_convert_rgb = k.rgb;
    c.image_mean.assign(k.mean.begin(), k.mean.end());
    c.image_std.assign(k.std.begin(), k.std.end());
    return c;
  }
  fail(ErrorCode::Format, kWhere, "unknown type '", type.substr(0, 80), "': known are ", known);
}

ImageProcessorConfig ImageProcessorConfig::from_json(const Json& json, std::string_view fallback_type) {
  json.as_object("image processor settings");
  std::string type(fallback_type);
  for (const char* key : {"feature_extractor_type", "image_processor_type"})
    if (const Json* v = json.get(key)) type = v->as_string(key);
  check(!type.empty(), ErrorCode::Format, kWhere, "the settings have no image_processor_type");
  ImageProcessorConfig config = of_type(type);
  config.update(json);
  return config;
}

ImageProcessorConfig ImageProcessorConfig::load(const std::string& path) {
  const Json json = read_settings(path);
  const std::string folder = io::is_file(path) ? io::parent_folder(path) : path;
  const bool typed = json.has("image_processor_type") || json.has("feature_extractor_type");
  return from_json(json, typed ? std::string_view{} : type_for_model_in(folder));
}

void ImageProcessorConfig::update(const Json& json) {
  json.as_object("image processor settings");
  ImageProcessorConfig c = *this;
  c.do_convert_rgb = json.value("do_convert_rgb", c.do_convert_rgb);
  c.do_resize = json.value("do_resize", c.do_resize);
  c.default_to_square = json.value("default_to_square", c.default_to_square);
  if (const Json* v = json.get("size")) c.size = read_size(*v, "size", c.default_to_square);
  if (const Json* v = json.get("resample")) c.resample = filter_of(v->as_int("resample"));
  c.do_center_crop = json.value("do_center_crop", c.do_center_crop);
  if (const Json* v = json.get("crop_size")) c.crop_size = read_size(*v, "crop_size", true);
  c.do_rescale = json.value("do_rescale", c.do_rescale);
  c.rescale_factor = json.value("rescale_factor", c.rescale_factor);
  c.do_normalize = json.value("do_normalize", c.do_normalize);
  if (const Json* v = json.get("image_mean")) c.image_mean = read_values(*v, "image_mean");
  if (const Json* v = json.get("image_std")) c.image_std = read_values(*v, "image_std");
  check(!json.value("do_pad", false), ErrorCode::Format, kWhere, "do_pad is not supported");
  check_consistent(c);
  *this = std::move(c);
}

Json ImageProcessorConfig::to_json() const {
  Json json{Json::Object{}};
  if (crop_size.height) json.set("crop_size", size_to_json(crop_size));
  json.set("do_center_crop", do_center_crop);
  json.set("do_convert_rgb", do_convert_rgb);
  json.set("do_normalize", do_normalize);
  json.set("do_rescale", do_rescale);
  json.set("do_resize", do_resize);
  json.set("image_mean", values_to_json(image_mean));
  json.set("image_processor_type", image_processor_type);
  json.set("image_std", values_to_json(image_std));
  json.set("resample", static_cast<int>(resample));
  json.set("rescale_factor", rescale_factor);
  json.set("size", size_to_json(size));
  return json;
}

Extent resized_extent(const ImageProcessorConfig& config, Extent from) {
  if (!config.do_resize) return from;
  if (config.size.height) return {config.size.height, config.size.width};
  const double shorter = std::min(from.height, from.width), longer = std::max(from.height, from.width);
  double edge = config.size.shortest_edge, limit = -1;
  if (config.size.longest_edge && longer / shorter * edge > config.size.longest_edge) {
    limit = config.size.longest_edge * shorter / longer;
    edge = std::nearbyint(limit);
    if (edge == shorter) return from;
  }
  const double other = std::floor((limit < 0 ? edge * longer : limit * longer) / shorter);
  check(edge >= 1 && edge * other <= static_cast<double>(kMaxPixels), ErrorCode::Limit, kWhere, "cannot resize ", from.width, "x",
        from.height, " to a shortest edge of ", edge);
  const int short_edge = static_cast<int>(edge), long_edge = static_cast<int>(other);
  return from.width <= from.height ? Extent{long_edge, short_edge} : Extent{short_edge, long_edge};
}

}  // namespace tenon::vision
