// Fine-tuning a tiny classifier: it learns, is saved and opened again; batches, stopping, bad input, a full disk.
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "ops/op_test.h"
#include "tenon/tasks/text_classification.h"
#include "tenon/tasks/train_text_classification.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;

const std::string kModel = std::string(TENON_TEST_DIR) + "/golden/bert";

/// A folder that the destructor removes.
struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "tenon-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(path / name) << content;
    return (path / name).string();
  }
  fs::path path;
};

std::vector<LabelledText> texts() {
  std::vector<LabelledText> t;
  for (const char* about : {"the company", "its rival", "a bank", "the stock", "profit", "the market", "a dog", "the cat"})
    for (const char* what : {"rose sharply", "rose", "fell sharply", "fell"})
      t.push_back({std::string(about) + " " + what, std::string(what).substr(0, 4) == "rose" ? "up" : "down"});
  return t;
}

train::TrainOptions quick(int epochs) {
  train::TrainOptions o;
  o.epochs = epochs;
  o.batch_size = 8;
  o.lr = 1e-2;
  return o;
}

TEST_CASE("a classifier learns, is saved, and answers the same when opened again") {
  const Folder folder;
  TextClassificationTrainer trainer(kModel, labels_of(texts()), 32);
  CHECK(trainer.labels() == std::vector<std::string>{"down", "up"});
  CHECK(trainer.report().mismatched == std::vector<std::string>{"classifier.weight", "classifier.bias"});
  const double before = trainer.evaluate(texts()).loss;
  std::vector<train::Progress> seen;
  train::TrainOptions options = quick(12);
  options.warmup_steps = 4;
  options.progress = [&](const train::Progress& p) {
    seen.push_back(p);
    return true;
  };
  const train::TrainResult result = trainer.train(texts(), options);
  CHECK(result.steps == 48);
  REQUIRE(seen.size() == 48);
  CHECK(seen[0].learning_rate == 0);
  CHECK(seen[4].learning_rate == doctest::Approx(1e-2));
  CHECK(seen.back().epoch == 12);
  CHECK(seen.back().steps == 48);
  const Accuracy after = trainer.evaluate(texts(), 5);
  CHECK(after.count == 32);
  CHECK(after.loss < 0.5 * before);
  CHECK(after.accuracy > 0.9);

  const std::string out = (folder.path / "tuned").string();
  trainer.save(out);
  const TextClassification classify(out);
  int64_t right = 0;
  for (const LabelledText& t : texts()) right += classify(t.text)[0].label == t.label;
  CHECK(static_cast<double>(right) / 32 == doctest::Approx(after.accuracy));
  // The same labels in another order: the head is taken over as it is.
  TextClassificationTrainer again(out, {"up", "down"}, 32);
  CHECK(again.labels() == trainer.labels());
  CHECK(again.report().mismatched.empty());
  CHECK(again.evaluate(texts()).loss == doctest::Approx(after.loss).epsilon(1e-5));
}

TEST_CASE("runs with one seed are the same, whatever the number of threads; bf16 follows") {
  std::vector<double> losses;
  for (int i = 0; i < 4; ++i) {
    TextClassificationTrainer trainer(kModel, {"up", "down"}, 32);
    trainer.context().set_threads(i == 1 ? 3 : 1);
    train::TrainOptions options = quick(2);
    options.seed = i == 2 ? 1 : 42;
    options.bf16 = i == 3;
    losses.push_back(trainer.train(texts(), options).loss);
  }
  CHECK(losses[1] == doctest::Approx(losses[0]).epsilon(1e-5));
  CHECK(losses[2] != losses[0]);
  CHECK(losses[3] == doctest::Approx(losses[0]).epsilon(0.05));
}

TEST_CASE("the progress callback ends the training") {
  TextClassificationTrainer trainer(kModel, {"up", "down"});
  train::TrainOptions options = quick(3);
  options.progress = [](const train::Progress& p) { return p.step < 5; };
  CHECK(trainer.train(texts(), options).steps == 5);
}

