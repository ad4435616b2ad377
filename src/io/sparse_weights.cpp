// Weights that are mostly zero, in files: written and put together again.
#include "tenon/io/sparse_weights.h"

#include <bit>
#include <cstring>
#include <utility>

#include "tenon/io/checkpoint.h"

namespace tenon::io {
namespace {

constexpr std::string_view kWeight = ".weight";

bool is_weight(const std::string& name) { return name.size() > kWeight.size() && name.ends_with(kWeight); }

template <class Body>
void with_elements(DType type, Body&& body) {
  size_of(type) == 4 ? body(static_cast<uint32_t*>(nullptr)) : body(static_cast<uint16_t*>(nullptr));
}

/// Zero of either sign: -0 is written as nothing and comes back as 0.
template <class Bits>
bool is_zero(Bits bits) {
  return static_cast<Bits>(bits << 1) == 0;
}

bool is_stored_float(DType t) { return t == DType::F32 || t == DType::BF16 || t == DType::F16; }

template <class T>
const T* elements(const Tensor& t) {
  return static_cast<const T*>(t.raw());
}

int64_t nonzeros(const Tensor& w) {
  int64_t count = 0;
  with_elements(w.dtype(), [&](auto* tag) {
    const auto* x = elements<std::remove_pointer_t<decltype(tag)>>(w);
    for (int64_t i = 0; i < w.numel(); ++i) count += !is_zero(x[i]);
  });
  return count;
}

/// The first group of four columns with more than two elements, or -1.
int64_t not_two_four(const Tensor& w) {
  int64_t found = -1;
  with_elements(w.dtype(), [&](auto* tag) {
    const auto* x = elements<std::remove_pointer_t<decltype(tag)>>(w);
    for (int64_t i = 0; i < w.numel() && found < 0; i += 4)
      if (!is_zero(x[i]) + !is_zero(x[i + 1]) + !is_zero(x[i + 2]) + !is_zero(x[i + 3]) > 2) found = i;
  });
  return found;
}

std::vector<NamedTensor> two_four(const std::string& prefix, const Tensor& w) {
  const int64_t N = w.size(0), K = w.size(1), bad = not_two_four(w);
  check(bad < 0, ErrorCode::Format, prefix + std::string(kWeight), "expected at most two elements in every four columns, row ", bad / K,
        " has more in columns ", bad % K, " to ", bad % K + 3);
  Tensor values = Tensor::zeros({N, K / 2}, w.dtype()), meta = Tensor::zeros({N, K / 8}, DType::U8);
  uint8_t* places = meta.data<uint8_t>();
  with_elements(w.dtype(), [&](auto* tag) {
    using Bits = std::remove_pointer_t<decltype(tag)>;
    const Bits* x = elements<Bits>(w);
    Bits* to = static_cast<Bits*>(values.raw());
    for (int64_t group = 0; group < N * K / 4; ++group, x += 4) {
      // Both places are always said: with fewer elements the first free columns stand for them.
      int first = -1, second = -1;
      for (int i = 0; i < 4; ++i)
        if (!is_zero(x[i])) (first < 0 ? first : second) = i;
      if (first < 0) first = 0, second = 1;
      if (second < 0) second = first == 0 ? 1 : std::exchange(first, 0);
      *to++ = x[first];
      *to++ = x[second];
      places[group / 2] = static_cast<uint8_t>(places[group / 2] | (first | second << 2) << group % 2 * 4);
    }
  });
  return {{prefix + ".compressed", values}, {prefix + ".meta", meta}};
}

std::vector<NamedTensor> bitmask(const std::string& prefix, const Tensor& w) {
  const int64_t N = w.size(0), K = w.size(1), bytes = (K + 7) / 8;
  Tensor values = Tensor::empty({nonzeros(w)}, w.dtype()), mask = Tensor::zeros({N, bytes}, DType::U8),
         offsets = Tensor::empty({N}, DType::I64);
  uint8_t* bits = mask.data<uint8_t>();
  int64_t* offset = offsets.data<int64_t>();
  with_elements(w.dtype(), [&](auto* tag) {
    using Bits = std::remove_pointer_t<decltype(tag)>;
    const Bits* x = elements<Bits>(w);
    Bits* to = static_cast<Bits*>(values.raw());
    int64_t at = 0;
    for (int64_t n = 0; n < N; ++n) {
      offset[n] = at;
      for (int64_t k = 0; k < K; ++k) {
        if (is_zero(x[n * K + k])) continue;
        to[at++] = x[n * K + k];
        uint8_t& byte = bits[n * bytes + k / 8];
        byte = static_cast<uint8_t>(byte | 1 << k % 8);
      }
    }
  });
  return {{prefix + ".compressed", values}, {prefix + ".bitmask", mask}, {prefix + ".row_offsets", offsets}};
}

void fill_from_bitmask(const std::string& name, Tensor& w, const Tensor& values, const Tensor& mask) {
  const int64_t N = w.size(0), K = w.size(1), bytes = (K + 7) / 8;
  const uint8_t* bits = elements<uint8_t>(mask);
  int64_t count = 0;
  for (int64_t i = 0; i < mask.numel(); ++i) count += std::popcount(bits[i]);
  check(count == values.numel(), ErrorCode::Format, name, "bitmask: expected as many bits as there are elements, ", values.numel(),
        ", got ", count);
  for (int64_t n = 0; n < N && K % 8; ++n)
    check(bits[(n + 1) * bytes - 1] >> K % 8 == 0, ErrorCode::Format, name, "bitmask: row ", n, " has bits beyond its ", K, " columns");
  with_elements(w.dtype(), [&](auto* tag) {
    using Bits = std::remove_pointer_t<decltype(tag)>;
    const Bits* from = elements<Bits>(values);
    Bits* to = static_cast<Bits*>(w.raw());
    for (int64_t n = 0; n < N; ++n)
      for (int64_t j = 0; j < bytes; ++j)
        for (unsigned left = bits[n * bytes + j]; left; left &= left - 1) to[n * K + j * 8 + std::countr_zero(left)] = *from++;
  });
}

void fill_from_meta(const std::string& name, Tensor& w, const Tensor& values, const Tensor& meta) {
  const uint8_t* places = elements<uint8_t>(meta);
  with_elements(w.dtype(), [&](auto* tag) {
    using Bits = std::remove_pointer_t<decltype(tag)>;
    const Bits* from = elements<Bits>(values);
    Bits* to = static_cast<Bits*>(w.raw());
    for (int64_t group = 0; group < w.numel() / 4; ++group, to += 4) {
      const int both = places[group / 2] >> group % 2 * 4, first = both & 3, second = both >> 2 & 3;
      check(first < second, ErrorCode::Format, name, "meta: expected places that rise, group ", group, " has ", first, " and ", second);
      to[first] = *from++;
      to[second] = *from++;
    }
  });
}

}  // namespace

std::vector<NamedTensor> sparse_tensors(const std::string& name, const Tensor& w, SparseLayout layout) {
  check(w.defined() && w.rank() == 2, ErrorCode::Shape, name, "expected a matrix, got ", w.describe());
  check(is_stored_float(w.dtype()), ErrorCode::Type, name, "expected float32, bfloat16 or float16, got ", w.describe());
  check(is_weight(name), ErrorCode::Format, name, "expected a name that ends with \".weight\"");
  check(layout != SparseLayout::TwoFour || w.size(1) % 8 == 0, ErrorCode::Shape, name, "2:4: expected columns in multiples of 8, got ",
        w.describe());
  if (layout == SparseLayout::Dense) return {{name, w}};
  const std::string prefix = name.substr(0, name.size() - kWeight.size());
  std::vector<NamedTensor> parts = layout == SparseLayout::TwoFour ? two_four(prefix, w) : bitmask(prefix, w);
  parts.emplace_back(prefix + ".shape", Tensor::from(std::vector<int64_t>{w.size(0), w.size(1)}, {2}));
  return parts;
}

Shape check_sparse(const std::string& name, const Tensor& shape, const Tensor& values, const Tensor& places, bool meta) {
  check(shape.dtype() == DType::I64 && shape.numel() == 2, ErrorCode::Format, name, "shape: expected two int64, got ", shape.describe());
  const int64_t N = elements<int64_t>(shape)[0], K = elements<int64_t>(shape)[1];
  check(N > 0 && K > 0 && K <= INT64_MAX - 8, ErrorCode::Format, name, "shape: expected positive sizes, got ", N, " and ", K);
  const char* what = meta ? "meta" : "bitmask";
  const int64_t bytes = meta ? K / 8 : (K + 7) / 8;
  check(places.dtype() == DType::U8 && places.shape() == Shape{N, bytes} && (!meta || K % 8 == 0), ErrorCode::Format, name, what,
        ": expected uint8 ", Shape{N, bytes}, " for a weight of shape ", Shape{N, K}, ", got ", places.describe());
  check(is_stored_float(values.dtype()), ErrorCode::Format, name, "compressed: expected float32, bfloat16 or float16, got ",
        values.describe());
  check(!meta || values.numel() == N * (K / 2), ErrorCode::Format, name, "compressed: expected ", Shape{N, K / 2}, ", got ",
        values.describe());
  check(values.numel() / N <= K, ErrorCode::Format, name, "compressed: expected at most ", Shape{N, K}, ", got ", values.describe());
  return {N, K};
}

Tensor dense_from(const std::string& name, const Tensor& shape, const Tensor& values, const Tensor& places, bool meta) {
  Tensor w = Tensor::zeros(check_sparse(name, shape, values, places, meta), values.dtype());
  meta ? fill_from_meta(name, w, values, places) : fill_from_bitmask(name, w, values, places);
  return w;
}

int64_t rewrite_checkpoint(const std::string& from, const std::string& to, SparseLayout layout, double max_density) {
  const Checkpoint checkpoint = Checkpoint::open(from);
  std::vector<NamedTensor> tensors;
  int64_t compressed = 0, zeros = 0, elements = 0;
  for (const std::string& name : checkpoint.names()) {
    const Tensor t = checkpoint.get(name);
    bool fits = layout != SparseLayout::Dense && is_weight(name) && t.rank() == 2 && is_stored_float(t.dtype()) && t.numel() > 0;
    const int64_t ones = fits ? nonzeros(t) : 0;
    if (fits && layout == SparseLayout::TwoFour)
      fits = t.size(1) % 8 == 0 && not_two_four(t) < 0;
    else
      fits = fits && static_cast<double>(ones) <= max_density * static_cast<double>(t.numel());
    if (!fits) {
      tensors.emplace_back(name, t);
      continue;
    }
    for (NamedTensor& part : sparse_tensors(name, t, layout)) tensors.push_back(std::move(part));
    ++compressed;
    zeros += t.numel() - ones;
    elements += t.numel();
  }
  Json config = checkpoint.config();
  if (config.is_object()) {
    Json::Object kept = config.as_object();
    std::erase_if(kept, [](const auto& entry) { return entry.first == "compression_config"; });
    config = Json(std::move(kept));
  }
  if (compressed) {
    const bool pairs = layout == SparseLayout::TwoFour;
    Json sparsity(Json::Object{{"format", Json(pairs ? "sparse-24-meta" : "sparse-bitmask")},
                               {"sparsity_structure", Json(pairs ? "2:4" : "unstructured")},
                               {"global_sparsity", Json(static_cast<double>(zeros) / static_cast<double>(elements))}});
    config.set("compression_config",
               Json(Json::Object{{"quant_method", Json("compressed-tensors")}, {"sparsity_config", std::move(sparsity)}}));
  }
  save_checkpoint(to, config, tensors);
  return compressed;
}

}  // namespace tenon::io
