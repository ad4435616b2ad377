// exp, erf-based gelu, tanh and friends over lanes. The coefficients are minimax fits (weighted least squares, iterated) made for this
// file; the bounds beside them were measured over every step of the range.

template <int n>
inline vf polynomial(vf x, const float (&c)[n]) {
  vf p = set1(c[n - 1]);
  for (int i = n - 2; i >= 0; --i) p = fma(p, x, set1(c[i]));
  return p;
}

/// e^x within 1.1 ulp; 0 and inf beyond the range, NaN stays NaN.
inline vf exp(vf x) {
  constexpr float c[] = {
      1.0f, 1.0f, 0.4999999403953552f, 0.16666430234909058f, 0.04166800528764725f, 0.008374195545911789f, 0.0013843607157468796f};
  x = min(set1(89.0f), max(set1(-104.5f), x));  // both beyond where float32 overflows and vanishes
  const vf n = round_even(x * set1(1.4426950408889634f));
  // ln 2 in two parts, the first short enough for n * part to be exact
  const vf r = fnma(n, set1(-2.12194440e-4f), fnma(n, set1(0.693359375f), x));
  return scale2(polynomial(r, c), n);
}

/// 2^x for x <= 0 or -inf: within 2^-22 relative; with few terms 3e-6, enough for weights rounded to bf16.
template <bool few_terms = false>
inline vf exp2_negative(vf x) {
  constexpr float c5[] = {
      1.0f, 0.6931512951850891f, 0.24016444385051727f, 0.05579991266131401f, 0.009017030708491802f, 0.0018671300495043397f};
  constexpr float c4[] = {1.0f, 0.6930448412895203f, 0.241280198097229f, 0.052242472767829895f, 0.013426683843135834f};
  vf whole;
  const vf part = fraction(x, whole);
  if constexpr (few_terms)
    return scale2_floor(polynomial(part, c4), whole);
  else
    return scale2_floor(polynomial(part, c5), whole);
}

/// 1 / (1 + e^-x)
inline vf sigmoid(vf x) { return set1(1.0f) / (set1(1.0f) + exp(zero() - x)); }

/// Within 2.3 ulp.
inline vf tanh(vf x) {
  constexpr float c[] = {-0.3333328068256378f, 0.13331441581249237f, -0.05373971536755562f, 0.0206390880048275f, -0.005704987328499556f};
  const vf z = abs(x), square = x * x;
  const vf near_zero = fma(x * square, polynomial(square, c), x);
  const vf e = exp(min(set1(20.0f), z + z));  // tanh is 1 in float32 from 9.02 on
  const vf far = bit_or((e - set1(1.0f)) / (e + set1(1.0f)), bit_and(x, bits1(0x80000000u)));
  return select(less(z, set1(0.625f)), near_zero, far);
}

/// The normal distribution's upper tail Q(z) = erfc(z / sqrt 2) / 2 for z >= 0, relative error 4e-7 while it is a normal number, and
/// e^(-z^2 / 2), which its slope needs.
inline vf normal_tail(vf z, vf& gauss) {
  constexpr float c[] = {0.11961627751588821f,  0.12094910442829132f, 0.0987190529704094f,   0.13244079053401947f,
                         -0.06092112511396408f, 0.21413418114185333f, -0.16168001294136047f, 0.03674173355102539f};
  gauss = exp(z * z * set1(-0.5f));
  const vf t = set1(1.0f) / fma(z, set1(0.30000001192092896f), set1(1.0f));
  return gauss * t * polynomial(t, c);
}

/// x Phi(x) as max(x, 0) - |x| Q(|x|): no cancellation in either tail.
inline vf gelu(vf x) {
  vf gauss;
  const vf z = min(set1(15.0f), abs(x));  // Q(15) is 0 in float32, and inf * 0 is never formed
  return fnma(z, normal_tail(z, gauss), max(zero(), x));
}

constexpr float kTwiceSqrt2OverPi = 1.5957691216057308f, kGeluCubic = 0.044715f, kQuickGelu = 1.702f;

/// x times a sigmoid; the far left is 0, not -inf * 0.
inline vf gated(vf x, vf slope) { return x / (set1(1.0f) + exp(zero() - slope)); }
inline vf silu(vf x) { return gated(x, x); }
inline vf quick_gelu(vf x) { return gated(x, x * set1(kQuickGelu)); }
inline vf gelu_tanh_argument(vf x) { return x * set1(kTwiceSqrt2OverPi) * fma(x * x, set1(kGeluCubic), set1(1.0f)); }
inline vf gelu_tanh(vf x) { return gated(x, gelu_tanh_argument(x)); }  // (1 + tanh u) / 2 is sigmoid(2 u)
inline vf relu(vf x) { return max(zero(), x); }
