// Devices, memory, streams and graphs as callers see them, over the emulated library; and the ops that compute on a device.
#include <cstdlib>
#include <thread>

#include "device_agree.h"
#include "io/temp_folder.h"
#include "tenon/core/tensor_cores.h"
#include "tenon/ops/activation.h"
#include "tenon/ops/attention.h"
#include "tenon/ops/embedding.h"
#include "tenon/ops/layer_norm.h"
#include "tenon/ops/linear.h"
#include "tenon/ops/nll_loss.h"
#include "tenon/ops/softmax.h"
#include "tenon/train/tape.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

struct Limited {
  explicit Limited(size_t bytes) { cuda::set_memory_limit(0, bytes); }
  ~Limited() { cuda::set_memory_limit(0, 0); }
};

}  // namespace

TEST_CASE("device: what there is") {
  CHECK(cuda::is_available());
  CHECK(cuda::why_not().empty());
  CHECK(cuda::device_count() == 2);
  CHECK(cuda::properties(1).name == "emulated device 1");
  CHECK(cuda::properties().total_bytes == settings().total_bytes);
  CHECK((by_wgmma() || cuda::tensor_cores() == "mma.sync (TENON_CUDA_WGMMA=0)"));
  CHECK(cuda::tensor_cores(1) == "mma.sync");
  CHECK(parse_device("cuda") == kDevice);
  CHECK(parse_device("cuda:1").index == 1);
  CHECK(error_of([] { parse_device("cuda:2"); }) == "Device: [device] \"cuda:2\" asked for, but there are only cuda:0 to cuda:1");
  CHECK(contains(error_of([] { cuda::properties(-1); }), "expected a device from cuda:0 to cuda:1, got cuda:-1"));
  CHECK(Context(kDevice).device() == kDevice);
  CHECK(contains(error_of([] { Context c(Device{Device::Kind::Cuda, 7}); }), "got cuda:7"));
}

TEST_CASE("device: tensors go there and back") {
  for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{1000}, int64_t{3} << 20}) {  // 12 MB: several pieces of the staging
    std::vector<float> v(static_cast<size_t>(n));
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i % 1013);
    const Tensor host = Tensor::from(v, {n}), there = host.to(kDevice), back = there.clone().to(Device{});
    CHECK(there.device() == kDevice);
    CHECK(there.to(kDevice).id() == there.id());
    CHECK(there.describe().find("cuda:0") != std::string::npos);
    CHECK(std::equal(v.begin(), v.end(), back.values<float>().begin()));
    CHECK(there.to(Device{Device::Kind::Cuda, 1}).to(Device{}).values<float>().size() == v.size());
  }
  settings().no_pinned = true;
  CHECK(down<float>(up(std::vector<float>{1, 2, 3})) == std::vector<float>{1, 2, 3});
  settings().no_pinned = false;
  CHECK(Tensor::zeros({5}, DType::I64, kDevice).rows(4, 5).item() == 0);
  CHECK(down<bfloat16>(up(std::vector<float>{1.5f}).to(DType::BF16))[0] == 1.5f);
  CHECK(contains(error_of([] { up(std::vector<float>{1}).to(DType::I32); }), "Type: [to] on cuda:0: expected float32"));
}

TEST_CASE("device: reading a device's elements here is an error, not a crash") {
  Tensor t = up(std::vector<float>{1, 2});
  const std::string expected = "the elements lie on cuda:0, not in the host's memory; copy them with to(\"cpu\")";
  CHECK(error_of([&] { t.data<float>(); }) == "Device: [data] " + expected);
  CHECK(error_of([&] { std::as_const(t).values<float>(); }) == "Device: [data] " + expected);
  CHECK(error_of([&] { t.raw(); }) == "Device: [raw] " + expected);
  CHECK(contains(error_of([&] { t.ptr<int32_t>(); }), "Type: "));
}

TEST_CASE("device: memory is reused in the order of a stream, and not across streams") {
  cuda::empty_cache();
  const int before = counts().allocations;
  const void* first = nullptr;
  {
    const Tensor t = Tensor::empty({1000}, DType::F32, kDevice);
    first = t.address();
  }
  CHECK(Tensor::empty({990}, DType::F32, kDevice).address() == first);  // the same size class
  CHECK(counts().allocations == before + 1);
  const cuda::Stream other(0);
  {
    const cuda::OnStream on(other);
    CHECK(cuda::Stream::current(0).handle() == other.handle());
    const Tensor t = Tensor::empty({1000}, DType::F32, kDevice);
    CHECK(t.address() != first);
    CHECK(counts().allocations == before + 2);
  }
  CHECK(cuda::Stream::current(0).handle() == nullptr);
  CHECK(Tensor::empty({1000}, DType::F32, kDevice).address() == first);
  const int released = counts().releases;
  cuda::empty_cache();
  CHECK(counts().releases == released + 2);
  CHECK(cuda::memory().held == 0);
}

