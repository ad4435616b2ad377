// Kernels over arrays with strides: NumPy's elementwise functions, and reductions.
#pragma once

#include <type_traits>

#include "block.h"
#include "tenon/core/arrays.h"

namespace tenon::cuda {

TENON_BODY float array_unary(Elementwise op, float x) {
  switch (op) {
    case Elementwise::Negative: return -x;
    case Elementwise::Absolute: return fabsf(x);
    case Elementwise::Sign: return x > 0 ? 1.0f : x < 0 ? -1.0f : x == 0 ? 0.0f : x;
    case Elementwise::Square: return x * x;
    case Elementwise::Reciprocal: return 1 / x;
    case Elementwise::Sqrt: return sqrtf(x);
    case Elementwise::Rsqrt: return 1 / sqrtf(x);
    case Elementwise::Exp: return expf(x);
    case Elementwise::Exp2: return exp2f(x);
    case Elementwise::Expm1: return expm1f(x);
    case Elementwise::Log: return logf(x);
    case Elementwise::Log2: return log2f(x);
    case Elementwise::Log10: return log10f(x);
    case Elementwise::Log1p: return log1pf(x);
    case Elementwise::Sin: return sinf(x);
    case Elementwise::Cos: return cosf(x);
    case Elementwise::Tan: return tanf(x);
    case Elementwise::Arcsin: return asinf(x);
    case Elementwise::Arccos: return acosf(x);
    case Elementwise::Arctan: return atanf(x);
    case Elementwise::Sinh: return sinhf(x);
    case Elementwise::Cosh: return coshf(x);
    case Elementwise::Tanh: return tanhf(x);
    case Elementwise::Sigmoid: {
      const float e = expf(-fabsf(x));
      return x >= 0 ? 1 / (1 + e) : e / (1 + e);
    }
    case Elementwise::Erf: return erff(x);
    case Elementwise::Floor: return floorf(x);
    case Elementwise::Ceil: return ceilf(x);
    case Elementwise::Trunc: return truncf(x);
    case Elementwise::Rint: return rintf(x);
    default: return x;
  }
}

TENON_BODY float array_binary(Elementwise op, float a, float b) {
  switch (op) {
    case Elementwise::Add: return a + b;
    case Elementwise::Subtract: return a - b;
    case Elementwise::Multiply: return a * b;
    case Elementwise::Divide: return a / b;
    case Elementwise::FloorDivide: {
      if (b == 0) return a / b;
      const float rest = fmodf(a, b);
      float quotient = (a - rest) / b;
      if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
      if (quotient == 0) return copysignf(0.0f, a / b);
      const float down = floorf(quotient);
      return quotient - down > 0.5f ? down + 1 : down;
    }
    case Elementwise::Remainder: {
      const float rest = fmodf(a, b);
      if (b == 0 || rest != rest) return rest;
      if (rest == 0) return copysignf(0.0f, b);
      return (b < 0) != (rest < 0) ? rest + b : rest;
    }
    case Elementwise::Fmod: return fmodf(a, b);
    case Elementwise::Power: return powf(a, b);
    case Elementwise::Maximum: return a >= b || a != a ? a : b;
    case Elementwise::Minimum: return a <= b || a != a ? a : b;
    case Elementwise::Arctan2: return atan2f(a, b);
    case Elementwise::Logaddexp: {
      if (a == b) return a + 0.69314718055994531f;  // ln 2; also for two infinities
      const float d = a - b;
      return d > 0 ? a + log1pf(expf(-d)) : d <= 0 ? b + log1pf(expf(d)) : d;
    }
    default: return a;
  }
}

TENON_BODY int64_t array_unary(Elementwise op, int64_t x) {
  const auto negative = static_cast<int64_t>(0 - static_cast<uint64_t>(x));
  switch (op) {
    case Elementwise::Negative: return negative;
    case Elementwise::Absolute: return x < 0 ? negative : x;
    case Elementwise::Sign: return x > 0 ? 1 : x < 0 ? -1 : 0;
    default: return x;
  }
}

/// A negative exponent leaves 0 of the fraction, but of 1 and -1 themselves.
TENON_BODY int64_t array_power(int64_t a, int64_t b) {
  if (b < 0) return a == 1 || a == -1 ? (b % 2 ? a : 1) : 0;
  uint64_t result = 1, base = static_cast<uint64_t>(a);
  for (auto e = static_cast<uint64_t>(b); e; e /= 2, base *= base)
    if (e % 2) result *= base;
  return static_cast<int64_t>(result);
}

/// Integers wrap around; a division by 0 gives 0.
TENON_BODY int64_t array_binary(Elementwise op, int64_t a, int64_t b) {
  const auto ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
  switch (op) {
    case Elementwise::Add: return static_cast<int64_t>(ua + ub);
    case Elementwise::Subtract: return static_cast<int64_t>(ua - ub);
    case Elementwise::Multiply: return static_cast<int64_t>(ua * ub);
    case Elementwise::FloorDivide:
      if (b == 0) return 0;
      if (b == -1) return static_cast<int64_t>(0 - ua);
      return a / b - (a % b != 0 && (a < 0) != (b < 0));
    case Elementwise::Remainder:
      if (b == 0 || b == -1) return 0;
      return a % b != 0 && (a < 0) != (b < 0) ? a % b + b : a % b;
    case Elementwise::Power: return array_power(a, b);
    case Elementwise::Maximum: return a > b ? a : b;
    case Elementwise::Minimum: return a < b ? a : b;
    case Elementwise::And: return a & b;
    case Elementwise::Or: return a | b;
    case Elementwise::Xor: return a ^ b;
    default: return a;
  }
}

TENON_BODY uint8_t array_unary(Elementwise, uint8_t x) { return x; }
TENON_BODY uint8_t array_binary(Elementwise op, uint8_t a, uint8_t b) {
  switch (op) {
    case Elementwise::And: case Elementwise::Minimum: return a && b;
    case Elementwise::Or: case Elementwise::Maximum: return a || b;
    case Elementwise::Xor: return !a != !b;
    default: return a;
  }
}

template <class T>
TENON_BODY bool array_truth(Elementwise op, T a, T b) {
  switch (op) {
    case Elementwise::IsNan: return a != a;
    case Elementwise::IsInf: return std::is_same_v<T, float> && fabsf(static_cast<float>(a)) == INFINITY;
    case Elementwise::Not: return a == T(0);
    case Elementwise::Equal: return a == b;
    case Elementwise::NotEqual: return a != b;
    case Elementwise::Less: return a < b;
    case Elementwise::LessEqual: return a <= b;
    case Elementwise::Greater: return a > b;
    default: return a >= b;
  }
}

template <class Y, class X>
TENON_BODY Y array_converted(X x) {
  if constexpr (std::is_same_v<Y, uint8_t>) return x != X(0);
  else if constexpr (std::is_same_v<Y, int64_t> && std::is_same_v<X, float>)
    return x >= -0x1p63f && x < 0x1p63f ? static_cast<int64_t>(x) : static_cast<int64_t>(uint64_t{1} << 63);
  else return static_cast<Y>(x);
}

/// Item i is element i of y. The launcher has joined dimensions that lie one behind the other: mostly there is one left.
template <class T>
struct ElementwiseBody {
  ElementwiseCall c;
  bool small;  // all indices fit into 32 bits, whose division is faster
  TENON_BODY void operator()(int64_t i) const {
    int64_t at[3] = {0, 0, 0};
    int64_t rest = i;
    for (int d = c.rank - 1; d >= 0; --d) {
      int64_t index = rest;
      if (d > 0) {
        const int64_t above = small ? static_cast<int64_t>(static_cast<uint32_t>(rest) / static_cast<uint32_t>(c.size[d])) : rest / c.size[d];
        index = rest - above * c.size[d], rest = above;
      }
      for (int k = 0; k < 3; ++k) at[k] += index * c.stride[k][d];
    }
    const int operands = operands_of(c.op);
    if (operands == 3) {
      const bool first = static_cast<const uint8_t*>(c.x[0])[at[0]] != 0;
      static_cast<T*>(c.y)[i] = first ? static_cast<const T*>(c.x[1])[at[1]] : static_cast<const T*>(c.x[2])[at[2]];
      return;
    }
    const T a = static_cast<const T*>(c.x[0])[at[0]], b = operands > 1 ? static_cast<const T*>(c.x[1])[at[1]] : T(0);
    if (gives_truth(c.op)) static_cast<uint8_t*>(c.y)[i] = array_truth<T>(c.op, a, b);
    else if (operands > 1) static_cast<T*>(c.y)[i] = array_binary(c.op, a, b);
    else if (c.op != Elementwise::Copy) static_cast<T*>(c.y)[i] = array_unary(c.op, a);
    else if (c.y_type == DType::F32) static_cast<float*>(c.y)[i] = array_converted<float>(a);
    else if (c.y_type == DType::I64) static_cast<int64_t*>(c.y)[i] = array_converted<int64_t>(a);
    else static_cast<uint8_t*>(c.y)[i] = array_converted<uint8_t>(a);
  }
};

/// What a reduction knows of some elements: their sum or product, or the extreme and where it is (-1: there were none).
template <class T>
struct Reduced {
  using Wide = std::conditional_t<std::is_same_v<T, float>, double, uint64_t>;
  Wide sum;
  T value;
  int64_t at;

