// Tensor dimensions. Letters used everywhere: B batch, T query length, S key length, C model width, H heads, D head width,
// F feed-forward width, V vocabulary, P image patches, N rows after flattening; M, N, K in matmul files only.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <string>

#include "tenon/core/error.h"

namespace tenon {

/// Up to 8 dimensions, row-major. An empty Shape is a scalar.
class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) {
    for (int64_t d : dims) append(d);
  }
  template <class Iterator>
  Shape(Iterator first, Iterator last) {
    for (; first != last; ++first) append(static_cast<int64_t>(*first));
  }

  void append(int64_t d) {
    check(rank_ < kMaxRank, ErrorCode::Limit, "shape", "more than ", kMaxRank, " dimensions");
    check(d >= 0, ErrorCode::Shape, "shape", "negative size ", d);
    dims_[rank_++] = d;
  }
  int rank() const { return rank_; }
  /// Size of dimension i; negative i counts from the end.
  int64_t operator[](int i) const {
    const int j = i < 0 ? i + rank_ : i;
    check(j >= 0 && j < rank_, ErrorCode::Shape, "shape", "dimension ", i, " of ", str());
    return dims_[j];
  }
  /// Product of all sizes. Errors: Error(Limit) if it overflows.
  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < rank_; ++i)
      check(!__builtin_mul_overflow(n, dims_[i], &n), ErrorCode::Limit, "shape", "too many elements in ", str());
    return n;
  }
  const int64_t* begin() const { return dims_.data(); }
  const int64_t* end() const { return dims_.data() + rank_; }
  bool operator==(const Shape& o) const { return rank_ == o.rank_ && std::equal(begin(), end(), o.begin()); }

  /// "(2, 3)" as Python writes it.
  std::string str() const {
    std::string s = "(";
    for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(dims_[i]);
    return s + (rank_ == 1 ? ",)" : ")");
  }
  friend std::ostream& operator<<(std::ostream& out, const Shape& s) { return out << s.str(); }

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace tenon
