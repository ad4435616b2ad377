// Hopper's products of warpgroups on the CPU, for tests: descriptors are decoded, with their swizzle, as the hardware does. Products are done when
// they are waited for; until then their sums are a pattern that is NaN, and whoever touches them, or what a product reads, is found out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <vector>

#include "tenon/core/dtype.h"
#include "tenon/core/error.h"

namespace tenon::cuda {

class HostWgmma {
 public:
  /// The bytes of `rows` by K elements that a descriptor means, row by row. `from` is what the shared address 0 is.
  template <class E>
  static std::vector<uint8_t> factor(uint64_t descriptor, int rows, bool across, const char* from, size_t end) {
    constexpr int K = 32 / sizeof(E), kPerLine = 128 / sizeof(E);
    const auto field = [&](int bit) { return static_cast<size_t>(descriptor >> bit & 0x3fff) << 4; };
    const size_t begin = field(0), leading = field(16), stride = field(32);
    require(descriptor >> 62 == 1 && (descriptor >> 46 & 0xffff) == 0 && !(across && sizeof(E) == 1), "a descriptor that nobody decodes here");
    require(begin % 1024 == 0 || (!across && begin % 1024 < 128), "a matrix that does not begin in an atom's first line");
    std::vector<uint8_t> bytes(static_cast<size_t>(rows) * 32);
    constexpr int kPiece = 16 / sizeof(E);  // elements that lie beside each other
    for (int line = 0; line < (across ? K : rows); ++line)
      for (int along = 0; along < (across ? rows : K); along += kPiece) {
        size_t at = begin + static_cast<size_t>(line / 8) * stride + static_cast<size_t>(line % 8) * 128 +
                    (across ? static_cast<size_t>(along / kPerLine) * leading : 0) + static_cast<size_t>(along % kPerLine) * sizeof(E);
        at ^= (at >> 7 & 7) << 4;
        require(at + 16 <= end, "a matrix that ends behind the shared memory");
        for (int i = 0; i < (across ? kPiece : 1); ++i) {
          const int r = across ? along + i : line, k = across ? line : along;
          std::memcpy(&bytes[static_cast<size_t>(r * K + k) * sizeof(E)], from + at + static_cast<size_t>(i) * sizeof(E), across ? sizeof(E) : 16);
        }
      }
    return bytes;
  }
  /// The same of a's registers, regs(t) of 128 threads.
  template <class E, class Registers>
  static std::vector<uint8_t> factor(Registers&& regs) {
    constexpr int K = 32 / sizeof(E), kPer = 4 / sizeof(E);
    std::vector<uint8_t> bytes(64 * 32);
    for (int t = 0; t < 128; ++t)
      for (int i = 0; i < 4; ++i) {
        const int row = t / 32 * 16 + t % 32 / 4 + i % 2 * 8, k = (i / 2 * 4 + t % 4) * kPer;
        std::memcpy(&bytes[(static_cast<size_t>(row) * K + static_cast<size_t>(k)) * sizeof(E)], regs(t) + i, 4);
      }
    return bytes;
  }

  struct Product {
    int N = 0;
    bool add = false, waits = false;  // waits: its sums are those of a product before it that is not done
    std::function<std::vector<uint8_t>()> a, b;
    std::vector<uint8_t> a_bytes, b_bytes;  // as they were when it was asked for
    std::vector<float> x, y;                // as float32, (64,K) and (K,N)
    std::vector<float*> c;                  // of 128 threads
    std::vector<float> before;
  };

