// Fill-mask: which tokens fit the gaps of a text.
#pragma once

#include "tenon/tasks/results.h"
#include "tenon/tasks/runner.h"
#include "tenon/tasks/texts.h"

namespace tenon {

struct FillMaskOptions {
  int64_t top_k = 5;                      // tokens per mask; 0: all
  std::vector<std::string> targets = {};  // only these tokens compete; empty: the whole vocabulary
};

///     tenon::FillMask fill("folder");
///     for (const auto& t : fill("The capital of France is [MASK].")[0]) ...  // t.token, t.score, t.sequence
///
/// Several threads may call one object.
class FillMask {
 public:
  static constexpr const char* kTask = "fill-mask";

  /// Errors: as models::load() and text::Tokenizer::from_folder(); Error(Format) if the tokenizer has no mask token.
  explicit FillMask(const std::string& folder, const PipelineOptions& options = {})
      : runner_(folder, options, {.class_name = "AutoModelForMaskedLM"}), tokenizer_(text::Tokenizer::from_folder(folder)) {
    check(mask_id() >= 0, ErrorCode::Format, kTask, folder, ": the tokenizer has no mask token");
  }

  /// For each mask of the text, in order: the fitting tokens, best first. Scores are softmax over the vocabulary.
  /// Errors: Error(Limit) if the text has no mask, is too long, or no target has a token.
  /// Source: FillMaskPipeline of Transformers.
  std::vector<std::vector<TokenScore>> operator()(const std::string& text, const FillMaskOptions& options = {}) const {
    return tasks::only((*this)(std::vector<std::string>{text}, options));
  }
  std::vector<std::vector<std::vector<TokenScore>>> operator()(const std::vector<std::string>& texts,
                                                               const FillMaskOptions& options = {}) const {
    std::vector<std::vector<std::vector<TokenScore>>> results(texts.size());
    const std::vector<int32_t> targets = target_ids(options.targets);
    const std::vector<text::TextInput> inputs = tasks::text_inputs(texts);
    // Logits are (B,T,V): a vocabulary of 250,000 allows few positions at a time.
    constexpr int64_t kMaxLogits = int64_t{1} << 26;
    const int64_t positions = std::max<int64_t>(1, kMaxLogits / models::read_size(runner_.config(), {"vocab_size"}, 30522));
    tasks::in_text_batches(runner_, tokenizer_, inputs, {}, std::min(positions, tasks::kMaxPositions),
                           [&](std::span<const size_t> places, const models::Inputs& batch) {
                             check_masks(texts, places, batch);
                             const Tensor logits = runner_.forward(batch).logits;
                             for (size_t i = 0; i < places.size(); ++i)
                               results[places[i]] = fill(batch, logits, static_cast<int64_t>(i), options.top_k, targets);
                           });
    return results;
  }
  std::vector<std::vector<std::vector<TokenScore>>> operator()(std::initializer_list<std::string> texts,
                                                               const FillMaskOptions& options = {}) const {
    return (*this)(std::vector<std::string>(texts), options);
  }

  /// The mask token's text: "[MASK]", "<mask>".
  const std::string& mask() const { return tokenizer_.role(text::Role::Mask); }
  const models::Model& model() const { return runner_.model(); }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  int32_t mask_id() const { return tokenizer_.role_id(text::Role::Mask); }

  void check_masks(const std::vector<std::string>& texts, std::span<const size_t> places, const models::Inputs& batch) const {
    const size_t T = static_cast<size_t>(batch.input_ids.size(1));
    for (size_t i = 0; i < places.size(); ++i) {
      const auto ids = batch.input_ids.values<int32_t>().subspan(i * T, T);
      check(std::find(ids.begin(), ids.end(), mask_id()) != ids.end(), ErrorCode::Limit, kTask, "expected at least one ", mask(), " in \"",
            texts[places[i]], "\"");
    }
  }

  /// A target that is no token counts as its first token, as in Transformers.
  std::vector<int32_t> target_ids(const std::vector<std::string>& targets) const {
    std::vector<int32_t> found;
    for (const std::string& target : targets) {
      int32_t id = tokenizer_.token_to_id(target);
      if (id < 0) {
        text::EncodeOptions plain;
        plain.add_special_tokens = false;
        const std::vector<int32_t> ids = tokenizer_.encode(target, plain).ids;
        if (!ids.empty()) id = ids.front();
      }
      if (id >= 0 && std::find(found.begin(), found.end(), id) == found.end()) found.push_back(id);
    }
    check(targets.empty() || !found.empty(), ErrorCode::Limit, kTask, "targets: expected at least one that has a token");
    return found;
  }

  std::vector<std::vector<TokenScore>> fill(const models::Inputs& batch, const Tensor& logits, int64_t i, int64_t top_k,
                                            const std::vector<int32_t>& targets) const {
    const int64_t T = logits.size(1), V = logits.size(2);
    const auto row = batch.input_ids.values<int32_t>().subspan(static_cast<size_t>(i * T), static_cast<size_t>(T));
    const int32_t pad = tokenizer_.role_id(text::Role::Pad);
    const auto masks = std::count(row.begin(), row.end(), mask_id());
    std::vector<std::vector<TokenScore>> filled;
    for (int64_t t = 0; t < T; ++t) {
      if (row[t] != mask_id()) continue;
      const std::vector<float> scores =
          tasks::to_scores(tasks::row(logits, i).subspan(static_cast<size_t>(t * V), static_cast<size_t>(V)), ScoreFunction::Softmax);
      std::vector<float> candidates;
      for (const int32_t id : targets) candidates.push_back(scores[checked(id, V)]);
      std::vector<TokenScore>& tokens = filled.emplace_back();
      for (const int64_t k : tasks::best(targets.empty() ? scores : candidates, top_k)) {
        const int32_t id = targets.empty() ? static_cast<int32_t>(k) : targets[k];
        std::vector<int32_t> ids(row.begin(), row.end());
        ids[t] = id;
        std::erase(ids, pad);
        text::DecodeOptions decode{.skip_special_tokens = masks == 1, .clean_up = {}, .skip_unknown_ids = true};
        tokens.push_back(
            {tokenizer_.decode(std::span(&id, 1), {.skip_unknown_ids = true}), scores[id], id, tokenizer_.decode(ids, decode)});
      }
    }
    return filled;
  }

  static size_t checked(int32_t id, int64_t V) {
    check(id < V, ErrorCode::Limit, kTask, "targets: token ", id, " is outside the model's vocabulary of ", V);
    return static_cast<size_t>(id);
  }

  tasks::Runner runner_;
  text::Tokenizer tokenizer_;
};

}  // namespace tenon
