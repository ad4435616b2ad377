// Encoder-decoders that generate on a device: tokens chosen there, steps as graphs. Tiny ones of random weights.
#include <cstdlib>
#include <set>

#include "device_test.h"
#include "tenon/models/registry.h"
#include "tenon/models/seq2seq.h"
#include "tenon/tasks/generation/generate.h"

using namespace tenon;
using namespace tenon::device_test;

namespace {

const char* const kBart = R"("d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 128, "init_std": 0.4, "initializer_range": 0.4)";
const char* const kMarian = R"("model_type": "marian", "architectures": ["MarianMTModel"], "vocab_size": 96, "decoder_vocab_size": 96,
    "pad_token_id": 95, "decoder_start_token_id": 95, "eos_token_id": 0, "scale_embedding": true)";
const char* const kM2m100 = R"("model_type": "m2m_100", "architectures": ["M2M100ForConditionalGeneration"], "vocab_size": 96, "pad_token_id": 1,
    "decoder_start_token_id": 2, "eos_token_id": 2)";
const char* const kT5 = R"("model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 96, "d_ff": 48, "d_kv": 8,
    "d_model": 32, "num_layers": 2, "num_heads": 4, "pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu", "initializer_factor": 4.0)";
const std::vector<std::string> kFamilies = {std::string(kBart) + ", " + kMarian, std::string(kBart) + ", " + kM2m100, kT5};

/// The same weights here and on the device.
struct Twins {
  explicit Twins(const std::string& family, models::Precision precision = models::Precision::Float32)
      : here(make(family, precision)), there(make(family, precision)) {
    Context ctx(kDevice);
    there->to(ctx);
  }
  static std::unique_ptr<models::Model> make(const std::string& family, models::Precision precision) {
    Context ctx(1);
    return models::from_config(ctx, Json::parse("{" + family + "}"), {.precision = precision, .seed = 5});
  }
  std::unique_ptr<models::Model> here, there;
};

models::Inputs sources(int64_t B) {
  std::vector<int64_t> ids, mask;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < 7; ++i) mask.push_back(i < 7 - b % 3), ids.push_back(i < 7 - b % 3 ? 3 + (17 * b + 5 * i + 2) % 90 : 0);
  models::Inputs in;
  in.input_ids = Tensor::from(ids, {B, 7}), in.attention_mask = Tensor::from(mask, {B, 7});
  return in;
}

GenerationConfig greedy(int64_t n) {
  GenerationConfig c;
  c.max_new_tokens = n, c.pad_token_id = 0;
  return c;
}
GenerationConfig sampled(int64_t n) {
  GenerationConfig c = greedy(n);
  c.do_sample = true, c.temperature = 1.2, c.top_k = 40, c.top_p = 0.95;
  return c;
}

std::vector<int64_t> ids_of(const models::Model& model, const models::Inputs& in, GenerationConfig c) {
  Context ctx(model.device());
  c.decoder_start_token_id = model.config().value("decoder_start_token_id", 0);
  GenerateHooks hooks;
  hooks.seed = 3;
  const Tensor t = generate(ctx, model, in, c, hooks).sequences;
  return {t.data<int64_t>(), t.data<int64_t>() + t.numel()};
}

}  // namespace

TEST_CASE("device: encoder-decoders write the CPU's ids, which alone come back, and launch graphs") {
  for (const std::string& family : kFamilies) {
    CAPTURE(family);
    const Twins models(family);
    for (GenerationConfig c : {greedy(70), sampled(70)}) {
      c.num_return_sequences = c.do_sample ? 2 : 1;
      const size_t rows = c.do_sample ? 6 : 3;
      const std::vector<int64_t> want = ids_of(*models.here, sources(3), c);
      if (c.do_sample) CHECK(std::set<int64_t>(want.begin(), want.end()).size() > 4);
      const int launches = counts().graph_launches;
      const size_t bytes = counts().bytes_to_host;
      CHECK(ids_of(*models.there, sources(3), c) == want);
      CHECK(counts().bytes_to_host - bytes == 70 * 12 * rows);
      const int one_more = family == kT5;  // biases of more distances are made in a step of its own
      const int rows_change = c.do_sample;  // behind the first step there are two of each
      CHECK(counts().graph_launches - launches == 69 - rows_change - one_more);
      setenv("TENON_CUDA_GRAPHS", "0", 1);
      const int before = counts().graph_launches;
      CHECK(ids_of(*models.there, sources(3), c) == want);
      CHECK(counts().graph_launches == before);
      unsetenv("TENON_CUDA_GRAPHS");
    }
  }
}

