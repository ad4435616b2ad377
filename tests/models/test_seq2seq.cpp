// Encoder-decoders: generated ids, cache against none, beams that share sources, padding, labels, and how checkpoints name their tables.
#include <numeric>

#include "golden.h"
#include "tenon/models/seq2seq.h"
#include "tenon/train/tape.h"

using namespace tenon;
using namespace tenon::test;

namespace {

constexpr const char* kCases[] = {"marian", "m2m100", "t5"};

using Lists = std::vector<std::vector<int64_t>>;

models::Inputs inputs_of(const std::string& folder) {
  models::Inputs in;
  assign(in, read_all(folder + "/inputs.safetensors"));
  return in;
}

/// Row b of the case's sources without its padding.
models::Inputs source(const models::Inputs& in, int64_t b) {
  const int64_t S = in.input_ids.size(1);
  std::vector<int64_t> ids;
  for (int64_t s = 0; s < S; ++s)
    if (in.attention_mask.data<int64_t>()[b * S + s]) ids.push_back(in.input_ids.data<int64_t>()[b * S + s]);
  models::Inputs one;
  one.input_ids = Tensor::from(ids, {1, static_cast<int64_t>(ids.size())});
  return one;
}

int64_t best(const Tensor& logits, int64_t row) {
  const auto v = logits.rows(row, row + 1).values<float>();
  return std::max_element(v.begin(), v.end()) - v.begin();
}

std::vector<int64_t> row_of(const Tensor& ids, int64_t b) {
  const int64_t* from = ids.data<int64_t>() + b * ids.size(1);
  return {from, from + ids.size(1)};
}

}  // namespace

TEST_CASE("greedy answers are those that Transformers recorded, id for id") {
  for (const char* name : kCases) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder);
    const Json meta = Json::parse_file(folder + "/meta.json");
    const Json& recorded = meta.at("generate").as_array()[0];
    const int64_t count = recorded.at("arguments").value("max_new_tokens", 0),
                  forced = recorded.at("arguments").value("forced_bos_token_id", -1);
    const int64_t start = model->config().value("decoder_start_token_id", -1), last = model->config().value("forced_eos_token_id", -1);
    const auto session = model->start(ctx, inputs_of(folder));
    REQUIRE(session->size() == 2);
    Lists next(2, {start}), all(2, {start});
    for (int64_t i = 0; i < count; ++i) {
      const Tensor logits = session->feed(ctx, next);
      for (size_t b = 0; b < 2; ++b) {
        int64_t id = best(logits, static_cast<int64_t>(b));
        if (i == 0 && forced >= 0) id = forced;
        if (i == count - 1 && last >= 0) id = last;
        all[b].push_back(id);
        next[b] = {id};
      }
    }
    for (size_t b = 0; b < 2; ++b) {
      const Json::Array& row = recorded.at("sequences").as_array()[b].as_array();
      REQUIRE(row.size() == all[b].size());
      for (size_t i = 0; i < row.size(); ++i) CHECK(all[b][i] == row[i].as_int());
    }
  }
}

TEST_CASE("answers fed token by token, in chunks and at once have the logits of a pass without cache") {
  for (const char* name : kCases) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    for (const auto precision : {models::Precision::Float32, models::Precision::BFloat16, models::Precision::Int8}) {
      Context ctx;
      const auto model = models::load(ctx, folder, {.precision = precision});
      models::Inputs in = source(inputs_of(folder), 0);
      std::vector<int64_t> ids(45);
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = 5 + static_cast<int64_t>(i * 37 % 140);
      in.decoder_input_ids = Tensor::from(ids, {1, 45});
      const Tensor whole = model->forward(ctx, in).logits.view({45, 160});
      for (const size_t chunk : {size_t{1}, size_t{7}, size_t{45}}) {
        const auto session = model->start(ctx, in);
        double worst = 0;
        for (size_t i = 0; i < ids.size(); i += chunk) {
          const size_t end = std::min(ids.size(), i + chunk);
          const Tensor logits =
              session->feed(ctx, Lists{{ids.begin() + static_cast<int64_t>(i), ids.begin() + static_cast<int64_t>(end)}}, true);
          worst = std::max(worst, relative_error(logits, whole.rows(static_cast<int64_t>(i), static_cast<int64_t>(end))));
        }
        CHECK(worst < (precision == models::Precision::Float32 ? 2e-5 : 0.08));
        CHECK(session->length(0) == 45);
      }
    }
  }
}