  static TENON_BODY Reduced none(Reduce op) { return {Wide(op == Reduce::Prod ? 1 : 0), T(0), -1}; }
  /// Takes in another one; of equal extremes the first place wins.
  TENON_BODY void join(Reduce op, const Reduced& o) {
    if (op == Reduce::Sum) sum += o.sum;
    else if (op == Reduce::Prod) sum *= o.sum;
    else if (o.at >= 0 && (at < 0 || better(op, o))) value = o.value, at = o.at;
  }
  TENON_BODY void add(Reduce op, T x, int64_t i) { join(op, {Wide(x), x, i}); }
  TENON_BODY void write(const ReduceCall& c, int64_t to) const {
    if (c.op == Reduce::Sum || c.op == Reduce::Prod) static_cast<T*>(c.y)[to] = static_cast<T>(sum);
    else if (c.op == Reduce::Max || c.op == Reduce::Min) static_cast<T*>(c.y)[to] = value;
    else static_cast<int64_t*>(c.y)[to] = at;
  }

 private:
  TENON_BODY bool better(Reduce op, const Reduced& o) const {
    const bool nan = value != value, other_nan = o.value != o.value, largest = op == Reduce::Max || op == Reduce::ArgMax;
    if (nan || other_nan) return other_nan && (!nan || o.at < at);
    if (o.value == value) return o.at < at;
    return largest ? o.value > value : o.value < value;
  }
};

/// Columns, or rows so short that a thread has one each. Item i is one chunk of n of one result; with one chunk it is the result.
template <class T>
struct ReduceColumnsBody {
  ReduceCall c;
  Reduced<T>* partial;
  int64_t chunks, length;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t in = i % c.inner, chunk = i / c.inner % chunks, out = i / (c.inner * chunks);
    const int64_t begin = chunk * length, end = begin + length < c.n ? begin + length : c.n;
    const T* x = static_cast<const T*>(c.x) + out * c.n * c.inner + in;
    Reduced<T> r = Reduced<T>::none(c.op);
    for (int64_t k = begin; k < end; ++k) r.add(c.op, x[k * c.inner], k);
    if (chunks == 1) r.write(c, out * c.inner + in);
    else partial[(out * c.inner + in) * chunks + chunk] = r;
  }
};

