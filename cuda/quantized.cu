// Weights in int8, int4 and float8: packing, unpacking, and linear layers with them.
#include "bodies/quantized.h"

#include "fillers.h"
#include "grouped.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

size_t quantized_packed_bytes(WeightFormat format, int64_t N, int64_t K, int64_t group) {
  return static_cast<size_t>(GroupedLayout(format, N, K, group).bytes());
}

void quantized_pack(void* packed, const QuantizedRows& w, int) {
  const GroupedLayout at(w.format, w.N, w.K, w.group);
  launch_elements(at.bytes(), PackQuantizedBody{static_cast<uint8_t*>(packed), w, at});
}

void quantized_unpack(float* w, const void* packed, WeightFormat format, int64_t N, int64_t K, int64_t group) {
  const int64_t items = N * ((K + 7) / 8);
  if (format == WeightFormat::Int4) launch_elements(items, UnpackQuantizedBody<Int4Weight>{w, packed, N, K, group});
  else launch_elements(items, UnpackQuantizedBody<Fp8Weight>{w, packed, N, K, group});
}

}  // namespace

void int8_unpack(float* w, const void* packed, const float* scale, int64_t N, int64_t K) {
  launch_elements(N * K, UnpackInt8Body{w, static_cast<const int8_t*>(packed), scale, K});
}

GroupedProduct product_of(const LinearCall& c) {
  GroupedProduct p;
  p.y = c.y, p.x = c.x;
  p.groups.count = 1, p.groups.rows = c.M, p.groups.one_w = c.w, p.groups.one_scale = c.w_scale;
  p.type = p.y_type = c.type, p.N = c.N, p.K = c.K, p.group = c.group, p.bias = c.bias, p.residual = c.residual, p.act = c.act;
  p.fp8_rows = c.fp8_rows;
  return p;
}

/// int8_rows is not looked at: rows meet int4 weights as they are.
void packed_linear(const LinearCall& c) { grouped_product(product_of(c), c.format, false); }

void fill_quantized(Kernels& k) {
  k.quantized_packed_bytes = quantized_packed_bytes;
  k.quantized_pack = quantized_pack;
  k.quantized_unpack = quantized_unpack;
}

}  // namespace tenon::cuda
