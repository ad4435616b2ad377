// That the linear reads and writes nothing behind its operands: each ends where a page ends that nobody may touch. Sanitizers do not see
// loads of tile registers.
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <memory>
#include <vector>

#include "agree.h"

using namespace tenon;

namespace {

/// n bytes, a multiple of 64, before a page that faults.
class Fenced {
 public:
  explicit Fenced(size_t n) : n_(n) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    bytes_ = (n + page - 1) / page * page + page;
    start_ = static_cast<char*>(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(start_ != MAP_FAILED);
    REQUIRE(mprotect(start_ + bytes_ - page, page, PROT_NONE) == 0);
    data_ = start_ + bytes_ - page - n;
  }
  ~Fenced() { munmap(start_, bytes_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  template <class T = void>
  T* data() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  size_t n_, bytes_;
  char *start_, *data_;
};

size_t lines(size_t n) { return (n + 63) / 64 * 64; }

struct Way {
  const char* name;
  WeightFormat format;
  bool int8_rows;
};
constexpr Way kWays[] = {{"float32", WeightFormat::F32, false},     {"bf16", WeightFormat::BF16, false},
                         {"int8", WeightFormat::Int8, false},       {"int4", WeightFormat::Int4, false},
                         {"int4 x int8", WeightFormat::Int4, true}, {"fp8", WeightFormat::Fp8, false}};
constexpr int64_t kN = 80, kK = 128, kGroup = 64, kExperts = 3;

/// The experts' weights as a table packs them.
struct Weights {
  std::vector<std::unique_ptr<Fenced>> packed;
  std::vector<std::vector<float>> scales;  // int8

  Weights(const Kernels& k, const Way& way) {
    for (int64_t e = 0; e < kExperts; ++e) {
      if (grouped(way)) {
        std::vector<uint8_t> codes(static_cast<size_t>(kN * kK)), zeros(static_cast<size_t>(kN * kK / kGroup), 7);
        for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>((i * 37 + static_cast<size_t>(e) * 11) % 113);
        const std::vector<float> scale(zeros.size(), 0.01f);
        QuantizedRows w;
        w.format = way.format, w.N = kN, w.K = kK, w.group = kGroup;
        w.q = codes.data(), w.scale = scale.data(), w.zero = zeros.data();
        packed.push_back(std::make_unique<Fenced>(lines(k.quantized_packed_bytes(way.format, kN, kK, kGroup))));
        k.quantized_pack(packed.back()->data(), w, 2);
      } else {
        const std::vector<float> w = agree::normal(static_cast<size_t>(kN * kK), static_cast<unsigned>(e + 1), 0.1f);
        packed.push_back(std::make_unique<Fenced>(lines(k.linear_packed_bytes(way.format, kN, kK))));
        scales.emplace_back(static_cast<size_t>(kN));
        k.linear_pack(packed.back()->data(), scales.back().data(), w.data(), DType::F32, way.format, kN, kK, 2);
      }
    }
  }
  static bool grouped(const Way& way) { return way.format == WeightFormat::Int4 || way.format == WeightFormat::Fp8; }
};

/// y (M,N) of a table; the rows are cut between the experts at ends that are no multiples of anything.
std::vector<float> run(const Kernels& k, const Way& way, const Weights& w, int64_t M, int64_t experts, DType type) {
  const std::vector<float> values = agree::normal(static_cast<size_t>(M * kK), 9);
  const Fenced x(static_cast<size_t>(M * kK) * size_of(type)), y(static_cast<size_t>(M * kN) * size_of(type));
  for (size_t i = 0; i < values.size(); ++i)
    type == DType::F32 ? void(x.data<float>()[i] = values[i]) : void(x.data<bfloat16>()[i] = bfloat16::from(values[i]));
  std::vector<LinearBlock> blocks;
  for (int64_t e = 0; e < experts; ++e)
    blocks.push_back({M * e / experts, M * (e + 1) / experts, w.packed[static_cast<size_t>(e)]->data(),
                      way.format == WeightFormat::Int8 ? w.scales[static_cast<size_t>(e)].data() : nullptr});
  LinearCall c;
  c.y = y.data(), c.x = x.data(), c.type = type, c.format = way.format, c.int8_rows = way.int8_rows;
  c.group = Weights::grouped(way) ? kGroup : 0;
  c.M = M, c.N = kN, c.K = kK, c.threads = 2;
  if (experts > 1)
    c.blocks = blocks.data(), c.num_blocks = experts;
  else
    c.w = blocks[0].w, c.w_scale = blocks[0].w_scale;
  const Fenced scratch(lines(k.linear_scratch(c)));
  c.scratch = scratch.data();
  k.linear(c);
  std::vector<float> out(static_cast<size_t>(M * kN));
  for (size_t i = 0; i < out.size(); ++i) out[i] = type == DType::F32 ? y.data<float>()[i] : static_cast<float>(y.data<bfloat16>()[i]);
  return out;
}

/// body(rows, experts, type of rows)
template <class Body>
void for_cases(Body&& body) {
  for (const DType type : {DType::F32, DType::BF16})
    for (const int64_t M : {1, 2, 5, 15, 17, 33, 80})
      for (const int64_t experts : {int64_t{1}, kExperts}) body(M, experts, type);
}

}  // namespace

TEST_CASE("the linear touches nothing behind its operands, whatever the number of rows and where experts end") {
  for (const Way& way : kWays) {
    std::vector<std::vector<float>> wanted;
    const Weights weights(agree::ref(), way);
    for_cases([&](int64_t M, int64_t experts, DType type) { wanted.push_back(run(agree::ref(), way, weights, M, experts, type)); });
    agree::for_tables([&](const Kernels& k) {
      const Weights own(k, way);
      size_t i = 0;
      for_cases([&](int64_t M, int64_t experts, DType type) {
        INFO(std::string(way.name), " rows ", std::string(name_of(type)), " M ", M, " experts ", experts);
        const std::vector<float>&want = wanted[i++], got = run(k, way, own, M, experts, type);
        float largest = 0, error = 0;
        for (size_t j = 0; j < want.size(); ++j) {
          largest = std::max(largest, std::fabs(want[j]));
          error = std::isfinite(got[j]) ? std::max(error, std::fabs(got[j] - want[j])) : INFINITY;
        }
        CHECK(error <= 0.02f * largest);  // rounding to bf16 and int8; values are other tests' business
      });
    });
  }
}
