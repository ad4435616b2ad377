// Passes that go on from past_key_values against one pass over everything: logits, hidden states, attentions; with left padding.
#include "golden.h"
#include "tenon/models/decoder.h"
#include "tenon/models/seq2seq.h"

using namespace tenon;
using namespace tenon::test;

namespace {

constexpr int64_t kLength = 13;

/// Two rows of ids, the second after two columns of padding.
models::Inputs padded_batch() {
  std::vector<int64_t> ids, mask;
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < kLength; ++t) ids.push_back(5 + (31 * b + 17 * t) % 120), mask.push_back(b == 0 || t >= 2);
  models::Inputs in;
  in.input_ids = Tensor::from(ids, {2, kLength});
  in.attention_mask = Tensor::from(mask, {2, kLength});
  in.output_hidden_states = in.output_attentions = true;
  return in;
}

/// Columns [begin, end) of a (B,T,...) tensor, or of its dimension `axis`.
Tensor columns(const Tensor& x, int64_t begin, int64_t end, int axis = 1) {
  int64_t outer = 1, inner = static_cast<int64_t>(size_of(x.dtype()));
  Shape shape;
  for (int d = 0; d < x.rank(); ++d) {
    shape.append(d == axis ? end - begin : x.size(d));
    if (d < axis) outer *= x.size(d);
    if (d > axis) inner *= x.size(d);
  }
  Tensor y = Tensor::empty(shape, x.dtype());
  for (int64_t o = 0; o < outer; ++o)
    std::memcpy(static_cast<char*>(y.raw()) + o * (end - begin) * inner,
                static_cast<const char*>(x.raw()) + (o * x.size(axis) + begin) * inner, static_cast<size_t>((end - begin) * inner));
  return y;
}

/// Row sums of probabilities are 1, or 0 where a query is padding.
void check_probabilities(const Tensor& p, int64_t zero_rows) {
  const int64_t S = p.size(3);
  int64_t zeros = 0;
  for (int64_t r = 0; r < p.numel() / S; ++r) {
    double sum = 0;
    for (int64_t s = 0; s < S; ++s) sum += p.data<float>()[r * S + s];
    zeros += sum == 0;
    if (sum != 0) CHECK(sum == doctest::Approx(1).epsilon(1e-5));
  }
  CHECK(zeros == zero_rows);
}

}  // namespace

TEST_CASE("a decoder that goes on from its past gives what one pass gives") {
  for (const char* name : {"gpt2", "llama", "mistral-window", "mixtral-16", "deepseek-v3"}) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder);
    const models::Inputs all = padded_batch();
    const models::Outputs whole = model->forward(ctx, all);
    REQUIRE(!whole.attentions.empty());
    check_probabilities(whole.attentions[0], 2 * whole.attentions[0].size(1));
    models::Inputs in;
    in.use_cache = in.output_hidden_states = in.output_attentions = true;
    const int64_t cuts[] = {0, 5, 6, 7, kLength};
    std::shared_ptr<models::PastKeyValues> early;
    for (size_t i = 0; i + 1 < std::size(cuts); ++i) {
      in.input_ids = columns(all.input_ids, cuts[i], cuts[i + 1]);
      in.attention_mask = columns(all.attention_mask, 0, cuts[i + 1]);
      const models::Outputs out = model->forward(ctx, in);
      CHECK(relative_error(out.logits, columns(whole.logits, cuts[i], cuts[i + 1])) < 2e-5);
      CHECK(relative_error(out.hidden_states.back(), columns(whole.hidden_states.back(), cuts[i], cuts[i + 1])) < 2e-5);
      for (size_t l = 0; l < whole.attentions.size(); ++l)
        CHECK(relative_error(out.attentions[l], columns(columns(whole.attentions[l], cuts[i], cuts[i + 1], 2), 0, cuts[i + 1], 3)) < 2e-5);
      REQUIRE(out.past_key_values);
      CHECK(out.past_key_values->columns() == cuts[i + 1]);
      in.past_key_values = out.past_key_values;
      if (i == 1) early = in.past_key_values->clone();
    }
    in.past_key_values->crop(6);  // and again from there, as from the copy
    for (const auto& past : {in.past_key_values, early}) {
      in.past_key_values = past;
      in.input_ids = columns(all.input_ids, 6, kLength);
      CHECK(relative_error(model->forward(ctx, in).logits, columns(whole.logits, 6, kLength)) < 2e-5);
    }
  }
}

TEST_CASE("an encoder-decoder that goes on from its past gives what one pass gives") {
  for (const char* name : {"marian", "m2m100", "t5"}) {
    CAPTURE(std::string(name));
    const std::string folder = golden_folder(name);
    if (folder.empty()) continue;
    Context ctx;
    const auto model = models::load(ctx, folder);
    models::Inputs all = padded_batch();
    all.decoder_input_ids = columns(all.input_ids, 3, 9);
    const models::Outputs whole = model->forward(ctx, all);
    check_probabilities(whole.encoder_attentions.at(0), 2 * whole.encoder_attentions.at(0).size(1));
    check_probabilities(whole.decoder_attentions.at(0), 0);
    check_probabilities(whole.cross_attentions.at(0), 0);
    models::Inputs in = all;
    in.use_cache = true;
    const int64_t cuts[] = {0, 3, 4, 6};
    for (size_t i = 0; i + 1 < std::size(cuts); ++i) {
      in.decoder_input_ids = columns(all.decoder_input_ids, cuts[i], cuts[i + 1]);
      const models::Outputs out = model->forward(ctx, in);
      CHECK(relative_error(out.logits, columns(whole.logits, cuts[i], cuts[i + 1])) < 2e-5);
      for (size_t l = 0; l < whole.decoder_attentions.size(); ++l) {
        const Tensor own = columns(columns(whole.decoder_attentions[l], cuts[i], cuts[i + 1], 2), 0, cuts[i + 1], 3);
        CHECK(relative_error(out.decoder_attentions[l], own) < 2e-5);
        CHECK(relative_error(out.cross_attentions[l], columns(whole.cross_attentions[l], cuts[i], cuts[i + 1], 2)) < 2e-5);
      }
      in.past_key_values = out.past_key_values;
    }
  }
}

TEST_CASE("a past of another model, another mask and another batch are refused") {
  const std::string folder = golden_folder("llama");
  if (folder.empty()) return;
  Context ctx;
  const auto model = models::load(ctx, folder), other = models::load(ctx, folder);
  models::Inputs in = padded_batch();
  in.use_cache = true;
  in.past_key_values = model->forward(ctx, in).past_key_values;
  in.input_ids = Tensor::from(std::vector<int64_t>{7, 8}, {2, 1});
  in.attention_mask = {};
  CHECK_THROWS_AS(other->forward(ctx, in), Error);
  in.attention_mask = Tensor::from(std::vector<int64_t>(2 * (kLength + 1), 1), {2, kLength + 1});
  CHECK_THROWS_AS(model->forward(ctx, in), Error);
  in.attention_mask = {};
  in.input_ids = Tensor::from(std::vector<int64_t>{7}, {1, 1});
  CHECK_THROWS_AS(model->forward(ctx, in), Error);
  CHECK_THROWS_AS(in.past_key_values->crop(kLength + 1), Error);
  CHECK(in.past_key_values->columns() == kLength);
}
