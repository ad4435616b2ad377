// Mixtures of experts on a device: the router's options, layers of every weight format, and gradients, against the CPU; and that nothing
// comes to the host on the way.
#include "device_agree.h"
#include "models/quantized.h"
#include "tenon/nn/mixture_of_experts.h"
#include "tenon/ops/sorted_experts.h"
#include "tenon/train/tape.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

using ops::RouterOptions;

Tensor tensor(const Shape& shape, uint64_t seed, float scale = 1) {
  return Tensor::from(normal(static_cast<size_t>(shape.numel()), seed, scale), shape);
}
void check_close(const Tensor& got, const Tensor& want, double bound) {
  REQUIRE(got.shape() == want.shape());
  CHECK(got.device() == kDevice);
  const std::vector<float> expected = down<float>(want);
  CHECK(distance(down<float>(got), expected) <= bound * (1e-3 + largest(expected)));
}

std::vector<RouterOptions> all_options() {
  return {{.top_k = 1},
          {.top_k = 2, .normalize = true},
          {.top_k = 3, .score = ops::RouterScore::Sigmoid, .normalize = true, .scale = 2.5f},
          {.top_k = 2, .groups = 4, .top_groups = 2},
          {.top_k = 3, .score = ops::RouterScore::Sigmoid, .groups = 4, .top_groups = 2, .group_by_top2 = true, .normalize = true},
          {.top_k = 3, .normalize = true, .newcomers = 1, .newcomer_weight = 0.25f},
          {.top_k = 2, .normalize = true, .capacity_factor = 0.8f},
          {.top_k = 2, .expert_choice = true}};
}

/// Values and gradients of f, which is given copies of the inputs on the Context's device; y first.
template <class F>
std::vector<Tensor> with_gradients(Context& ctx, const std::vector<Tensor>& inputs, F&& f) {
  std::vector<Tensor> in;
  for (const Tensor& t : inputs) in.push_back(t.to(ctx.device()));
  train::Tape tape;
  for (const Tensor& t : in) tape.watch(t);
  ctx.set_recorder(&tape);
  const Tensor y = f(ctx, in);
  ctx.set_recorder(nullptr);
  tape.backward(ctx, y, tensor(y.shape(), 99).to(ctx.device()));
  std::vector<Tensor> all = {y};
  for (const Tensor& t : in) all.push_back(tape.grad(t));
  return all;
}

std::vector<ops::GatedExpert> experts_of(const std::vector<Tensor>& in, size_t first) {
  std::vector<ops::GatedExpert> experts;
  for (size_t i = first; i + 2 < in.size(); i += 3) experts.push_back({in[i], in[i + 1], in[i + 2]});
  return experts;
}

}  // namespace

TEST_CASE("device: routing agrees with the CPU's for every option, gradients too") {
  constexpr int64_t N = 21, E = 8;
  const Tensor logits = tensor({N, E}, 1, 2), bias = tensor({E}, 2, 0.3f);
  for (const bool biased : {false, true})
    for (const RouterOptions& o : all_options()) {
      INFO("top_k ", o.top_k, ", groups ", o.groups, ", sigmoid ", o.score == ops::RouterScore::Sigmoid, ", newcomers ", o.newcomers,
           ", capacity ", o.capacity_factor, ", expert choice ", o.expert_choice, ", bias ", biased);
      Context here(2), there(kDevice);
      const Tensor b = biased ? bias : Tensor(), b_there = biased ? bias.to(kDevice) : Tensor(), l = logits.to(kDevice);
      const ops::Routing want = ops::route(here, logits, b, o);
      const int to_host = counts().to_host;
      const ops::Routing got = ops::route(there, l, b_there, o);
      if (o.capacity_factor == 0 && !o.expert_choice) CHECK(counts().to_host == to_host);
      check_close(got.weight, want.weight, 1e-6);
      CHECK(got.expert == down<int64_t>(want.expert.tensor()));
      CHECK(got.loads() == want.loads());
      const auto f = [&](Context& c, const std::vector<Tensor>& in) { return ops::route(c, in[0], c.device().is_cpu() ? b : b_there, o).weight; };
      check_close(with_gradients(there, {logits}, f)[1], with_gradients(here, {logits}, f)[1], 1e-5);
    }
}

