// What a sequence gives does not depend on its batch: padding, companions, sides, threads.
#include <thread>

#include "golden.h"

using namespace tenon;
using namespace tenon::test;

namespace {

Tensor ids_of(const std::vector<int64_t>& v, int64_t B) { return Tensor::from(v, {B, static_cast<int64_t>(v.size()) / B}); }

}  // namespace

TEST_CASE("a classifier that computes its last layer for the first positions alone gives the same logits") {
  for (const char* name : {"bert", "distilbert", "roberta", "vit"}) {
    SUBCASE(name) {
      const std::string folder = golden_folder(name);
      if (folder.empty()) return;
      Context ctx;
      for (const auto precision : {models::Precision::Float32, models::Precision::BFloat16, models::Precision::Int8}) {
        const auto model = models::load(ctx, folder, {.precision = precision});
        models::Inputs in;
        assign(in, read_all(folder + "/inputs.safetensors"));
        const Tensor first = model->forward(ctx, in).logits;
        in.output_hidden_states = true;
        CHECK(relative_error(first, model->forward(ctx, in).logits) < (precision == models::Precision::Float32 ? 1e-5 : 2e-2));
      }
    }
  }
}

TEST_CASE("a ragged batch equals single runs") {
  for (const char* name : {"bert", "distilbert", "roberta"}) {
    SUBCASE(name) {
      const std::string folder = golden_folder(name);
      if (folder.empty()) return;
      Context ctx;
      const int64_t pad = std::string(name) == "roberta" ? 1 : 0;
      for (const auto precision : {models::Precision::Float32, models::Precision::BFloat16, models::Precision::Int8}) {
        const auto model = models::load(ctx, folder, {.precision = precision});
        const std::vector<std::vector<int64_t>> texts = {{7, 8, 9, 10, 11}, {12}, {20, 21, 22}};
        std::vector<int64_t> ids, mask;
        for (const auto& t : texts)
          for (size_t i = 0; i < 5; ++i) ids.push_back(i < t.size() ? t[i] : pad), mask.push_back(i < t.size());
        models::Inputs batch;
        batch.input_ids = ids_of(ids, 3);
        batch.attention_mask = ids_of(mask, 3);
        const Tensor together = model->forward(ctx, batch).logits;
        for (int64_t b = 0; b < 3; ++b) {
          models::Inputs one;
          one.input_ids = ids_of(texts[b], 1);
          const Tensor alone = model->forward(ctx, one).logits;
          CHECK(relative_error(together.rows(b, b + 1), alone) < (precision == models::Precision::Float32 ? 1e-5 : 2e-2));
        }
      }
    }
  }
}

TEST_CASE("padded positions are zeros, an empty batch is empty, one thread equals two") {
  const std::string folder = golden_folder("bert");
  if (folder.empty()) return;
  Context ctx(2);
  const auto model = models::load(ctx, folder, {.class_name = "BertModel"});
  models::Inputs in;
  in.input_ids = ids_of({5, 6, 7, 5, 0, 0}, 2);
  in.attention_mask = ids_of({1, 1, 1, 1, 0, 0}, 2);
  in.output_attentions = true;
  const models::Outputs out = model->forward(ctx, in);
  CHECK(out.last_hidden_state.shape() == Shape{2, 3, 32});
  for (int64_t i = 4 * 32; i < 6 * 32; ++i) CHECK(out.last_hidden_state.data<float>()[i] == 0.0f);
  REQUIRE(out.attentions.size() == 2);
  CHECK(out.attentions[0].shape() == Shape{2, 4, 3, 3});
  for (int64_t row = 0; row < 2 * 4 * 3; ++row) {  // probabilities sum to one, and to zero where there is padding
    float sum = 0;
    for (int j = 0; j < 3; ++j) sum += out.attentions[0].data<float>()[row * 3 + j];
    CHECK(sum == doctest::Approx(row >= 12 && row % 3 > 0 ? 0.0 : 1.0));
  }
  Context single(1);
  CHECK(relative_error(model->forward(single, in).last_hidden_state, out.last_hidden_state) < 1e-6);
  models::Inputs none;
  none.input_ids = Tensor::zeros({0, 4}, DType::I64);
  CHECK(model->forward(ctx, none).pooler_output.shape() == Shape{0, 32});
}

