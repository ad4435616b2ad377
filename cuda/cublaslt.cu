// Products through cuBLASLt. Its choice of a kernel is asked for once per shape and kept.
#include <cublasLt.h>

#include <array>
#include <map>
#include <string>

#include "gemm.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

constexpr size_t kWorkspace = size_t{32} << 20;

void check_cublas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  fail(status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorCode::Memory : ErrorCode::Device, "matmul", "cuBLASLt: ", what, ": ",
       cublasLtGetStatusString(status));
}

cudaDataType_t type_of(DType t) { return t == DType::BF16 ? CUDA_R_16BF : t == DType::F16 ? CUDA_R_16F : CUDA_R_32F; }

/// The descriptions of a product, given back at the end of a scope.
struct Descriptions {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;

  explicit Descriptions(const Gemm& g) {
    check_cublas(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
    const cublasOperation_t op_a = g.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N, op_b = g.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    set(CUBLASLT_MATMUL_DESC_TRANSA, op_a), set(CUBLASLT_MATMUL_DESC_TRANSB, op_b);
    if (g.bias) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue), set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, g.bias);
    }
    layout(&a, g.type, g.trans_a ? g.k : g.m, g.trans_a ? g.m : g.k, g.lda);
    layout(&b, g.type, g.trans_b ? g.n : g.k, g.trans_b ? g.k : g.n, g.ldb);
    layout(&d, g.d_type, g.m, g.n, g.ldd);
  }
  ~Descriptions() {
    if (preference) cublasLtMatmulPreferenceDestroy(preference);
    for (cublasLtMatrixLayout_t l : {a, b, d})
      if (l) cublasLtMatrixLayoutDestroy(l);
    if (product) cublasLtMatmulDescDestroy(product);
  }
  Descriptions(const Descriptions&) = delete;
  Descriptions& operator=(const Descriptions&) = delete;

 private:
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    check_cublas(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof(value)), "description");
  }
  static void layout(cublasLtMatrixLayout_t* l, DType type, int64_t rows, int64_t columns, int64_t ld) {
    check_cublas(cublasLtMatrixLayoutCreate(l, type_of(type), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), ld), "layout");
  }
};

/// The largest power of two up to 256 that divides an address: kernels differ in what they ask for.
uint32_t alignment_of(const void* p) {
  uint32_t bytes = 256;
  while (reinterpret_cast<uintptr_t>(p) % bytes) bytes /= 2;
  return bytes;
}

using Key = std::array<int64_t, 15>;

Key key_of(const Gemm& g, int device) {
  return {device, g.m, g.n, g.k, g.lda, g.ldb, g.ldd, g.trans_a, g.trans_b, static_cast<int64_t>(g.type), static_cast<int64_t>(g.d_type),
          g.bias != nullptr, alignment_of(g.a), alignment_of(g.b), alignment_of(g.d) | static_cast<int64_t>(alignment_of(g.c)) << 32};
}

cublasLtMatmulAlgo_t choose(cublasLtHandle_t handle, const Gemm& g, Descriptions& descriptions) {
  check_cublas(cublasLtMatmulPreferenceCreate(&descriptions.preference), "preference");
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check_cublas(cublasLtMatmulPreferenceSetAttribute(descriptions.preference, attribute, &value, sizeof(value)), "preference");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspace);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(g.a)), set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(g.b));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(g.c)), set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(g.d));
  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  check_cublas(cublasLtMatmulAlgoGetHeuristic(handle, descriptions.product, descriptions.a, descriptions.b, descriptions.d, descriptions.d,
                                              descriptions.preference, 1, &result, &found),
               "choice of a kernel");
  check(found > 0, ErrorCode::Device, "matmul", "cuBLASLt has no kernel for M ", g.n, ", N ", g.m, ", K ", g.k);
  return result.algo;
}

}  // namespace

/// Handles and choices belong to the thread: nothing is locked.
void gemm(const Gemm& g) {
  thread_local std::map<int, cublasLtHandle_t> handles;  // few, and kept until the process ends: CUDA may be gone before a thread
  thread_local std::map<Key, cublasLtMatmulAlgo_t> choices;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "matmul");
  cublasLtHandle_t& handle = handles[device];
  if (!handle) check_cublas(cublasLtCreate(&handle), "handle");
  Descriptions descriptions(g);
  const Key key = key_of(g, device);
  auto choice = choices.find(key);
  if (choice == choices.end()) {
    if (choices.size() > 4096) choices.clear();  // ragged row counts would fill it without end
    choice = choices.emplace(key, choose(handle, g, descriptions)).first;
  }
  const Scratch workspace(kWorkspace);
  const float one = 1;
  check_cublas(cublasLtMatmul(handle, descriptions.product, &one, g.a, descriptions.a, g.b, descriptions.b, &g.beta, g.c, descriptions.d,
                              g.d, descriptions.d, &choice->second, workspace.as<void>(), kWorkspace, current_stream()),
               "product");
}

}  // namespace tenon::cuda