TEST_CASE("device: memory that another stream uses waits for it") {
  cuda::empty_cache();
  const cuda::Stream other(0);
  settings().streams_are_slow = true;
  const void* first = nullptr;
  {
    const Tensor t = Tensor::empty({1000}, DType::F32, kDevice);
    first = t.address();
    cuda::record_use(t, other);
  }
  const Tensor next = Tensor::empty({1000}, DType::F32, kDevice);
  CHECK(next.address() != first);
  settings().streams_are_slow = false;
  CHECK(Tensor::empty({1000}, DType::F32, kDevice).address() == first);
}

TEST_CASE("device: statistics, limits, and a shortage that leaves everything usable") {
  cuda::empty_cache();
  cuda::reset_peak_memory();
  const cuda::Memory start = cuda::memory();
  {
    const Tensor a = Tensor::empty({1 << 20}, DType::F32, kDevice);
    CHECK(cuda::memory().in_use == start.in_use + (4 << 20));
    const Limited limited(start.held + (6 << 20));
    const std::string message = error_of([] { Tensor::empty({1 << 20}, DType::F32, kDevice); });
    CHECK(contains(message, "Memory: [cuda] cannot allocate 4194304 bytes on cuda:0"));
    CHECK(contains(message, "limit"));
    CHECK_NOTHROW(Tensor::empty({1 << 18}, DType::F32, kDevice));
  }
  CHECK(cuda::memory().peak_in_use >= start.in_use + (5 << 20));
  {
    // kept blocks of other sizes are given back before a request fails
    const Limited limited(cuda::memory().in_use + (9 << 20));
    for (int i = 1; i < 8; ++i) Tensor::empty({i << 18}, DType::F32, kDevice);
    CHECK_NOTHROW(Tensor::empty({2 << 20}, DType::F32, kDevice));
  }
  // the device itself is full
  const int64_t all = static_cast<int64_t>(settings().total_bytes);
  CHECK(contains(error_of([&] { Tensor::empty({all}, DType::F32, kDevice); }), "the device has"));
  CHECK(down<float>(up(std::vector<float>{4}))[0] == 4);
}

TEST_CASE("device: tensors die on other threads") {
  Tensor t = up(std::vector<float>(100, 1));
  const size_t used = cuda::memory().in_use;
  std::thread([gone = std::exchange(t, {})]() mutable { gone = {}; }).join();
  CHECK(cuda::memory().in_use < used);
}

TEST_CASE("device: a graph keeps its memory and cannot hold copies of the host") {
  cuda::empty_cache();
  const Tensor x = up(std::vector<float>{1, 2, 3});
  Context ctx(kDevice);
  Tensor y;
  {
    const cuda::Graph graph = cuda::Graph::record(0, [&] {
      const Tensor a = ops::scale(ctx, x, 2);
      y = ops::add(ctx, a, x);
    });
    const int launches = counts().graph_launches;
    graph.launch();
    CHECK(counts().graph_launches == launches + 1);
    const size_t held = cuda::memory().held;
    cuda::empty_cache();
    CHECK(cuda::memory().held == held);  // what died while it was recorded is still the graph's
  }
  CHECK(down<float>(y) == std::vector<float>{3, 6, 9});  // its tensors may outlive it
  const std::string message = error_of([&] { cuda::Graph::record(0, [&] { x.item(); }); });
  CHECK(contains(message, "[item] expected one element"));
  CHECK(contains(error_of([&] { cuda::Graph::record(0, [&] { x.rows(0, 1).item(); }); }), "a copy from or to the host cannot be recorded"));
  CHECK(x.rows(2, 3).item() == 3);  // and afterwards all is as before
  y = {};
  cuda::empty_cache();
}

TEST_CASE("device: a graph reads what mirrored arrays hold when it is launched") {
  std::vector<float> a = {1, 2, 3};
  const std::vector<int64_t> constant = {2, 0}, unknown = {1, 0};
  const Tensor table = up(std::vector<float>{10, 20, 30}).view({3, 1});
  Context ctx(kDevice);
  ops::gather_rows(ctx, table, constant);  // its numbers are kept
  cuda::Mirror mirror(0, {{a.data(), a.size() * sizeof(float)}});
  ctx.set_mirror(&mirror);
  const Tensor x = mirror.find(a.data(), DType::F32);
  CHECK(Tensor(x).address() == ctx.staged(a.data(), 12).address());
  CHECK_FALSE(mirror.find(constant.data()).defined());
  Tensor y, z;
  const cuda::Graph graph = cuda::Graph::record(0, [&] {
    y = ops::scale(ctx, x, 2);
    z = ops::gather_rows(ctx, table, constant);
  });
  for (const float first : {4.0f, -7.0f}) {
    a[0] = first;
    mirror.refresh();
    graph.launch();
    CHECK(down<float>(y) == std::vector<float>{2 * first, 4, 6});
    CHECK(down<float>(z) == std::vector<float>{30, 10});
  }
  CHECK(contains(error_of([&] { cuda::Graph::record(0, [&] { ops::gather_rows(ctx, table, unknown); }); }), "cannot be recorded"));
  settings().no_pinned = true;
  CHECK(contains(error_of([&] { cuda::Mirror more(0, {{a.data(), 4}}); }), "Memory: "));
  settings().no_pinned = false;
}