TEST_CASE("left padding gives what Transformers gives: the padded first position attends to the real ones") {
  const std::string folder = golden_folder("bert");
  if (folder.empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder, {});
  models::Inputs left, tail;
  left.input_ids = ids_of({0, 0, 7, 8}, 1);
  left.attention_mask = ids_of({0, 0, 1, 1}, 1);
  left.output_hidden_states = true;
  tail.input_ids = ids_of({7, 8}, 1);
  tail.position_ids = ids_of({2, 3}, 1);
  tail.output_hidden_states = true;
  const Tensor a = model->forward(ctx, left).hidden_states.back(), b = model->forward(ctx, tail).hidden_states.back();
  CHECK(relative_error(a.view({4, 32}).rows(2, 4), b.view({2, 32})) < 1e-5);
}

TEST_CASE("a masked language model counts labels at padding, as Transformers does") {
  const std::string folder = golden_folder("bert-mlm");
  if (folder.empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder, {});
  models::Inputs in;
  in.input_ids = ids_of({7, 8, 9, 0, 5, 6, 0, 0}, 2);
  in.attention_mask = ids_of({1, 1, 1, 0, 1, 1, 0, 0}, 2);
  in.labels = ids_of({-100, 8, -100, 0, -100, 6, -100, -100}, 2);
  const models::Outputs out = model->forward(ctx, in);
  float largest = 0;  // the labelled padding of the first sequence is computed, the padding of the second is not
  for (int64_t i = 0; i < 160; ++i) {
    largest = std::max(largest, std::abs(out.logits.data<float>()[3 * 160 + i]));
    CHECK(out.logits.data<float>()[6 * 160 + i] == 0.0f);
  }
  CHECK(largest > 0);
}

TEST_CASE("one model serves four threads") {
  const std::string folder = golden_folder("bert");
  if (folder.empty()) return;
  Context ctx(1);
  const auto model = models::load(ctx, folder, {});
  models::Inputs in;
  in.input_ids = ids_of({5, 6, 7, 8, 9, 10}, 2);
  const Tensor want = model->forward(ctx, in).logits;
  std::vector<double> errors(4, 1);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < errors.size(); ++t)
    threads.emplace_back([&, t] {
      Context own(1);
      double worst = 0;
      for (int i = 0; i < 20; ++i) worst = std::max(worst, relative_error(model->forward(own, in).logits, want));
      errors[t] = worst;
    });
  for (auto& t : threads) t.join();
  for (const double e : errors) CHECK(e < 1e-6);
}

TEST_CASE("bad input is named and leaves the model usable") {
  const std::string folder = golden_folder("bert");
  if (folder.empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder, {});
  const auto message = [&](const models::Inputs& in) -> std::string {
    try {
      model->forward(ctx, in);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  models::Inputs in;
  CHECK(message(in).find("input_ids") != std::string::npos);
  in.input_ids = ids_of({5, 160}, 1);
  CHECK(message(in).find("160") != std::string::npos);
  in.input_ids = ids_of({5, -1}, 1);
  CHECK(message(in).find("-1") != std::string::npos);
  in.input_ids = ids_of(std::vector<int64_t>(65, 5), 1);
  CHECK(message(in).find("max_position_embeddings is 64") != std::string::npos);
  in.input_ids = Tensor::zeros({1, 2}, DType::F32);
  CHECK(message(in).find("integers") != std::string::npos);
  in.input_ids = ids_of({5, 6}, 1);
  in.attention_mask = ids_of({1, 1, 1}, 1);
  CHECK(message(in).find("attention_mask") != std::string::npos);
  in.attention_mask = {};
  in.token_type_ids = ids_of({0, 2}, 1);
  CHECK(message(in).find("token_type_ids") != std::string::npos);
  in.token_type_ids = {};
  in.labels = ids_of({3}, 1);
  CHECK(message(in).find("3") != std::string::npos);
  in.labels = {};
  CHECK(message(in).empty());
}