/// Rows: block (chunk, row) has a chunk of one row.
template <class T>
struct ReduceRowsBody {
  static constexpr int kThreads = 256;
  static constexpr size_t kShared = kThreads * sizeof(Reduced<T>);
  ReduceCall c;
  Reduced<T>* partial;
  int64_t chunks, length;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    auto* part = reinterpret_cast<Reduced<T>*>(block.shared);
    const int64_t out = block.index / chunks, chunk = block.index % chunks;
    const int64_t begin = chunk * length, end = begin + length < c.n ? begin + length : c.n;
    const T* x = static_cast<const T*>(c.x) + out * c.n;
    block.each([&](int t) {
      Reduced<T> r = Reduced<T>::none(c.op);
      for (int64_t k = begin + t; k < end; k += kThreads) r.add(c.op, x[k], k);
      part[t] = r;
    });
    for (int half = kThreads / 2; half > 0; half /= 2)
      block.each([&](int t) {
        if (t < half) part[t].join(c.op, part[t + half]);
      });
    block.each([&](int t) {
      if (t != 0) return;
      if (chunks == 1) part[0].write(c, out);
      else partial[out * chunks + chunk] = part[0];
    });
  }
};

/// Item i is one result, of the chunks that the bodies above left.
template <class T>
struct ReduceChunksBody {
  ReduceCall c;
  const Reduced<T>* partial;
  int64_t chunks;
  TENON_BODY void operator()(int64_t i) const {
    Reduced<T> r = Reduced<T>::none(c.op);
    for (int64_t k = 0; k < chunks; ++k) r.join(c.op, partial[i * chunks + k]);
    r.write(c, i);
  }
};

}  // namespace tenon::cuda
