// Fine-tuning of text classifiers: labelled texts from a file, training, accuracy, saving.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/io/files.h"
#include "tenon/models/registry.h"
#include "tenon/tasks/texts.h"
#include "tenon/train/trainer.h"

namespace tenon {

struct LabelledText {
  std::string text, label;
};

/// Reads lines "label TAB text"; empty ones do not count.
/// Errors: Error(File); Error(Format) naming the first line without a tab or without a label, or a file without lines.
inline std::vector<LabelledText> read_labelled_texts(const std::string& path) {
  const std::string content = io::read_file(path);
  std::vector<LabelledText> texts;
  int64_t number = 0;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    std::string_view line = std::string_view(content).substr(at, end - at);
    at = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const size_t tab = line.find('\t');
    check(tab != std::string_view::npos && tab > 0, ErrorCode::Format, "labelled texts", path, ", line ", number,
          ": expected a label, a tab and a text");
    texts.push_back({std::string(line.substr(tab + 1)), std::string(line.substr(0, tab))});
  }
  check(!texts.empty(), ErrorCode::Format, "labelled texts", path, ": expected lines of a label, a tab and a text, got none");
  return texts;
}

/// The labels that occur, sorted.
inline std::vector<std::string> labels_of(std::span<const LabelledText> texts) {
  std::set<std::string> labels;
  for (const LabelledText& t : texts) labels.insert(t.label);
  return {labels.begin(), labels.end()};
}

struct Accuracy {
  double accuracy = 0, loss = 0;  // shares of 1; mean cross-entropy
  int64_t count = 0;
};

///     tenon::TextClassificationTrainer trainer("folder", tenon::labels_of(texts));
///     trainer.train(texts, {.epochs = 2});
///     trainer.save("tuned");
///
/// Any checkpoint of an encoder serves: a classifier with other labels, or without any, gets a fresh head.
class TextClassificationTrainer {
 public:
  /// Opens a checkpoint for these labels; where it has the same ones already they keep its order and the head its weights.
  /// Units: max_length in tokens; 0: what tokenizer and model take. `seed` is that of a fresh head. It trains on `device`.
  /// Errors: as models::load() and Tokenizer::from_folder(); Error(Limit) for less than two labels; Error(Device) for one that cannot be used.
  TextClassificationTrainer(const std::string& folder, std::vector<std::string> labels, int64_t max_length = 0, uint64_t seed = 42, Device device = {})
      : ctx_(device), tokenizer_(text::Tokenizer::from_folder(folder)), labels_(std::move(labels)) {
    check(labels_.size() >= 2, ErrorCode::Limit, "train", "labels: expected at least two, got ", labels_.size());
    const Json config = Json::parse_file(io::join_path(folder, "config.json"));
    if (const std::vector<std::string> known = labels_in(config);
        std::is_permutation(known.begin(), known.end(), labels_.begin(), labels_.end()))
      labels_ = known;
    for (size_t i = 0; i < labels_.size(); ++i) {
      const bool fresh = numbers_.emplace(labels_[i], static_cast<int64_t>(i)).second;
      check(fresh, ErrorCode::Limit, "train", "labels: '", labels_[i], "' is given twice");
    }
    models::LoadOptions load{.class_name = "AutoModelForSequenceClassification", .pack = false, .allow_missing = true, .seed = seed};
    load.ignore_mismatched_sizes = true;
    Json names, numbers;
    for (size_t i = 0; i < labels_.size(); ++i) {
      names.set(std::to_string(i), Json(labels_[i]));
      numbers.set(labels_[i], Json(static_cast<int64_t>(i)));
    }
    if (config.has("num_labels")) load.config_overrides.set("num_labels", Json(static_cast<int64_t>(labels_.size())));
    load.config_overrides.set("id2label", std::move(names));
    load.config_overrides.set("label2id", std::move(numbers));
    load.config_overrides.set("problem_type", Json("single_label_classification"));
    model_ = models::load(ctx_, folder, load, &report_);
    model_->unpack();
    encode_ = tasks::truncating(tokenizer_, model_->config(), max_length);
  }

