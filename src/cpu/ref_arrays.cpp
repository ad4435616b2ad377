// The ref kernels over arrays with strides: NumPy's elementwise functions, and reductions.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include "cpu/ref.h"
#include "tenon/core/arrays.h"

namespace tenon {
namespace {

using enum Elementwise;

float sign_of(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? 0.0f : x; }
float sigmoid(float x) {
  const float e = std::exp(-std::fabs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

float unary(Elementwise op, float x) {
  switch (op) {
    case Negative: return -x;
    case Absolute: return std::fabs(x);
    case Sign: return sign_of(x);
    case Square: return x * x;
    case Reciprocal: return 1 / x;
    case Sqrt: return std::sqrt(x);
    case Rsqrt: return 1 / std::sqrt(x);
    case Exp: return std::exp(x);
    case Exp2: return std::exp2(x);
    case Expm1: return std::expm1(x);
    case Log: return std::log(x);
    case Log2: return std::log2(x);
    case Log10: return std::log10(x);
    case Log1p: return std::log1p(x);
    case Sin: return std::sin(x);
    case Cos: return std::cos(x);
    case Tan: return std::tan(x);
    case Arcsin: return std::asin(x);
    case Arccos: return std::acos(x);
    case Arctan: return std::atan(x);
    case Sinh: return std::sinh(x);
    case Cosh: return std::cosh(x);
    case Tanh: return std::tanh(x);
    case Sigmoid: return sigmoid(x);
    case Erf: return std::erf(x);
    case Floor: return std::floor(x);
    case Ceil: return std::ceil(x);
    case Trunc: return std::trunc(x);
    case Rint: return std::nearbyint(x);
    default: return x;
  }
}

/// The remainder takes the divisor's sign; the quotient is what belongs to it, rounded down.
float remainder_of(float a, float b) {
  const float rest = std::fmod(a, b);
  if (b == 0 || rest != rest) return rest;
  if (rest == 0) return std::copysign(0.0f, b);
  return (b < 0) != (rest < 0) ? rest + b : rest;
}
float floor_divide(float a, float b) {
  if (b == 0) return a / b;
  const float rest = std::fmod(a, b);
  float quotient = (a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
  if (quotient == 0) return std::copysign(0.0f, a / b);
  const float down = std::floor(quotient);
  return quotient - down > 0.5f ? down + 1 : down;
}

float binary(Elementwise op, float a, float b) {
  switch (op) {
    case Add: return a + b;
    case Subtract: return a - b;
    case Multiply: return a * b;
    case Divide: return a / b;
    case FloorDivide: return floor_divide(a, b);
    case Remainder: return remainder_of(a, b);
    case Fmod: return std::fmod(a, b);
    case Power: return std::pow(a, b);
    case Maximum: return a >= b || a != a ? a : b;
    case Minimum: return a <= b || a != a ? a : b;
    case Arctan2: return std::atan2(a, b);
    case Logaddexp: {
      if (a == b) return a + 0.69314718055994531f;  // ln 2; also for two infinities
      const float d = a - b;
      return d > 0 ? a + std::log1p(std::exp(-d)) : d <= 0 ? b + std::log1p(std::exp(d)) : d;
    }
    default: return a;
  }
}

/// Integers wrap around; a division by 0 gives 0.
int64_t wrapped(uint64_t x) { return static_cast<int64_t>(x); }
int64_t power(int64_t a, int64_t b) {
  if (b < 0) return a == 1 || a == -1 ? (b % 2 ? a : 1) : 0;
  uint64_t result = 1;
  for (uint64_t base = static_cast<uint64_t>(a), e = static_cast<uint64_t>(b); e; e /= 2, base *= base)
    if (e % 2) result *= base;
  return wrapped(result);
}
int64_t unary(Elementwise op, int64_t x) {
  switch (op) {
    case Negative: return wrapped(0 - static_cast<uint64_t>(x));
    case Absolute: return x < 0 ? wrapped(0 - static_cast<uint64_t>(x)) : x;
    case Sign: return x > 0 ? 1 : x < 0 ? -1 : 0;
    default: return x;
  }
}
int64_t binary(Elementwise op, int64_t a, int64_t b) {
  const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  switch (op) {
    case Add: return wrapped(ua + ub);
    case Subtract: return wrapped(ua - ub);
    case Multiply: return wrapped(ua * ub);
    case FloorDivide:
      if (b == 0) return 0;
      if (b == -1) return wrapped(0 - ua);
      return a / b - (a % b != 0 && (a < 0) != (b < 0));
    case Remainder:
      if (b == 0 || b == -1) return 0;
      return a % b != 0 && (a < 0) != (b < 0) ? a % b + b : a % b;
    case Power: return power(a, b);
    case Maximum: return a > b ? a : b;
    case Minimum: return a < b ? a : b;
    case And: return a & b;
    case Or: return a | b;
    case Xor: return a ^ b;
    default: return a;
  }
}

uint8_t unary(Elementwise, uint8_t x) { return x; }
uint8_t binary(Elementwise op, uint8_t a, uint8_t b) {
  switch (op) {
    case And: case Minimum: return a && b;
    case Or: case Maximum: return a || b;
    case Xor: return !a != !b;
    default: return a;
  }
}

template <class T>
bool truth(Elementwise op, T a, T b) {
  switch (op) {
    case IsNan: return a != a;
    case IsInf: return std::is_same_v<T, float> && std::isinf(static_cast<float>(a));
    case Not: return a == 0;
    case Equal: return a == b;
    case NotEqual: return a != b;
    case Less: return a < b;
    case LessEqual: return a <= b;
    case Greater: return a > b;
    default: return a >= b;
  }
}

template <class Y, class X>
Y converted(X x) {
  if constexpr (std::is_same_v<Y, uint8_t>) return x != 0;
  else if constexpr (std::is_same_v<Y, int64_t> && std::is_same_v<X, float>)  // what does not fit becomes the least, as on x86
    return x >= -0x1p63f && x < 0x1p63f ? static_cast<int64_t>(x) : std::numeric_limits<int64_t>::min();
  else return static_cast<Y>(x);
}

template <class T>
T element(const ElementwiseCall& c, int operand, int64_t offset) {
  return static_cast<const T*>(c.x[operand])[offset];
}

template <class T>
void compute(const ElementwiseCall& c, int64_t i, const int64_t* at) {
  const int operands = operands_of(c.op);
  if (c.op == Where) {
    static_cast<T*>(c.y)[i] = element<uint8_t>(c, 0, at[0]) ? element<T>(c, 1, at[1]) : element<T>(c, 2, at[2]);
    return;
  }
  const T a = element<T>(c, 0, at[0]), b = operands > 1 ? element<T>(c, 1, at[1]) : T{};
  if (gives_truth(c.op)) static_cast<uint8_t*>(c.y)[i] = truth(c.op, a, b);
  else if (c.op == Copy && c.y_type == DType::F32) static_cast<float*>(c.y)[i] = converted<float>(a);
  else if (c.op == Copy && c.y_type == DType::I64) static_cast<int64_t*>(c.y)[i] = converted<int64_t>(a);
  else if (c.op == Copy) static_cast<uint8_t*>(c.y)[i] = converted<uint8_t>(a);
  else static_cast<T*>(c.y)[i] = operands > 1 ? binary(c.op, a, b) : unary(c.op, a);
}

template <class T>
void walk(const ElementwiseCall& c) {
  int64_t n = 1, index[kMostDims] = {}, at[3] = {};
  for (int d = 0; d < c.rank; ++d) n *= c.size[d];
  for (int64_t i = 0; i < n; ++i) {
    compute<T>(c, i, at);
    for (int d = c.rank - 1; d >= 0; --d) {
      for (int k = 0; k < 3; ++k) at[k] += c.stride[k][d];
      if (++index[d] < c.size[d]) break;
      for (int k = 0; k < 3; ++k) at[k] -= c.stride[k][d] * c.size[d];
      index[d] = 0;
    }
  }
}

void elementwise(const ElementwiseCall& c) {
  if (c.type == DType::F32) walk<float>(c);
  else if (c.type == DType::I64) walk<int64_t>(c);
  else walk<uint8_t>(c);
}

/// Sums and products of float32 in double.
template <class T>
void reduce_to(const ReduceCall& c) {
  using Wide = std::conditional_t<std::is_same_v<T, float>, double, uint64_t>;
  for (int64_t o = 0; o < c.outer; ++o)
    for (int64_t i = 0; i < c.inner; ++i) {
      const T* x = static_cast<const T*>(c.x) + o * c.n * c.inner + i;
      const int64_t to = o * c.inner + i;
      if (c.op == Reduce::Sum || c.op == Reduce::Prod) {
        Wide sum = c.op == Reduce::Sum ? 0 : 1;
        for (int64_t k = 0; k < c.n; ++k) sum = c.op == Reduce::Sum ? sum + static_cast<Wide>(x[k * c.inner]) : sum * static_cast<Wide>(x[k * c.inner]);
        static_cast<T*>(c.y)[to] = static_cast<T>(sum);
        continue;
      }
      const bool largest = c.op == Reduce::Max || c.op == Reduce::ArgMax;
      int64_t best = 0;
      for (int64_t k = 1; k < c.n; ++k) {
        const T a = x[k * c.inner], b = x[best * c.inner];
        if (b == b && (a != a || (largest ? a > b : a < b))) best = k;
      }
      if (c.op == Reduce::Max || c.op == Reduce::Min) static_cast<T*>(c.y)[to] = x[best * c.inner];
      else static_cast<int64_t*>(c.y)[to] = best;
    }
}

void reduce(const ReduceCall& c) {
  if (c.type == DType::F32) reduce_to<float>(c);
  else reduce_to<int64_t>(c);
}

template <class T>
void sort_rows_of(const SortCall& c) {
  std::vector<int64_t> order(static_cast<size_t>(c.C));
  for (int64_t n = 0; n < c.N; ++n) {
    const T* x = static_cast<const T*>(c.x) + n * c.C;
    std::iota(order.begin(), order.end(), int64_t{0});
    const auto less = [&](int64_t a, int64_t b) { return x[a] < x[b] || (x[a] == x[a] && x[b] != x[b]); };
    if (c.descending) std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return less(b, a); });
    else std::stable_sort(order.begin(), order.end(), less);
    for (int64_t i = 0; i < c.C; ++i) {
      if (c.y) static_cast<T*>(c.y)[n * c.C + i] = x[order[static_cast<size_t>(i)]];
      if (c.index) c.index[n * c.C + i] = order[static_cast<size_t>(i)];
    }
  }
}

void sort_rows(const SortCall& c) {
  if (c.type == DType::F32) sort_rows_of<float>(c);
  else sort_rows_of<int64_t>(c);
}

/// Those of float32 in double.
template <class T>
void scan_of(const ScanCall& c) {
  using Wide = std::conditional_t<std::is_same_v<T, float>, double, uint64_t>;
  for (int64_t o = 0; o < c.outer; ++o)
    for (int64_t i = 0; i < c.inner; ++i) {
      Wide sum = c.product ? 1 : 0;
      for (int64_t k = 0; k < c.n; ++k) {
        const int64_t at = (o * c.n + k) * c.inner + i;
        const auto x = static_cast<Wide>(static_cast<const T*>(c.x)[at]);
        sum = c.product ? sum * x : sum + x;
        static_cast<T*>(c.y)[at] = static_cast<T>(sum);
      }
    }
}

void scan(const ScanCall& c) {
  if (c.type == DType::F32) scan_of<float>(c);
  else scan_of<int64_t>(c);
}

}  // namespace

void fill_ref_arrays(Kernels& k) {
  k.elementwise = elementwise;
  k.reduce = reduce;
  k.sort_rows = sort_rows;
  k.scan = scan;
}

}  // namespace tenon
