// tenon train: fine-tunes a text classifier on a file of labelled lines.
#include <unistd.h>

#include <cmath>
#include <cstdio>

#include "cli/command.h"
#include "tenon/tasks/train_text_classification.h"

namespace tenon::cli {
namespace {

double real(const Args& args, const std::string& name, double fallback, double least, double most) {
  if (!args.has(name)) return fallback;
  const std::string text = args.text(name);
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end || !(value >= least && value <= most))
    throw UsageError("--" + name + ": expected a number, got \"" + text + "\"");
  return value;
}

/// One line that is written over on a terminal, a line now and then elsewhere.
bool show(const train::Progress& p, bool terminal) {
  const int64_t every = terminal ? 1 : std::max<int64_t>(1, p.steps / 20);
  if (p.step % every && p.step != p.steps) return true;
  const double left = p.seconds / static_cast<double>(p.step) * static_cast<double>(p.steps - p.step);
  std::fprintf(stderr, "%sstep %lld of %lld  epoch %.2f  loss %.4f  lr %.2e  %.0f s, %.0f s left%s", terminal ? "\r" : "",
               static_cast<long long>(p.step), static_cast<long long>(p.steps), p.epoch, p.loss, p.learning_rate, p.seconds, left,
               terminal && p.step != p.steps ? "   " : "\n");
  std::fflush(stderr);
  return true;
}

int run(const Args& args) {
  const std::string folder = model_argument(args);
  if (args.positional().size() != 2) throw UsageError("expected a checkpoint's folder and a file of labelled lines");
  if (!args.has("output")) throw UsageError("expected --output FOLDER: where the trained checkpoint goes");
  train::TrainOptions options;
  options.epochs = static_cast<int>(args.number("epochs", 3, 1, 10000));
  options.batch_size = args.number("batch", 32, 1, 65536);
  options.lr = real(args, "lr", 5e-5, 0, 1e3);
  options.weight_decay = real(args, "weight-decay", 0.01, 0, 1e3);
  options.warmup_steps = args.number("warmup", 0, 0, 1 << 30);
  options.bf16 = args.has("bf16");
  options.checkpoint = args.has("checkpoint");
  options.seed = static_cast<uint64_t>(args.number("seed", 42, 0, 1 << 30));
  try {
    options.schedule = train::schedule_kind(args.text("schedule", "linear"));
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  const int64_t max_length = args.number("max-length", 0, 1, 1 << 20);
  const bool terminal = isatty(STDERR_FILENO) != 0;
  options.progress = [&](const train::Progress& p) { return show(p, terminal); };

  const std::vector<LabelledText> texts = read_labelled_texts(args.positional()[1]);
  std::vector<LabelledText> held_out;
  if (args.has("eval")) held_out = read_labelled_texts(args.text("eval"));
  TextClassificationTrainer trainer(folder, labels_of(texts), max_length, options.seed, parse_device(args.text("device", "cpu")));
  if (args.has("threads")) trainer.context().set_threads(static_cast<int>(args.number("threads", 0, 1, 1024)));
  std::printf("%s: %s parameters, %zu labels, %s texts\n", trainer.model().class_name().c_str(),
              grouped(trainer.model().num_parameters()).c_str(), trainer.labels().size(),
              grouped(static_cast<long long>(texts.size())).c_str());
  for (const std::string& name : trainer.report().missing) std::printf("  starts fresh: %s\n", name.c_str());
  for (const std::string& name : trainer.report().mismatched)
    std::printf("  starts fresh, the checkpoint's has another shape: %s\n", name.c_str());
  std::fflush(stdout);

  const train::TrainResult result = trainer.train(texts, options);
  std::printf("%lld steps in %.1f s, loss %.4f\n", static_cast<long long>(result.steps), result.seconds, result.loss);
  trainer.save(args.text("output"));
  std::printf("saved to %s\n", args.text("output").c_str());
  if (!held_out.empty()) {
    const Accuracy a = trainer.evaluate(held_out);
    std::printf("accuracy %.2f %% of %s texts, loss %.4f\n", 100 * a.accuracy, grouped(a.count).c_str(), a.loss);
  }
  return 0;
}

}  // namespace

Command train_command() {
  return {"train",
          "FOLDER FILE --output FOLDER",
          "fine-tune a text classifier on labelled lines",
          "FILE holds lines of a label, a tab and a text. Any checkpoint of an encoder serves (BERT, MiniLM, DistilBERT, RoBERTa): the\n"
          "classifier's labels become those of the file. The output is a checkpoint that tenon and Transformers open.\n\n"
          "Examples\n"
          "  tenon train minilm news.tsv --output tuned --eval test.tsv --epochs 2 --lr 1e-4 --max-length 64 --bf16\n"
          "  tenon classify tuned \"Shares rose 5 % after the report\"",
          {{"output", "FOLDER", "where the trained checkpoint goes"},
           {"eval", "FILE", "labelled lines to measure the accuracy on, after training"},
           {"epochs", "N", "passes over the file (default 3)"},
           {"batch", "N", "texts per step (default 32)"},
           {"lr", "X", "the highest learning rate (default 5e-5)"},
           {"schedule", "NAME", "linear (default), cosine, constant_with_warmup, ... as in Transformers"},
           {"warmup", "N", "steps in which the learning rate rises (default 0)"},
           {"weight-decay", "X", "of all but biases and norms (default 0.01)"},
           {"max-length", "N", "cut texts after N tokens (default: what the model takes)"},
           {"bf16", "", "multiply in bfloat16: faster where the processor has it"},
           {"checkpoint", "", "less memory, a third more time"},
           {"seed", "N", "of the order, of dropout and of a fresh head (default 42)"},
           {"threads", "N", "threads to use"},
           {"device", "D", "cpu, cuda or cuda:1 (default cpu)"}},
          run};
}

}  // namespace tenon::cli
