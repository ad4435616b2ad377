// Random matrices in few bits and plain readings of what checkpoints store, for the tests of checkpoint formats.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "io/temp_folder.h"
#include "tenon/core/random.h"
#include "tenon/quant/checkpoint_format.h"
#include "tenon/quant/dequantize.h"

namespace tenon::test {

/// Codes, zeros and scales of all values; act_order: columns in a random order.
inline quant::QuantizedMatrix random_matrix(int64_t N, int64_t K, int64_t group, uint64_t seed, bool act_order = false,
                                            bool symmetric = false) {
  Random random(seed);
  quant::QuantizedMatrix m{WeightFormat::Int4, N, K, group, {}, {}, {}, {}};
  m.q = Tensor::zeros({N, (K + 1) / 2}, DType::U8);
  m.scale = Tensor::empty({N, m.groups()}, DType::F32);
  m.zero = Tensor::empty({N, m.groups()}, DType::U8);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k)
      m.q.data<uint8_t>()[n * ((K + 1) / 2) + k / 2] |= static_cast<uint8_t>((random.next() & 15) << (k % 2 ? 4 : 0));
  for (int64_t i = 0; i < m.scale.numel(); ++i) {
    m.scale.data<float>()[i] = float16::from(0.01f + 0.1f * random.uniform());
    m.zero.data<uint8_t>()[i] = symmetric ? 8 : static_cast<uint8_t>(random.next() & 15);
  }
  if (act_order) {
    m.order.resize(static_cast<size_t>(K));
    std::iota(m.order.begin(), m.order.end(), int64_t{0});
    for (size_t i = m.order.size(); i-- > 1;) std::swap(m.order[i], m.order[random.next() % (i + 1)]);
    for (int64_t g = 0; g < m.groups(); ++g)  // which of a group comes first is not stored
      std::sort(m.order.begin() + g * group, m.order.begin() + std::min((g + 1) * group, K));
    if (std::is_sorted(m.order.begin(), m.order.end())) m.order.clear();
  }
  return m;
}

inline bool same(const Tensor& a, const Tensor& b) {
  return a.defined() == b.defined() && a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.nbytes() == 0 || std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0);
}

inline void check_same(const quant::QuantizedMatrix& a, const quant::QuantizedMatrix& b) {
  CHECK(a.format == b.format);
  CHECK(a.group == b.group);
  CHECK(same(a.q, b.q));
  CHECK(same(a.scale, b.scale));
  CHECK(same(a.zero, b.zero));
  CHECK(a.order == b.order);
}

inline Tensor& at(quant::StoredTensors& tensors, const std::string& suffix) {
  for (auto& [name, t] : tensors)
    if (name == suffix) return t;
  FAIL("no tensor " << suffix);
  return tensors.front().second;
}

inline int nibble(const Tensor& words, int64_t word, int64_t i) {
  return static_cast<int>(static_cast<uint32_t>(words.data<int32_t>()[word]) >> (4 * i) & 15);
}

inline const quant::CheckpointFormat& format(std::string_view method) {
  for (const quant::CheckpointFormat& f : quant::kCheckpointFormats)
    if (f.method == method) return f;
  FAIL("no format " << method);
  return quant::kCheckpointFormats[0];
}

}  // namespace tenon::test