TEST_CASE("low precision stays near float32") {
  for (const char* name : kCases) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const models::Inputs in = inputs_of(folder);
    const Tensor want = read_all(folder + "/outputs.safetensors").at("logits");
    for (const auto& [precision, bound] : {std::pair{models::Precision::BFloat16, 0.05}, std::pair{models::Precision::Int8, 0.08}}) {
      const double error = relative_error(models::load(ctx, folder, {.precision = precision})->forward(ctx, in).logits, want);
      MESSAGE(std::string(name), ": largest relative error ", error);
      CHECK(error < bound);
    }
  }
}

TEST_CASE("sequences share sources, cross them over, branch, shrink and wait without disturbing each other") {
  for (const char* name : kCases) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder);
    const models::Inputs both = inputs_of(folder);
    const auto alone = [&](int64_t b, std::vector<int64_t> ids) { return model->start(ctx, source(both, b))->feed(ctx, Lists{ids}); };
    const auto session = model->start(ctx, both);
    const Tensor first = session->feed(ctx, Lists{{10, 11}, {12}});
    CHECK(relative_error(first.rows(0, 1), alone(0, {10, 11})) < 1e-5);
    CHECK(relative_error(first.rows(1, 2), alone(1, {12})) < 1e-5);
    const std::vector<int64_t> parents = {1, 0, 1, 0};
    session->reorder(parents);
    CHECK(session->size() == 4);
    const Tensor four = session->feed(ctx, Lists{{20, 21}, {22}, {}, {23}});
    REQUIRE(four.size(0) == 3);
    CHECK(relative_error(four.rows(0, 1), alone(1, {12, 20, 21})) < 1e-5);
    CHECK(relative_error(four.rows(1, 2), alone(0, {10, 11, 22})) < 1e-5);
    CHECK(relative_error(four.rows(2, 3), alone(0, {10, 11, 23})) < 1e-5);
    session->truncate(1, 1);
    CHECK(relative_error(session->feed(ctx, Lists{{}, {30}, {31}, {}}).rows(0, 1), alone(0, {10, 30})) < 1e-5);
    CHECK(session->length(1) == 2);
    const std::vector<int64_t> only_last = {2};
    session->reorder(only_last);
    CHECK(relative_error(session->feed(ctx, Lists{{32}}), alone(1, {12, 31, 32})) < 1e-5);
    const std::vector<int64_t> wrong = {1};
    CHECK_THROWS_AS(session->reorder(wrong), Error);
    CHECK_THROWS_AS(session->feed(ctx, Lists{{160}}), Error);
    CHECK_THROWS_AS(session->feed(ctx, Lists{{1}, {2}}), Error);
    CHECK(session->length(0) == 3);
  }
}

TEST_CASE("padding, on either side, gives what single runs give") {
  for (const char* name : kCases) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder);
    const models::Inputs both = inputs_of(folder);
    const Tensor logits = model->forward(ctx, both).logits;
    for (int64_t b = 0; b < 2; ++b) {
      models::Inputs one = source(both, b);
      one.decoder_input_ids = Tensor::from(row_of(both.decoder_input_ids, b), {1, 7});
      const Tensor single = model->forward(ctx, one).logits;
      CHECK(relative_error(logits.view({14, 160}).rows(7 * b, 7 * b + 7), single.view({7, 160})) < 1e-5);
      // T5's distances do not know where a text begins; M2M100 counts what is no padding; Marian's sinusoids see the shift.
      if (std::string(name) == "marian") continue;
      const int64_t pad = model->config().value("pad_token_id", 0), S = one.input_ids.size(1);
      std::vector<int64_t> ids(3, pad), mask(3, 0);
      const std::vector<int64_t> text = row_of(one.input_ids, 0);
      ids.insert(ids.end(), text.begin(), text.end());
      mask.insert(mask.end(), text.size(), 1);
      one.input_ids = Tensor::from(ids, {1, S + 3});
      one.attention_mask = Tensor::from(mask, {1, S + 3});
      CHECK(relative_error(model->forward(ctx, one).logits, single) < 1e-5);
    }
  }
}

