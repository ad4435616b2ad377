// Weights in every format, packed by ref and by the device.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include "device_agree.h"
#include "tenon/core/tensor_cores.h"

namespace tenon::device_test {

inline size_t size(int64_t n) { return static_cast<size_t>(n); }

template <class E>
constexpr DType float_type() {
  if constexpr (std::is_same_v<E, float16>) return DType::F16;
  else return agree::type_of<E>();
}
template <class E>
std::vector<E> floats_as(const std::vector<float>& v) {
  std::vector<E> r(v.size());
  for (size_t i = 0; i < v.size(); ++i)
    if constexpr (sizeof(E) == 4) r[i] = v[i];
    else r[i] = E::from(v[i]);
  return r;
}

/// A list of addresses on the device.
template <class T>
class Addresses {
 public:
  explicit Addresses(const std::vector<T*>& v) : list_(numbers(v)) {}
  T* const* p() { return reinterpret_cast<T* const*>(list_.p()); }

 private:
  static std::vector<int64_t> numbers(const std::vector<T*>& v) {
    std::vector<int64_t> n;
    for (T* p : v) n.push_back(reinterpret_cast<int64_t>(p));
    return n;
  }
  Indices list_;
};

/// One weight (N,K) for each group.
class Weights {
 public:
  Weights(WeightFormat format, int64_t groups, int64_t N, int64_t K, int64_t group) {
    for (int64_t g = 0; g < groups; ++g) {
      const auto seed = static_cast<unsigned>(100 + g);
      const std::vector<float> w = agree::normal(size(N * K), seed);
      std::vector<float> scale(size(N));
      if (format == WeightFormat::Int4 || format == WeightFormat::Fp8) {
        quantised(format, N, K, group, seed);
      } else {
        packed_.emplace_back(agree::ref().linear_packed_bytes(format, N, K));
        agree::ref().linear_pack(packed_.back().data(), scale.data(), w.data(), DType::F32, format, N, K, 1);
        device_.push_back(std::make_unique<OnDevice<uint8_t>>(std::vector<uint8_t>(kernels().linear_packed_bytes(format, N, K))));
        Floats gw = w, gscale = scale;
        kernels().linear_pack(device_.back()->p(), gscale.p(), gw.p(), DType::F32, format, N, K, 1);
        if (format == WeightFormat::Int8) CHECK(agree::distance(gscale.get(), scale) == 0);
      }
      scale_.push_back(scale);
      device_scale_.push_back(std::make_unique<Floats>(scale));
    }
    for (const auto& p : packed_) host.push_back(p.data());
    for (const auto& s : scale_) host_scale.push_back(s.data());
  }
  std::vector<const void*> device_list() const {
    std::vector<const void*> v;
    for (const auto& p : device_) v.push_back(p->p());
    return v;
  }
  std::vector<const float*> device_scales() const {
    std::vector<const float*> v;
    for (const auto& p : device_scale_) v.push_back(p->p());
    return v;
  }
  std::vector<const void*> host;
  std::vector<const float*> host_scale;

 private:
  void quantised(WeightFormat format, int64_t N, int64_t K, int64_t group, unsigned seed) {
    const int64_t G = (K + group - 1) / group, bytes = format == WeightFormat::Int4 ? (K + 1) / 2 : K;
    std::vector<uint8_t> q(size(N * bytes)), zero(size(N * G));
    std::vector<float> scale = agree::normal(size(N * G), seed, 0.02f, 0.1f);
    for (size_t i = 0; i < q.size(); ++i) q[i] = static_cast<uint8_t>(i * i * 31 + i * 7 + seed);
    if (format == WeightFormat::Fp8)
      for (uint8_t& c : q) c = static_cast<uint8_t>(c & 0xbf);  // below 2 in size
    for (size_t i = 0; i < zero.size(); ++i) zero[i] = static_cast<uint8_t>(i * 5 % 16);
    QuantizedRows rows{.format = format, .N = N, .K = K, .group = group, .q = q.data(), .scale = scale.data(), .zero = zero.data()};
    packed_.emplace_back(agree::ref().quantized_packed_bytes(format, N, K, group));
    agree::ref().quantized_pack(packed_.back().data(), rows, 1);
    device_.push_back(std::make_unique<OnDevice<uint8_t>>(std::vector<uint8_t>(kernels().quantized_packed_bytes(format, N, K, group), 0xff)));
    OnDevice<uint8_t> gq = q, gzero = zero;
    Floats gscale = scale;
    rows.q = gq.p(), rows.scale = gscale.p(), rows.zero = gzero.p();
    kernels().quantized_pack(device_.back()->p(), rows, 1);
    std::vector<float> expected(size(N * K));
    agree::ref().quantized_unpack(expected.data(), packed_.back().data(), format, N, K, group);
    Floats unpacked = std::vector<float>(expected.size());
    kernels().quantized_unpack(unpacked.p(), device_.back()->p(), format, N, K, group);
    CHECK(agree::distance(unpacked.get(), expected) <= 1e-6 * agree::largest(expected));
  }
  std::vector<std::vector<uint8_t>> packed_;
  std::vector<std::vector<float>> scale_;
  std::vector<std::unique_ptr<OnDevice<uint8_t>>> device_;
  std::vector<std::unique_ptr<Floats>> device_scale_;
};

/// What a kernel may differ by: sums in another order; results of 16 bits one step; weights of less than 16 bits that tensor cores get in
/// 16 bits, half a step of each.
template <class X, class Y>
double bound(const std::vector<Y>& y, WeightFormat format, int64_t K) {
  const double most = agree::largest(y), widened = format == WeightFormat::Int4 || format == WeightFormat::Fp8 ? 1.0 / 256 : 0;
  const double step = sizeof(Y) == 2 ? (std::is_same_v<Y, float16> ? 1.0 / 1024 : 1.0 / 128) : 1e-5;
  (void)K;
  return (step + (sizeof(X) == 2 ? widened : 0)) * (most + 1);
}

}  // namespace tenon::device_test
