// Binds vision: images and image processors.
#include <pybind11/stl.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "bindings.h"
#include "tenon/vision/processor.h"

namespace tenon::python {
namespace {

using vision::ChannelLayout;
using vision::Image;
using vision::ImageProcessor;
using vision::ImageProcessorConfig;

Image image_of(int height, int width, int channels, const py::bytes& pixels) {
  Image image(height, width, channels);
  const auto bytes = static_cast<std::string_view>(pixels);
  check(bytes.size() == image.pixels.size(), ErrorCode::Shape, "image", "expected ", image.pixels.size(), " bytes, got ", bytes.size());
  std::memcpy(image.pixels.data(), bytes.data(), bytes.size());
  return image;
}

py::buffer_info pixels_of(Image& image) {
  const py::ssize_t h = image.height, w = image.width, c = image.channels;
  return py::buffer_info(image.pixels.data(), 1, "B", 3, {h, w, c}, {w * c, c, py::ssize_t{1}});
}

Image decode(const py::bytes& bytes, bool upright) {
  const auto view = static_cast<std::string_view>(bytes);
  py::gil_scoped_release release;
  return vision::decode_image({reinterpret_cast<const uint8_t*>(view.data()), view.size()}, {.apply_orientation = upright});
}

Image load(const std::string& path, bool upright) { return vision::load_image(path, {.apply_orientation = upright}); }

Tensor process_images(const ImageProcessor& processor, const std::vector<const Image*>& given) {
  py::gil_scoped_release release;
  if (given.size() == 1) return processor(*given[0]);
  std::vector<Image> images;
  images.reserve(given.size());
  for (const Image* image : given) images.push_back(*image);
  return processor(images);
}

Tensor process_arrays(const ImageProcessor& processor, const std::vector<Tensor>& arrays, ChannelLayout layout) {
  py::gil_scoped_release release;
  if (arrays.size() == 1) return processor(arrays[0], layout);
  return processor(arrays, layout);
}

ImageProcessor from_json(const py::object& json, const std::string& fallback_type) {
  return ImageProcessor(ImageProcessorConfig::from_json(to_json(json), fallback_type));
}

/// The processor with settings changed. Errors: as ImageProcessorConfig::update().
ImageProcessor with(const ImageProcessor& processor, const py::object& settings) {
  ImageProcessorConfig config = processor.config();
  config.update(to_json(settings));
  return ImageProcessor(config);
}

}  // namespace

void bind_vision(py::module_& m) {
  py::enum_<ChannelLayout>(m, "ChannelLayout")
      .value("infer", ChannelLayout::Infer)
      .value("first", ChannelLayout::First)
      .value("last", ChannelLayout::Last);
  py::class_<Image>(m, "Image", py::buffer_protocol(), "8-bit pixels (height, width, channels).")
      .def(py::init(&image_of), py::arg("height"), py::arg("width"), py::arg("channels"), py::arg("pixels"))
      .def_buffer(&pixels_of)
      .def_readonly("height", &Image::height)
      .def_readonly("width", &Image::width)
      .def_readonly("channels", &Image::channels);
  m.def("decode_image", &decode, py::arg("bytes"), py::arg("apply_orientation") = false);
  m.def("load_image", &load, py::arg("path"), py::arg("apply_orientation") = false, py::call_guard<py::gil_scoped_release>());
  py::class_<ImageProcessor>(m, "ImageProcessor", "Images to pixel_values; several threads may use one.")
      .def_static("of_type", [](const std::string& type) { return ImageProcessor(ImageProcessorConfig::of_type(type)); })
      .def_static("from_json", &from_json, py::arg("json"), py::arg("fallback_type") = "")
      .def_static("load", &ImageProcessor::load, py::arg("path"))
      .def("with_settings", &with, py::arg("settings"))
      .def("images", &process_images, py::arg("images"))
      .def("arrays", &process_arrays, py::arg("arrays"), py::arg("layout"))
      .def("to_json", [](const ImageProcessor& p) { return to_python(p.config().to_json()); })
      .def("save", &ImageProcessor::save, py::arg("folder"));
}

}  // namespace tenon::python