TEST_CASE("device: graphs of encoder-decoders follow rows that leave, beams, keys in bytes and packed weights") {
  for (const std::string& family : kFamilies) {
    CAPTURE(family);
    const Twins models(family);
    GenerationConfig ends = sampled(40);
    ends.num_return_sequences = 3;
    for (int64_t id = 0; id < 96; id += 16) ends.eos_token_id.push_back(id);
    GenerationConfig beams = greedy(20);
    beams.num_beams = 3;
    GenerationConfig bytes = greedy(30);
    bytes.cache_implementation = "quantized";
    for (const GenerationConfig& c : {ends, beams, bytes}) {
      const std::vector<int64_t> want = ids_of(*models.here, sources(4), c);
      const int launches = counts().graph_launches;
      CHECK(ids_of(*models.there, sources(4), c) == want);
      CHECK(counts().graph_launches > launches);
    }
    for (const auto precision : {models::Precision::BFloat16, models::Precision::Int4}) {
      const Twins packed(family, precision);
      setenv("TENON_CUDA_GRAPHS", "0", 1);
      const std::vector<int64_t> want = ids_of(*packed.there, sources(2), greedy(20));
      unsetenv("TENON_CUDA_GRAPHS");
      const int launches = counts().graph_launches;
      CHECK(ids_of(*packed.there, sources(2), greedy(20)) == want);
      CHECK(counts().graph_launches == launches + 19);
    }
  }
}

TEST_CASE("device: scores come to the host for the tokens that a rule forces, and for those alone") {
  const Twins models(kFamilies[1]);
  GenerationConfig c = greedy(12);
  c.forced_bos_token_id = 9, c.forced_eos_token_id = {2};
  const std::vector<int64_t> want = ids_of(*models.here, sources(2), c);
  CHECK(want[1] == 9);
  CHECK(want[12] == 2);
  size_t bytes = counts().bytes_to_host;
  CHECK(ids_of(*models.there, sources(2), c) == want);
  CHECK(counts().bytes_to_host - bytes == 10 * 12 * 2 + 2 * 2 * 96 * sizeof(float));
  c = greedy(12);
  c.eos_token_id = {want[2]}, c.min_new_tokens = 5;
  const std::vector<int64_t> longer = ids_of(*models.here, sources(2), c);
  bytes = counts().bytes_to_host;
  CHECK(ids_of(*models.there, sources(2), c) == longer);
  CHECK(counts().bytes_to_host - bytes < 5 * 2 * 96 * sizeof(float) + 12 * 12 * 2);
  CHECK(counts().bytes_to_host - bytes >= 5 * 2 * 96 * sizeof(float));
}

TEST_CASE("device: rows of sources in another order than theirs, as a session's owner may arrange them") {
  for (const std::string& family : kFamilies) {
    CAPTURE(family);
    const Twins models(family);
    const auto run = [](const models::Model& model, bool reuse) {
      Context ctx(model.device());
      const auto session = model.start(ctx, sources(3));
      if (reuse) session->reuse_logits();
      std::vector<float> all;
      std::vector<std::vector<int64_t>> tokens = {{7}, {8}, {9}};
      for (int step = 0; step < 24; ++step) {
        const Tensor logits = session->feed(ctx, tokens).to(Device{});
        all.insert(all.end(), logits.values<float>().begin(), logits.values<float>().end());
        for (auto& t : tokens) t[0] = 3 + (7 * t[0] + step) % 90;
        const std::vector<int64_t> back = {2, 1, 0}, twice = {0, 0, 1}, same = {0, 1, 2};
        if (step % 6 == 5) session->reorder(step == 5 ? back : step == 11 ? twice : same);
      }
      return all;
    };
    const std::vector<float> plain = run(*models.there, false);
    const int launches = counts().graph_launches;
    CHECK(run(*models.there, true) == plain);
    CHECK(counts().graph_launches - launches >= 16);
  }
}
