// Fine-tuning a classifier on a device: it learns as on the CPU, and what it saves opens there.
#include <filesystem>

#include "device_test.h"
#include "io/temp_folder.h"
#include "tenon/tasks/train_text_classification.h"

using namespace tenon;
using namespace tenon::device_test;

TEST_CASE("device: a classifier is fine-tuned as on the CPU, and what is saved opens there") {
  const std::string folder = std::string(TENON_TEST_DIR) + "/golden/bert";
  const TempFolder out;
  std::vector<LabelledText> texts;
  for (const char* about : {"the company", "its rival", "a bank", "the stock", "profit", "the market", "a dog", "the cat"})
    for (const char* what : {"rose sharply", "rose", "fell sharply", "fell"})
      texts.push_back({std::string(about) + " " + what, what[0] == 'r' ? "up" : "down"});
  train::TrainOptions options;
  options.epochs = 12, options.batch_size = 8, options.lr = 1e-2, options.dropout = false;
  std::vector<double> losses[2];
  const auto train_on = [&](Device device, std::vector<double>& curve) {
    TextClassificationTrainer trainer(folder, {"up", "down"}, 32, 42, device);
    options.progress = [&](const train::Progress& p) {
      curve.push_back(p.loss);
      return true;
    };
    trainer.train(texts, options);
    trainer.save(out / device.str());
    return trainer.evaluate(texts);
  };
  const Accuracy here = train_on({}, losses[0]), there = train_on(kDevice, losses[1]);
  REQUIRE(losses[0].size() == 48);
  for (size_t i = 0; i < 12; ++i) CHECK(losses[1][i] == doctest::Approx(losses[0][i]).epsilon(1e-3));
  CHECK(losses[1].back() < 0.5 * losses[1].front());
  CHECK(there.accuracy == here.accuracy);
  CHECK(TextClassificationTrainer(out / kDevice.str(), {"up", "down"}, 32).evaluate(texts).loss == doctest::Approx(there.loss).epsilon(1e-4));
}
