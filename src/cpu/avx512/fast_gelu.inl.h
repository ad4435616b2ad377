// A fast gelu for the epilogue of low-precision formats, exact to 5e-6: less than int8's error and bf16's step. Textual, after
// generic/math.inl.h.

/// Both gelus are max(x, 0) - h(|x|) with a small bump h that has vanished at |x| = 5.1. h is a cubic in each of 16 intervals of width
/// 0.34 centred on i * 0.34, coefficient j of all intervals in row j: four permutes and few multiplications, where erf or exp would
/// take 15 operations of the pipes that the products need.
alignas(64) constexpr float kGeluErf[4][16] = {
    {-4.24369944e-07f, 0.124750398f, 0.168810204f, 0.156943753f, 0.118208125f, 0.0757644996f, 0.0421790257f, 0.0206024051f, 0.00887805037f,
     0.00338603882f, 0.00114525587f, 0.000343955384f, 9.18030055e-05f, 2.17879096e-05f, 4.59991907e-06f, 8.64134677e-07f},
    {0.170027316f, 0.0812304318f, 0.0112127671f, -0.029921351f, -0.0436117761f, -0.0392091274f, -0.0275130365f, -0.0160665605f,
     -0.00801932625f, -0.00346811046f, -0.00130976911f, -0.000434089976f, -0.000126669736f, -3.26189547e-05f, -7.42495149e-06f,
     -1.49583343e-06f},
    {-0.0463919416f, -0.0408444963f, -0.0280937403f, -0.0132244695f, -0.00149659906f, 0.00473519089f, 0.00616784394f, 0.00496364851f,
     0.00308946334f, 0.00158608984f, 0.000690608227f, 0.000258827873f, 8.42379086e-05f, 2.39453038e-05f, 5.96863538e-06f, 1.30833291e-06f},
    {0.000881479587f, 0.00322732539f, 0.00494908541f, 0.00466317404f, 0.00302788266f, 0.00117479649f, -9.25189088e-05f, -0.000599884836f,
     -0.00059440796f, -0.000397687283f, -0.000208925776f, -9.07303474e-05f, -3.33717617e-05f, -1.05391337e-05f, -2.88233809e-06f,
     -6.8660006e-07f}};
alignas(64) constexpr float kGeluTanh[4][16] = {
    {-4.26334111e-07f, 0.124754451f, 0.168860555f, 0.157103509f, 0.118441716f, 0.0758972466f, 0.0420463569f, 0.0202157646f, 0.008405203f,
     0.00299664238f, 0.000905522669f, 0.000228779725f, 4.76148089e-05f, 8.03734383e-06f, 1.08284178e-06f, 1.14545337e-07f},
    {0.17002745f, 0.0812460333f, 0.011295707f, -0.0298034362f, -0.0436093062f, -0.0394119509f, -0.0278078001f, -0.0162510984f,
     -0.00800811127f, -0.00333199161f, -0.00116258475f, -0.000336364959f, -7.96120876e-05f, -1.51888389e-05f, -2.30014052e-06f,
     -2.72136447e-07f},
    {-0.0463932417f, -0.0408231728f, -0.0280574467f, -0.0132403439f, -0.00158954691f, 0.00464663887f, 0.00617452199f, 0.00505331252f,
     0.00317784888f, 0.00161842839f, 0.000675757357f, 0.000230725636f, 6.3838881e-05f, 1.41439086e-05f, 2.47603748e-06f, 3.37707888e-07f},
    {0.000885718851f, 0.00323784072f, 0.00494431378f, 0.00463570561f, 0.003010944f, 0.00119525997f, -5.61455709e-05f, -0.000585265632f,
     -0.000607751135f, -0.000417796167f, -0.000218976435f, -9.04468616e-05f, -2.95811369e-05f, -7.61921274e-06f, -1.53066719e-06f,
     -2.37049321e-07f}};
constexpr float kBumpStep = 0.34f, kBumpEnd = 15 * kBumpStep;

inline vf gelu_bump(vf x, const float (&table)[4][16]) {
  const vf round = set1(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const vf t = min(abs(x), set1(kBumpEnd)), shifted = fma(t, set1(1 / kBumpStep), round);
  const vf u = fma(t, set1(1 / kBumpStep), round - shifted);
  const __m512i i = _mm512_castps_si512(shifted);
  vf h = _mm512_permutexvar_ps(i, _mm512_load_ps(table[3]));
  for (int c = 2; c >= 0; --c) h = fma(h, u, _mm512_permutexvar_ps(i, _mm512_load_ps(table[c])));
  return relu(x) - h;
}

struct FastGelu {
  static vf fast_gelu(vf x) { return gelu_bump(x, kGeluErf); }
  static vf fast_gelu_tanh(vf x) { return gelu_bump(x, kGeluTanh); }
};