  template <class E>
  void ask(Product p) {
    p.a_bytes = p.a(), p.b_bytes = p.b();
    p.x = values<E>(p.a_bytes);
    const std::vector<float> rows = values<E>(p.b_bytes);
    const size_t N = static_cast<size_t>(p.N), K = rows.size() / N;
    p.y.resize(rows.size());
    for (size_t n = 0; n < N; ++n)
      for (size_t k = 0; k < K; ++k) p.y[k * N + n] = rows[n * K + k];
    const int each = p.N / 2;
    p.waits = is_pending(p.c[0][0]);
    for (float* c : p.c)
      for (int i = 0; i < each; ++i) {
        require(is_pending(c[i]) == p.waits, "sums of which some are another product's");
        if (p.waits) continue;
        p.before.push_back(c[i]);
        std::memcpy(c + i, &kPending, 4);
      }
    products_.push_back(std::move(p));
  }
  void commit() { groups_.push_back(products_.size()); }
  void wait(size_t newest) {
    if (groups_.size() <= newest) return;
    const size_t done = groups_.size() - newest, count = groups_[done - 1];
    for (size_t i = 0; i < count; ++i) {
      compute(products_[i]);
      pass_on(i);
    }
    products_.erase(products_.begin(), products_.begin() + static_cast<std::ptrdiff_t>(count));
    groups_.erase(groups_.begin(), groups_.begin() + static_cast<std::ptrdiff_t>(done));
    for (size_t& g : groups_) g -= count;
  }
  bool idle() const { return products_.empty(); }

  /// For tests of what is done about hardware that computes otherwise: sums are a little off.
  static bool& wrong() {
    static thread_local bool is = false;
    return is;
  }

  static void require(bool holds, const char* what) { check(holds, ErrorCode::Device, "wgmma", what); }

 private:
  static constexpr uint32_t kPending = 0x7fc0dead;
  static bool is_pending(float v) { return std::memcmp(&v, &kPending, 4) == 0; }

  template <class E>
  static std::vector<float> values(const std::vector<uint8_t>& bytes) {
    std::vector<E> elements(bytes.size() / sizeof(E));
    std::memcpy(static_cast<void*>(elements.data()), bytes.data(), bytes.size());
    std::vector<float> floats;
    for (const E e : elements) {
      if constexpr (std::is_same_v<E, float8>) floats.push_back(f8e4m3_to_float(e.bits));
      else floats.push_back(static_cast<float>(e));
    }
    return floats;
  }

  static void compute(const Product& p) {
    require(p.a() == p.a_bytes && p.b() == p.b_bytes, "factors that were changed before their product was waited for");
    const size_t K = p.x.size() / 64, N = static_cast<size_t>(p.N);
    for (size_t row = 0; row < 64; ++row)
      for (size_t n = 0; n < N; n += 8) {
        float* c[8];
        float sum[8];
        for (size_t i = 0; i < 8; ++i) {
          const size_t t = row / 16 * 32 + row % 8 * 4 + i / 2, at = n / 2 + row % 16 / 8 * 2 + i % 2;
          c[i] = p.c[t] + at;
          require(p.waits || is_pending(*c[i]), "sums that were touched before they were waited for");
          sum[i] = !p.add ? 0 : p.waits ? *c[i] : p.before[t * (N / 2) + at];
        }
        for (size_t k = 0; k < K; ++k) {
          const float x = p.x[row * K + k];
          for (size_t i = 0; i < 8; ++i) sum[i] += x * p.y[k * N + n + i];
        }
        for (size_t i = 0; i < 8; ++i) *c[i] = wrong() ? sum[i] * 1.25f : sum[i];
      }
  }

  /// Sums that a later product adds to stay nobody's: it has them from here.
  void pass_on(size_t i) {
    const Product& done = products_[i];
    const auto next = std::find_if(products_.begin() + static_cast<std::ptrdiff_t>(i) + 1, products_.end(), [&](const Product& p) { return p.c == done.c; });
    if (next == products_.end()) return;
    next->waits = false;
    for (float* c : done.c)
      for (int k = 0; k < done.N / 2; ++k) {
        next->before.push_back(c[k]);
        std::memcpy(c + k, &kPending, 4);
      }
  }

  std::vector<Product> products_;
  std::vector<size_t> groups_;  // how many products were asked for up to each commit
};

}  // namespace tenon::cuda
