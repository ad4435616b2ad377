// Fuzzes the quantised checkpoint formats: a line of JSON (quantization_config, N and K) and a safetensors file of one layer's tensors,
// named by their suffixes, give a weight that packs and survives a rewrite, or a tenon::Error.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "tenon/io/safetensors.h"
#include "tenon/quant/checkpoint_format.h"
#include "tenon/quant/dequantize.h"
#include "tenon/quant/packed_weight.h"

using namespace tenon;

namespace {

constexpr int64_t kLargest = 512;  // features; headers may claim any, and the tensors would have to be there

quant::StoredLayer layer_of(const Json& head, const quant::CheckpointFormat& format, const std::shared_ptr<Storage>& tensors) {
  quant::StoredLayer layer{"layer", head.at("N").as_int("N"), head.at("K").as_int("K"), {}};
  check(layer.N > 0 && layer.N <= kLargest && layer.K > 0 && layer.K <= kLargest, ErrorCode::Limit, "fuzz", "sizes");
  const io::SafeTensors file = io::SafeTensors::over(tensors, "fuzz");
  for (const std::string_view suffix : format.suffixes)
    for (const std::string& name : file.names())
      if (name == suffix) layer.tensors.emplace_back(suffix, file.tensor(name));
  return layer;
}

template <class F>
bool passes(F&& f) {
  try {
    f();
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && (a.nbytes() == 0 || std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0);
}

/// Whether the scales are what 16 bits can hold, as the formats store them.
bool halves(const Tensor& scale) {
  for (int64_t i = 0; i < scale.numel(); ++i) {
    const float s = scale.data<float>()[i];
    if (static_cast<float>(float16::from(s)) != s) return false;
  }
  return true;
}

void run(const Json& head, const std::shared_ptr<Storage>& tensors) {
  Context ctx(1);
  const quant::Scheme scheme = quant::Scheme::from_json(head.at("quantization_config"));
  (void)scheme.describe();
  quant::StoredLayer layer = layer_of(head, *scheme.format, tensors);
  const bool headers = passes([&] { scheme.format->check(layer, scheme.settings); });
  const bool contents = headers && passes([&] { scheme.format->check_contents(layer, scheme.settings); });
  quant::StoredWeight weight;
  if (!passes([&] { weight = scheme.format->read(ctx, layer, scheme.settings); })) return;
  if (!headers || !contents) std::abort();  // opening lets nothing through that reading finds, but NaN among weights and weight_shape
  const Tensor wide = quant::dequantize(ctx, weight);
  if (wide.shape() != Shape{layer.N, layer.K}) std::abort();
  if (weight.is_rows()) return;
  const quant::QuantizedMatrix& m = weight.matrix;
  if (!same(wide, quant::dequantize(m))) std::abort();
  passes([&] { quant::pack(ctx, m); });  // groups that the kernels do not take are errors
  passes([&] {
    layer.tensors = scheme.format->write(ctx, m, scheme.settings);
    const bool fp8 = m.format == WeightFormat::Fp8;
    if (!fp8 && !halves(m.scale)) return;
    const quant::QuantizedMatrix again = scheme.format->read(ctx, layer, scheme.settings).matrix;
    if (!same(again.q, m.q) || again.order != m.order) std::abort();
    if (!fp8 && (!same(again.scale, m.scale) || !same(again.zero, m.zero))) std::abort();
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(all.find('\n'), size), begin = std::min(end + 1, size);
  auto storage = std::make_shared<Storage>();
  const std::shared_ptr<char[]> block(new char[size - begin + 1]);  // + 1: no tensors have an address, too
  if (begin < size) std::memcpy(block.get(), data + begin, size - begin);
  storage->data = block.get();
  storage->bytes = size - begin;
  storage->read_only = true;
  storage->owner = block;
  try {
    run(Json::parse(all.substr(0, end)), storage);
  } catch (const Error&) {
  }
  return 0;
}
