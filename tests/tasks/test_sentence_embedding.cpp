// Sentence embedding: poolings against Transformers, the files of sentence encoders, search; the real MiniLM where it is at hand.
#include <algorithm>
#include <cstdlib>

#include "expect.h"
#include "tenon/tasks/sentence_embedding.h"

using namespace tenon;
using namespace tenon::test;

TEST_CASE("sentence embedding pools as sentence-transformers does") {
  const std::vector<std::string> texts = strings(expected().at("texts"));
  const Json& want = expected().at("sentence-embedding");
  const std::pair<Pooling, const char*> kinds[] = {{Pooling::Mean, "mean"},
                                                   {Pooling::Cls, "cls"},
                                                   {Pooling::Max, "max"},
                                                   {Pooling::MeanSqrtLen, "sqrt"},
                                                   {Pooling::WeightedMean, "weighted"},
                                                   {Pooling::LastToken, "last"}};
  for (const auto& [pooling, name] : kinds) {
    CAPTURE(name);
    const SentenceEmbedding embed(golden("bert"), {.batch_size = 2}, {.pooling = pooling, .max_length = 16});
    check_values(embed(texts), want.at(name));
  }
  const SentenceEmbedding plain(golden("bert"));
  CHECK(plain.config().pooling == std::vector<Pooling>{Pooling::Mean});
  CHECK(plain(std::vector<std::string>{}).shape() == Shape{0, 32});
  CHECK(plain(texts[0]).shape() == Shape{32});
}

TEST_CASE("sentence embedding reads modules.json and its companions") {
  Folder folder("sentence");
  folder.copy(golden("bert"))
      .write("modules.json", R"([{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
                                 {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                                 {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}])")
      .write("1_Pooling/config.json",
             R"({"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": false})")
      .write("sentence_bert_config.json", R"({"max_seq_length": 16, "do_lower_case": true})");
  CHECK(task_of(folder.path()) == "sentence-embedding");
  const SentenceEmbedding embed(folder.path());
  CHECK(embed.config().pooling == std::vector<Pooling>{Pooling::Cls, Pooling::Max});
  CHECK(embed.config().normalize);
  CHECK(embed.config().max_length == 16);
  CHECK(embed.config().lower_case);
  const Tensor loud = embed("SHARES Rose"), quiet = embed("shares rose");
  CHECK(std::equal(loud.values<float>().begin(), loud.values<float>().end(), quiet.values<float>().begin()));
  const Tensor e = embed("Shares rose");
  CHECK(e.shape() == Shape{64});
  double square = 0;
  for (const float x : e.values<float>()) square += x * x;
  CHECK(square == doctest::Approx(1).epsilon(1e-5));

  folder.write("1_Pooling/config.json", R"({"pooling_mode": "median"})");
  CHECK(error_of([&] { SentenceEmbedding(folder.path()); }, "median") == ErrorCode::Format);
  folder.write("modules.json", R"([{"type": "sentence_transformers.models.Dense"}])");
  CHECK(error_of([&] { SentenceEmbedding(folder.path()); }, "Dense") == ErrorCode::Format);
  folder.write("modules.json", R"({"type": 1})");
  CHECK(error_of([&] { SentenceEmbedding(folder.path()); }, "modules.json") == ErrorCode::Type);
}

TEST_CASE("the pooler must be there to be asked for") {
  CHECK(SentenceEmbedding(golden("bert"), {}, {.pooling = Pooling::Pooler})("shares").shape() == Shape{32});
  Folder distil("distil");
  distil.copy(golden("distilbert")).write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n");
  const SentenceEmbedding embed(distil.path(), {}, {.pooling = Pooling::Pooler});
  CHECK(error_of([&] { embed("a"); }, "pooler") == ErrorCode::Type);
}

TEST_CASE("nearest() finds the largest dot products") {
  const Tensor corpus = Tensor::from(std::vector<float>{1, 0, 0, 1, 0.6f, 0.8f}, {3, 2});
  const auto hits = nearest(corpus, Tensor::from(std::vector<float>{0, 2}, {2}), 2);
  REQUIRE(hits.size() == 2);
  CHECK(hits[0].index == 1);
  CHECK(hits[0].score == doctest::Approx(2));
  CHECK(hits[1].index == 2);
  CHECK(error_of([&] { nearest(corpus, Tensor::zeros({3}, DType::F32), 1); }, "(3, 2)") == ErrorCode::Shape);
}

TEST_CASE("the real MiniLM gives its model card's similarities") {
  const char* folder = std::getenv("TENON_MINILM");
  if (!folder || !*folder) {
    MESSAGE("skipped: TENON_MINILM does not name the folder of all-MiniLM-L6-v2");
    return;
  }
  const SentenceEmbedding embed(folder);
  const Tensor e = embed(std::vector<std::string>{"The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."});
  const Tensor s = embed.similarity(e, e);
  const auto at = [&](int i, int j) { return s.data<float>()[i * 3 + j]; };
  CHECK(at(0, 1) == doctest::Approx(0.6660).epsilon(5e-4));
  CHECK(at(0, 2) == doctest::Approx(0.1046).epsilon(2e-3));
  CHECK(at(1, 2) == doctest::Approx(0.1411).epsilon(2e-3));
}
