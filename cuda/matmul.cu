// Matrix products and linear layers: products go to gemm(), what is added to them to a kernel of our own.
#include <optional>
#include <type_traits>

#include "bodies/elements.h"
#include "bodies/linear.h"
#include "fillers.h"
#include "gemm.h"
#include "grouped.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

using scalar::with_float;

DType type_of(WeightFormat f) { return f == WeightFormat::BF16 ? DType::BF16 : DType::F32; }
bool is_plain(WeightFormat f) { return f == WeightFormat::F32 || f == WeightFormat::BF16; }

void convert(void* y, DType y_type, const void* x, DType x_type, int64_t n) {
  with_float(y_type, [&](auto* y_tag) {
    with_float(x_type, [&](auto* x_tag) {
      using Y = std::remove_pointer_t<decltype(y_tag)>;
      using X = std::remove_pointer_t<decltype(x_tag)>;
      with_width<float>(0, {y, x}, [&](auto width) {
        constexpr int V = decltype(width)::value;
        launch_elements((n + V - 1) / V, CastBody<Y, X, V>{static_cast<Y*>(y), static_cast<const X*>(x), n});
      });
    });
  });
}

/// The same elements in `type`: as they are, or converted into memory that `copy` holds.
const void* in_type(const void* x, DType x_type, DType type, int64_t n, std::optional<Scratch>& copy) {
  if (x_type == type) return x;
  copy.emplace(static_cast<size_t>(n) * size_of(type));
  convert(copy->as<void>(), type, x, x_type, n);
  return copy->as<void>();
}

/// Two factors of 16 bits are multiplied as such.
void matmul(const MatmulCall& call) {
  if (call.M == 0 || call.N == 0) return;
  MatmulCall c = call;
  std::optional<Scratch> product;
  const bool apart = c.type == DType::F32 && c.c_type != DType::F32;  // cuBLASLt writes float32 products as float32 alone
  if (apart) {
    product.emplace(static_cast<size_t>(c.M * c.N) * sizeof(float));
    if (c.accumulate) convert(product->as<void>(), DType::F32, c.c, c.c_type, c.M * c.N);
    c.c = product->as<void>(), c.c_type = DType::F32;
  }
  gemm(plan_matmul(c));
  if (apart) convert(call.c, call.c_type, c.c, DType::F32, c.M * c.N);
}

template <class E, class P>
void finish(const LinearCall& c, const P* product) {
  with_width<E>(c.N, {c.y, product, c.residual}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    constexpr int W = V * static_cast<int>(sizeof(P)) > 16 ? 16 / static_cast<int>(sizeof(P)) : V;  // at most 16 bytes of either
    launch_elements(c.M * c.N / W, FinishLinearBody<E, P, W>{static_cast<E*>(c.y), product, c.bias, static_cast<const E*>(c.residual), c.N,
                                                            c.act});
  });
}

void linear(const LinearCall& c) {
  if (c.blocks) {
    for (int64_t i = 0; i < c.num_blocks; ++i) {
      const LinearBlock& block = c.blocks[i];
      const auto item = static_cast<int64_t>(size_of(c.type));
      LinearCall one = c;
      one.y = static_cast<char*>(c.y) + block.begin * c.N * item;
      one.x = static_cast<const char*>(c.x) + block.begin * c.K * item;
      if (c.residual) one.residual = static_cast<const char*>(c.residual) + block.begin * c.N * item;
      one.w = block.w, one.w_scale = block.w_scale, one.M = block.end - block.begin;
      one.blocks = nullptr, one.num_blocks = 0;
      linear(one);
    }
    return;
  }
  if (c.M == 0 || c.N == 0) return;
  if (!is_plain(c.format)) return packed_linear(c);
  const DType w_type = type_of(c.format);
  const DType type = c.type == DType::BF16 && w_type == DType::BF16 ? DType::BF16 : DType::F32;
  std::optional<Scratch> x, w, product;
  MatmulCall m{.a = in_type(c.x, c.type, type, c.M * c.K, x), .b = in_type(c.w, w_type, type, c.N * c.K, w)};
  m.type = type, m.trans_b = true, m.M = c.M, m.N = c.N, m.K = c.K;
  Gemm g = plan_matmul(m);
  if (c.type == DType::F32 && c.act == Activation::None) {  // all in the product
    g.d = c.y, g.c = c.residual ? c.residual : c.y, g.bias = c.bias, g.beta = c.residual ? 1.0f : 0.0f;
    return gemm(g);
  }
  if (c.type == DType::BF16 && type == DType::BF16 && !c.bias && c.act == Activation::None) {
    g.d = c.y, g.d_type = DType::BF16, g.c = c.residual ? c.residual : c.y, g.beta = c.residual ? 1.0f : 0.0f;
    return gemm(g);
  }
  // What cuBLASLt does not add costs a float32 product that is written and read again: more than a slightly faster product gains.
  if (type == DType::BF16 && linear_by_wgmma(c)) return;
  product.emplace(static_cast<size_t>(c.M * c.N) * sizeof(float));
  g.d = product->as<void>(), g.c = g.d;
  gemm(g);
  with_float(c.type, [&](auto* tag) { finish<std::remove_pointer_t<decltype(tag)>>(c, product->as<float>()); });
}

size_t linear_scratch(const LinearCall&) { return 0; }

/// The plain matrix.
size_t linear_packed_bytes(WeightFormat format, int64_t N, int64_t K) {
  return static_cast<size_t>(N) * static_cast<size_t>(K) * (format == WeightFormat::Int8 ? 1 : size_of(type_of(format)));
}

void linear_pack(void* packed, float* scale, const void* w, DType w_type, WeightFormat format, int64_t N, int64_t K, int) {
  if (format == WeightFormat::Int8) return quantize_rows_int8(static_cast<int8_t*>(packed), scale, w, N, K, w_type);
  convert(packed, type_of(format), w, w_type, N * K);
}

void linear_unpack(float* w, const void* packed, const float* scale, WeightFormat format, int64_t N, int64_t K) {
  if (format == WeightFormat::Int8) return int8_unpack(w, packed, scale, N, K);
  convert(w, DType::F32, packed, type_of(format), N * K);
}

}  // namespace

void fill_matmul(Kernels& k) {
  k.matmul = matmul;
  k.linear = linear;
  k.linear_scratch = linear_scratch;
  k.linear_packed_bytes = linear_packed_bytes;
  k.linear_pack = linear_pack;
  k.linear_unpack = linear_unpack;
}

}  // namespace tenon::cuda