TEST_CASE("batches hold every example once, those of like length together") {
  std::vector<size_t> lengths(1000);
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = i * 7919 % 97;
  Random random(3);
  const auto batches = train::batches_by_length(lengths, 16, random);
  CHECK(batches.size() == 63);
  std::vector<size_t> all;
  size_t padded = 0;
  for (const auto& batch : batches) {
    size_t longest = 0;
    for (const size_t i : batch) all.push_back(i), longest = std::max(longest, lengths[i]);
    padded += longest * batch.size();
  }
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i < all.size(); ++i) CHECK(all[i] == i);
  CHECK(static_cast<double>(padded) < 1.1 * static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), size_t{0})));
  CHECK(train::batches_by_length(lengths, 16, random) != batches);
}

TEST_CASE("labelled texts from files") {
  const Folder folder;
  const auto read = read_labelled_texts(folder.file("a.tsv", "up\tshares rose\r\n\ndown\tit\tfell\nup\t"));
  REQUIRE(read.size() == 3);
  CHECK(read[0].text == "shares rose");
  CHECK(read[1].text == "it\tfell");
  CHECK(read[2].text.empty());
  test::expect_error(ErrorCode::Format, {"b.tsv, line 2", "tab"}, [&] { read_labelled_texts(folder.file("b.tsv", "up\ta\nno label\n")); });
  test::expect_error(ErrorCode::Format, {"line 1"}, [&] { read_labelled_texts(folder.file("c.tsv", "\ta text without a label\n")); });
  test::expect_error(ErrorCode::Format, {"empty.tsv", "got none"}, [&] { read_labelled_texts(folder.file("empty.tsv", "\n\n")); });
  test::expect_error(ErrorCode::File, {"nowhere.tsv"}, [&] { read_labelled_texts((folder.path / "nowhere.tsv").string()); });
}

TEST_CASE("bad labels, settings and losses") {
  test::expect_error(ErrorCode::Limit, {"labels", "two", "got 1"}, [] { TextClassificationTrainer(kModel, {"up"}); });
  test::expect_error(ErrorCode::Limit, {"'up'", "twice"}, [] { TextClassificationTrainer(kModel, {"up", "up"}); });
  TextClassificationTrainer trainer(kModel, {"up", "down"});
  std::vector<LabelledText> wrong = texts();
  wrong[3].label = "sideways";
  test::expect_error(ErrorCode::Limit, {"'sideways'", "text 3", "2"}, [&] { trainer.train(wrong, quick(1)); });
  test::expect_error(ErrorCode::Limit, {"texts", "none"}, [&] { trainer.train({}, quick(1)); });
  test::expect_error(ErrorCode::Limit, {"epochs"}, [&] { trainer.train(texts(), quick(0)); });
  train::TrainOptions options = quick(1);
  options.batch_size = 0;
  test::expect_error(ErrorCode::Limit, {"batch_size"}, [&] { trainer.train(texts(), options); });
  options = quick(3);
  options.lr = 1e30;
  test::expect_error(ErrorCode::Limit, {"[train]", "step 2", "loss is"}, [&] { trainer.train(texts(), options); });
}

TEST_CASE("a disk that is full leaves the former checkpoint as it was") {
  const Folder folder;
  const std::string out = (folder.path / "tuned").string();
  TextClassificationTrainer trainer(kModel, {"up", "down"}, 32);
  trainer.save(out);
  const double loss = trainer.evaluate(texts()).loss;
  trainer.train(texts(), quick(2));
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit tight = {16384, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &tight);
  std::string message;
  try {
    trainer.save(out);
  } catch (const Error& e) {
    message = e.what();
    CHECK(e.code() == ErrorCode::File);
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  CHECK(message.find("tuned") != std::string::npos);
  CHECK(TextClassificationTrainer(out, {"up", "down"}, 32).evaluate(texts()).loss == doctest::Approx(loss).epsilon(1e-5));
}

}  // namespace
}  // namespace tenon