TEST_CASE("labels are the answer shifted by one") {
  for (const char* name : kCases) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder);
    const int64_t start = model->config().value("decoder_start_token_id", -1), pad = model->config().value("pad_token_id", 0);
    models::Inputs in = inputs_of(folder), shifted = in;
    in.decoder_input_ids = {};
    CHECK_THROWS_AS(model->forward(ctx, in), Error);
    in.labels = Tensor::from(std::vector<int64_t>{7, 8, 9, 10, 11, -100, -100, 12}, {2, 4});
    shifted.decoder_input_ids = Tensor::from(std::vector<int64_t>{start, 7, 8, 9, start, 11, pad, pad}, {2, 4});
    const models::Outputs out = model->forward(ctx, in), want = model->forward(ctx, shifted);
    CHECK(relative_error(out.logits, want.logits) == 0);
    CHECK(out.loss.item() == doctest::Approx(models::token_loss(ctx, want.logits, in.labels).item()));
    // What the encoder gave can be given back to it.
    shifted.encoder_outputs = want.encoder_last_hidden_state;
    CHECK_THROWS_AS(model->forward(ctx, shifted), Error);
    shifted.input_ids = {};
    CHECK(relative_error(model->forward(ctx, shifted).logits, want.logits) < 1e-6);
  }
}

TEST_CASE("gradients of the loss are those of finite differences, at the steepest element of each parameter") {
  for (const char* name : kCases) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder, {.pack = false});
    models::Inputs in = inputs_of(folder);
    in.decoder_input_ids = {};
    in.labels = Tensor::from(std::vector<int64_t>{7, 8, 9, 10, 11, -100, -100, 12}, {2, 4});
    train::Tape tape;
    const auto parameters = model->parameters();
    for (const auto& [n, p] : parameters) tape.watch(p);
    ctx.set_recorder(&tape);
    const Tensor loss = model->forward(ctx, in).loss;
    ctx.set_recorder(nullptr);
    tape.backward(ctx, loss);
    for (const auto& [n, p] : parameters) {
      CAPTURE(n);
      const Tensor g = tape.grad(p);
      REQUIRE(g.defined());
      const auto values = g.values<float>();
      const auto steepest =
          std::max_element(values.begin(), values.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }) - values.begin();
      Tensor w = p;
      float& x = w.data<float>()[steepest];
      const float before = x, step = 0.01f;
      x = before + step;
      const double up = model->forward(ctx, in).loss.item();
      x = before - step;
      const double down = model->forward(ctx, in).loss.item();
      x = before;
      CHECK((up - down) / (2 * step) == doctest::Approx(values[static_cast<size_t>(steepest)]).epsilon(0.02).scale(0.1));
    }
  }
}

TEST_CASE("what does not fit is refused") {
  const std::string folder = golden_folder("marian");
  if (folder.empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder);
  models::Inputs in = inputs_of(folder);
  const auto code_of = [&](const models::Inputs& inputs) {
    try {
      model->forward(ctx, inputs);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::Device;
  };
  models::Inputs wrong = in;
  wrong.decoder_input_ids = Tensor::from(std::vector<int64_t>{1, 2, 3}, {3, 1});
  CHECK(code_of(wrong) == ErrorCode::Shape);
  wrong = in;
  wrong.input_ids = Tensor::zeros({2, 65}, DType::I64);
  wrong.attention_mask = {};
  CHECK(code_of(wrong) == ErrorCode::Limit);
  const auto session = model->start(ctx, in);
  CHECK(session->max_length() == 64);
  CHECK_THROWS_AS(session->feed(ctx, Lists{std::vector<int64_t>(65, 5), {}}), Error);
  CHECK(session->length(0) == 0);
  Json config = model->config();
  config.set("d_model", 30);
  CHECK_THROWS_AS(models::from_config(ctx, config), Error);
}