  /// Trains with AdamW on all texts in each epoch.
  /// Errors: Error(Limit) for a label that is not among labels(), naming it and its place, or no texts; as train::fit().
  train::TrainResult train(std::span<const LabelledText> texts, const train::TrainOptions& options) {
    const Encoded data = encode(texts);
    std::vector<size_t> lengths;
    for (const text::Encoding& e : data.encodings) lengths.push_back(e.size());
    train::Optimizer optimizer = train::optimizer_of(model_->parameters(), {.lr = options.lr, .weight_decay = options.weight_decay});
    Random random(options.seed);
    return train::fit(
        ctx_, optimizer, options, [&](int) { return train::batches_by_length(lengths, options.batch_size, random); },
        [&](Context& ctx, const std::vector<size_t>& batch) { return model_->forward(ctx, inputs_of(data, batch)).loss; });
  }

  /// Errors: as train().
  Accuracy evaluate(std::span<const LabelledText> texts, int64_t batch_size = 32) {
    const Encoded data = encode(texts);
    std::vector<size_t> lengths;
    for (const text::Encoding& e : data.encodings) lengths.push_back(e.size());
    Random random;
    Accuracy result;
    double correct = 0, loss = 0;
    for (const std::vector<size_t>& batch : train::batches_by_length(lengths, batch_size, random)) {
      const models::Outputs out = model_->forward(ctx_, inputs_of(data, batch));
      const Tensor logits = out.logits.to(Device{});
      for (size_t i = 0; i < batch.size(); ++i) {
        const auto row = tasks::row(logits, static_cast<int64_t>(i));
        correct += std::max_element(row.begin(), row.end()) - row.begin() == data.labels[batch[i]];
      }
      loss += out.loss.item() * static_cast<double>(batch.size());
    }
    result.count = static_cast<int64_t>(texts.size());
    result.accuracy = correct / static_cast<double>(texts.size());
    result.loss = loss / static_cast<double>(texts.size());
    return result;
  }

  /// Writes a checkpoint that Transformers opens, the tokenizer too. Errors: Error(File), also if the disk is full: what was there stays.
  void save(const std::string& folder) const {
    models::save(*model_, folder);
    tokenizer_.save(folder);
  }

  const std::vector<std::string>& labels() const { return labels_; }
  /// What of the checkpoint did not fit: the names of the weights that start fresh.
  const models::LoadReport& report() const { return report_; }
  models::Model& model() { return *model_; }
  Context& context() { return ctx_; }

 private:
  struct Encoded {
    std::vector<text::Encoding> encodings;
    std::vector<int64_t> labels;
  };

  static std::vector<std::string> labels_in(const Json& config) {
    std::vector<std::string> labels;
    const Json* names = config.get("id2label");
    for (int64_t i = 0; names && names->has(std::to_string(i)); ++i) labels.push_back(names->value(std::to_string(i), ""));
    return labels;
  }

  Encoded encode(std::span<const LabelledText> texts) const {
    check(!texts.empty(), ErrorCode::Limit, "train", "texts: expected at least one, got none");
    Encoded data;
    std::vector<text::TextInput> inputs;
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto it = numbers_.find(texts[i].label);
      check(it != numbers_.end(), ErrorCode::Limit, "train", "label: '", texts[i].label, "' of text ", i, " is not among the ",
            labels_.size(), " that the model has");
      data.labels.push_back(it->second);
      inputs.push_back({texts[i].text, std::nullopt});
    }
    data.encodings = tokenizer_.encode_batch(inputs, encode_);
    return data;
  }

  models::Inputs inputs_of(const Encoded& data, const std::vector<size_t>& batch) const {
    std::vector<text::Encoding> encodings;
    std::vector<int64_t> labels;
    for (const size_t i : batch) encodings.push_back(data.encodings[i]), labels.push_back(data.labels[i]);
    models::Inputs inputs = tasks::collate(tokenizer_, std::move(encodings));
    inputs.labels = Tensor::from(labels, {static_cast<int64_t>(labels.size())});
    return inputs;
  }

  Context ctx_;
  text::Tokenizer tokenizer_;
  std::vector<std::string> labels_;
  std::map<std::string, int64_t> numbers_;
  text::EncodeOptions encode_;
  models::LoadReport report_;
  std::unique_ptr<models::Model> model_;
};

}  // namespace tenon
