// tenon classify: labels for texts or images.
#include <cstdio>

#include "cli/command.h"
#include "tenon/tasks/pipeline.h"

namespace tenon::cli {
namespace {

void print(const std::string& input, const Result& result, bool json) {
  if (json) {
    std::printf("%s\n", Json(Json::Object{{"input", Json(input)}, {"labels", result.to_json()}}).dump().c_str());
    return;
  }
  for (const LabelScore& l : result.labels) std::printf("%-20s %.4f  %s\n", l.label.c_str(), static_cast<double>(l.score), input.c_str());
}

int run(const Args& args) {
  const std::string folder = model_argument(args);
  const std::string task = task_of(folder);
  CallOptions options;
  options.candidate_labels = args.list("labels");
  options.truncation = !args.has("no-truncation");
  options.max_length = args.number("max-length", 0, 1, 1 << 20);
  if (args.has("top-k")) options.top_k = args.number("top-k", 1, 0, 1 << 20);

  const bool zero_shot = task == ZeroShotImageClassification::kTask;
  if (zero_shot && options.candidate_labels.empty())
    throw UsageError("this checkpoint compares images with texts: give some with --labels \"a cat,a dog\"");
  if (!zero_shot && args.has("labels")) throw UsageError("--labels is for CLIP checkpoints; this one is for " + task);
  check(zero_shot || task == TextClassification::kTask || task == ImageClassification::kTask, ErrorCode::Format, "classify", folder,
        ": expected a checkpoint with a classifier, got one for ", task);
  const Pipeline classify = pipeline(task, folder, pipeline_options(args));
  for_inputs(args, [&](const std::vector<std::string>& inputs) {
    std::vector<Result> results = classify(inputs, options);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (zero_shot && options.top_k.value_or(0) > 0 && results[i].labels.size() > static_cast<size_t>(*options.top_k))
        results[i].labels.resize(static_cast<size_t>(*options.top_k));
      print(inputs[i], results[i], args.has("json"));
    }
    std::fflush(stdout);
  });
  return 0;
}

}  // namespace

Command classify_command() {
  std::vector<Option> options = {
      {"top-k", "K", "print the best K labels, 0: all (default: 1 for texts, 5 for images, all of --labels)"},
      {"labels", "A,B,...", "with a CLIP checkpoint: the texts to choose from"},
      {"max-length", "N", "cut texts after N tokens (default: what the model takes)"},
      {"no-truncation", "", "a text that is too long is an error"},
      {"json", "", "one JSON object per input and line"},
  };
  options.insert(options.end(), kModelOptions.begin(), kModelOptions.end());
  return {
      "classify",
      "FOLDER [INPUT...]",
      "labels for texts or images",
      "The checkpoint decides what is classified: texts (BERT, DistilBERT, RoBERTa), image files (ViT), or image files by texts of your\n"
      "own (CLIP). Without inputs, each line of standard input is one. A line of output: label, score, input.\n\n"
      "Examples\n"
      "  tenon classify finbert \"Shares rose 5 % after the report\"\n"
      "  tenon classify finbert --top-k 0 --json < headlines.txt > labels.jsonl\n"
      "  tenon classify vit-base photo.jpg\n"
      "  tenon classify clip photo.jpg --labels \"a cat,a dog,a rocket\"\n"
      "  tenon classify finbert --precision int8 --batch 64 < headlines.txt",
      options,
      run};
}

}  // namespace tenon::cli