TEST_CASE("device: a packed mixture agrees with the CPU's in every format, and the host is not asked") {
  for (const WeightFormat format : {WeightFormat::F32, WeightFormat::BF16, WeightFormat::Int8, WeightFormat::Int4, WeightFormat::Fp8})
    for (const int64_t N : {int64_t{1}, int64_t{70}})
      for (const float capacity : {0.0f, 0.7f}) {
        INFO("format ", static_cast<int>(format), ", N ", N, ", capacity ", capacity);
        nn::MoeConfig config{.hidden_size = 64, .intermediate_size = 96, .num_experts = 6, .shared_intermediate_size = 32, .shared_gate = true};
        config.router.capacity_factor = capacity;
        nn::MixtureOfExperts layer(config, 3, 0.2f);
        Context here(2), there(kDevice);
        const Tensor x = tensor({N, 64}, 4);
        layer.pack(here, format);
        const Tensor want = layer.forward(here, x);
        layer.pack(there, format);
        const Tensor x_there = x.to(kDevice);
        const int to_host = counts().to_host;
        const Tensor got = layer.forward(there, x_there);
        if (capacity == 0) CHECK(counts().to_host == to_host);
        // int8 rows are rounded in both, int4 meets rounded rows on the CPU alone
        check_close(got, want, format == WeightFormat::F32 ? 1e-5 : format == WeightFormat::Int4 ? 0.05 : 0.03);
        if (format == WeightFormat::Int8) continue;
        const Tensor half = x_there.to(DType::BF16);
        CHECK(distance(down<bfloat16>(layer.forward(there, half)), down<float>(got)) <= 0.05 * largest(down<float>(got)));
      }
}

TEST_CASE("device: a mixture in training agrees with the CPU's, gradients of every input") {
  constexpr int64_t E = 4, C = 24, F = 40;
  for (const int64_t N : {int64_t{0}, int64_t{1}, int64_t{33}})
    for (const float capacity : {0.0f, 0.7f})
      for (const DType type : {DType::F32, DType::BF16, DType::F16}) {
        INFO("N ", N, ", capacity ", capacity, ", ", name_of(type));
        std::vector<Tensor> in = {tensor({N, C}, 1), tensor({N, E}, 2), tensor({N, C}, 3)};
        for (int64_t e = 0; e < E; ++e)
          for (const Shape& shape : {Shape{F, C}, Shape{F, C}, Shape{C, F}}) in.push_back(tensor(shape, 10 + in.size(), 0.3f));
        const auto f = [&](Context& c, const std::vector<Tensor>& t) {
          const ops::Routing r = ops::route(c, t[1], {}, {.top_k = 2, .normalize = true, .capacity_factor = capacity});
          const auto experts = experts_of(t, 3);
          return c.device().is_cpu() ? ops::gated_experts(c, t[0], experts, Activation::Silu, ops::ExpertRows(r), r, t[2])
                                     : ops::sorted_experts(c, t[0], experts, Activation::Silu, r, t[2]);
        };
        Context here(2), there(kDevice);
        here.set_training({.matmul = type == DType::F16 ? DType::F32 : type}), there.set_training({.matmul = type});
        const std::vector<Tensor> want = with_gradients(here, in, f), got = with_gradients(there, in, f);
        for (size_t i = 0; i < want.size(); ++i) {
          CAPTURE(i);
          check_close(got[i], want[i], type == DType::F32 ? 1e-4 : type == DType::BF16 ? 0.02 : 0.004);  // the CPU has no float16
        }
      }
}

TEST_CASE("device: a step of a mixture's training asks the host for nothing") {
  constexpr int64_t N = 9, E = 4, C = 16, F = 24;
  std::vector<Tensor> in = {tensor({N, C}, 1).to(kDevice), tensor({N, E}, 2).to(kDevice)};
  for (int64_t e = 0; e < E; ++e)
    for (const Shape& shape : {Shape{F, C}, Shape{F, C}, Shape{C, F}}) in.push_back(tensor(shape, 10 + in.size(), 0.3f).to(kDevice));
  const Tensor dy = tensor({N, C}, 5).to(kDevice);
  Context ctx(kDevice);
  train::Tape tape;
  for (const Tensor& t : in) tape.watch(t);
  const int to_host = counts().to_host;
  ctx.set_recorder(&tape);
  const ops::Routing r = ops::route(ctx, in[1], {}, {.top_k = 2});
  const Tensor y = ops::sorted_experts(ctx, in[0], experts_of(in, 2), Activation::Silu, r, {});
  ctx.set_recorder(nullptr);
  tape.backward(ctx, y, dy);
  CHECK(counts().to_host == to_host);
  CHECK(tape.grad(in[1]).defined());
  CHECK(r.loads().size() == E);  // asked for now
  CHECK(counts().to_host == to_host + 1);
}

TEST_CASE("device: mixtures whose experts are stored quantised give what the CPU gives, and ask the host for nothing once they are packed") {
  for (const char* type : {"mixtral", "deepseek_v3"})
    for (const auto& [name, recipe] : test::recipes()) {
      INFO(std::string(type), ", ", name);
      const TempFolder folder;
      Context here(2), there(kDevice);
      test::write_both(here, type, recipe, folder / "few", folder / "wide");
      const Tensor want = models::load(here, folder / "few", {.exact_products = true})->forward(here, test::some_tokens()).logits;
      const auto model = models::load(there, folder / "few", {.exact_products = true});
      CHECK(test::relative_error(model->forward(there, test::some_tokens()).logits, want) < 1e-4);
      const int to_host = counts().to_host;
      model->forward(there, test::some_tokens());
      CHECK((counts().to_host == to_host) == !recipe.order_by_layer);  // gate and up in orders of their own are layers whose rows the host picks
    }
}
