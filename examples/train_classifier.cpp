// Fine-tunes a text classifier, evaluates it, saves it, opens what it saved and classifies with it.
//
//     example_train_classifier FOLDER TRAIN.tsv TEST.tsv OUTPUT [--bf16] TEXT...
//
// FOLDER is a checkpoint of an encoder as Hugging Face publishes it (BERT, MiniLM, DistilBERT, RoBERTa); the files hold lines of a label,
// a tab and a text. OUTPUT becomes a checkpoint that this library and Transformers open.
#include <tenon/tenon.h>

#include <cstdio>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s FOLDER TRAIN.tsv TEST.tsv OUTPUT [--bf16] TEXT...\n", argv[0]);
    return 2;
  }
  std::vector<std::string> texts(argv + 5, argv + argc);
  const bool bf16 = std::erase(texts, "--bf16") > 0;
  try {
    const std::vector<tenon::LabelledText> train = tenon::read_labelled_texts(argv[2]), test = tenon::read_labelled_texts(argv[3]);
    tenon::TextClassificationTrainer trainer(argv[1], tenon::labels_of(train), 64);

    tenon::train::TrainOptions options;
    options.epochs = 2;
    options.lr = 1e-4;
    options.warmup_steps = 50;
    options.bf16 = bf16;
    options.progress = [](const tenon::train::Progress& p) {
      if (p.step % 20 == 0 || p.step == p.steps)
        std::printf("\rstep %4lld of %lld  epoch %.2f  loss %.4f  lr %.2e  %.0f s ", static_cast<long long>(p.step),
                    static_cast<long long>(p.steps), p.epoch, p.loss, p.learning_rate, p.seconds);
      std::fflush(stdout);
      return true;  // false would end the training here
    };
    const tenon::train::TrainResult result = trainer.train(train, options);
    std::printf("\ntrained on %zu texts in %.1f s, loss %.4f\n", train.size(), result.seconds, result.loss);

    const tenon::Accuracy a = trainer.evaluate(test);
    std::printf("accuracy on %lld texts: %.2f %%, loss %.4f\n", static_cast<long long>(a.count), 100 * a.accuracy, a.loss);
    trainer.save(argv[4]);

    // From here on nothing of the training is used: any program opens the folder like this.
    const tenon::TextClassification classify(argv[4]);
    for (const std::string& text : texts) {
      const tenon::LabelScore best = classify(text, {.truncation = true})[0];
      std::printf("%.4f  %-10s %s\n", static_cast<double>(best.score), best.label.c_str(), text.c_str());
    }
  } catch (const tenon::Error& e) {
    // A file that cannot be read, a line without a label, a loss that became NaN (with its step), a full disk: the message says which.
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
