// Float formats of panel.inl.h in the vocabulary of vec.h alone.

/// Units of one float32 of a row, against weights stored as Element and widened as they are loaded.
template <class Element, WeightFormat format>
struct FloatPanels {
  static constexpr WeightFormat kFormat = format;
  static constexpr int kPerUnit = 1, kWeightBytes = sizeof(Element);
  static constexpr bool kScaled = false, kFine = true;
  using Sum = vf;
  using Weights = vf;

  static vf zero_sum() { return zero(); }
  static vf load_weights(const char* p) { return load(reinterpret_cast<const Element*>(p), Full{}); }
  static vf broadcast(const char* unit) {
    float x;
    __builtin_memcpy(&x, unit, 4);
    return set1(x);
  }
  static vf multiply_add(vf sum, vf w, vf x) { return fma(w, x, sum); }
  static vf add(vf a, vf b) { return a + b; }
  static vf load_sum(const char* p) { return load(reinterpret_cast<const float*>(p), Full{}); }
  static void store_sum(char* p, vf sum) { store(reinterpret_cast<float*>(p), sum, Full{}); }
  static vf value(vf sum, vf, vf bias, const RowsView&, int64_t) { return sum + bias; }

  static float scale_of(const void*, DType, int64_t, int64_t) { return 1; }
  static vf weight_units(const void* w, DType type, int64_t i, int64_t k, int64_t K, float) { return load_as(w, type, i + k, K - k); }
  static vf no_weight() { return zero(); }
  static void store_units(char* to, vf v) { store(reinterpret_cast<Element*>(to), v, Full{}); }
  static float weight(const char* unit, int64_t, const float*, int64_t) {
    uint32_t bits = 0;
    __builtin_memcpy(reinterpret_cast<char*>(&bits) + 4 - kWeightBytes, unit, kWeightBytes);  // bf16 is the upper half
    float w;
    __builtin_memcpy(&w, &bits, 4);
    return w;
  }

  static bool reads(DType type) { return type == DType::F32; }
  static void prepare_row(const RowsView& rows, int64_t m, const void* x, DType type, int64_t K) {
    float* to = reinterpret_cast<float*>(rows.data + m * rows.stride);
    for (int64_t k = 0; k < rows.stride / 4; k += kLanes) store(to + k, load_as(x, type, m * K + k, K - k), Full{});
  }
};

using Float32 = FloatPanels<float, WeightFormat::F32>;
using WidenedBfloat16 = FloatPanels<bfloat16, WeightFormat::BF16>;