TEST_CASE("device: a lost device is an error that says so") {
  settings().lost = true;
  CHECK(error_of([] { cuda::synchronize(); }) == "Device: [cuda] synchronize on cuda:0: an illegal memory access was encountered");
  CHECK(contains(error_of([] { cuda::kernels(0); }), "illegal memory access"));
  settings().lost = false;
  CHECK_NOTHROW(cuda::synchronize());
}

TEST_CASE("device: events") {
  cuda::Event begin, end;
  begin.record();
  end.record();
  end.wait(cuda::Stream(0));
  end.synchronize();
  CHECK(end.reached());
  CHECK(begin.milliseconds_to(end) >= 0);
}

TEST_CASE("device: ops compute there what they compute here, gradients included") {
  Context here(1), there(kDevice);
  const Tensor x = Tensor::from(normal(6 * 16, 1), {6, 16}), w = Tensor::from(normal(48 * 16, 2, 0.3f), {48, 16});
  const Tensor b = Tensor::from(normal(48, 3), {48}), g = Tensor::from(normal(16, 4), {16}), z = Tensor::from(normal(16, 5), {16});
  const std::vector<int64_t> starts = {0, 2, 6}, picks = {5, 0, 0, 3};
  const auto forward = [&](Context& c, const std::vector<Tensor>& t) {
    const Tensor n = ops::layer_norm(c, t[0], t[3], t[4], 1e-5f);
    const Tensor qkv = ops::linear(c, n, t[1], t[2]);
    const Tensor q = ops::activation(c, qkv, Activation::Gelu);
    const Tensor a = ops::attention(c, q, q, q, {.heads = 3, .kv_heads = 3, .causal = true, .q_start = starts, .k_start = starts});
    return ops::softmax(c, ops::gather_rows(c, a, picks));
  };
  const std::vector<Tensor> inputs = {x, w, b, g, z};
  std::vector<Tensor> copies;
  for (const Tensor& t : inputs) copies.push_back(t.to(kDevice));
  const auto gradients = [&](Context& c, const std::vector<Tensor>& t) {
    train::Tape tape;
    for (const Tensor& p : t) tape.watch(p);
    Recorder* const old = c.set_recorder(&tape);
    const Tensor y = forward(c, t);
    c.set_recorder(old);
    std::vector<float> seed = normal(static_cast<size_t>(y.numel()), 9);
    tape.backward(c, y, Tensor::from(seed, y.shape()).to(c.device()));
    std::vector<std::vector<float>> all = {down<float>(y)};
    for (const Tensor& p : t) all.push_back(down<float>(tape.grad(p)));
    return all;
  };
  const auto expected = gradients(here, inputs), got = gradients(there, copies);
  for (size_t i = 0; i < expected.size(); ++i) {
    INFO("result ", i);
    CHECK(distance(got[i], expected[i]) <= 1e-4 * (1 + largest(expected[i])));
  }
}

TEST_CASE("device: ops refuse tensors that lie elsewhere") {
  Context here(1), there(kDevice);
  const Tensor host = Tensor::zeros({2, 4}, DType::F32), device = host.to(kDevice);
  CHECK(error_of([&] { ops::softmax(there, host); }) ==
        "Device: [softmax] expected tensors on cuda:0, got tensor (2, 4) float32 cpu");
  CHECK(contains(error_of([&] { ops::softmax(here, device); }), "expected tensors on cpu, got tensor (2, 4) float32 cuda:0"));
  const std::vector<int64_t> labels = {0, 1};
  CHECK(error_of([&] { ops::nll_loss(there, host, labels); }) == "Device: [nll_loss] expected tensors on cuda:0, got tensor (2, 4) float32 cpu");
  const Tensor second = host.to(Device{Device::Kind::Cuda, 1});
  CHECK(error_of([&] { ops::mul(there, device, second); }) == "Device: [mul] expected tensors on cuda:0, got tensor (2, 4) float32 cuda:1");
}

TEST_CASE("device: packed weights lie there") {
  Context here(1), there(kDevice);
  const Tensor x = Tensor::from(normal(5 * 12, 1), {5, 12}), w = Tensor::from(normal(8 * 12, 2), {8, 12});
  for (WeightFormat format : {WeightFormat::F32, WeightFormat::BF16, WeightFormat::Int8}) {
    const quant::PackedWeight a = quant::pack(here, w, format), b = quant::pack(there, w, format);
    CHECK(b.data.device() == kDevice);
    const Tensor y = ops::linear(here, x, a, {}, Activation::Relu), z = ops::linear(there, x.to(kDevice), b, {}, Activation::Relu);
    CHECK(distance(down<float>(z), down<float>(y)) <= (format == WeightFormat::F32 ? 1e-5 : 0.05));
    CHECK(contains(error_of([&] { ops::linear(there, x.to(kDevice), a, {}); }), "expected tensors on cuda:0"));
  }
}
