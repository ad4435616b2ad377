// When a sequence is finished.
#pragma once

#include <chrono>

#include "tenon/tasks/generation/generate.h"

namespace tenon::generation {

class Stopping {
 public:
  /// `limits`: for each text, the length (padding included) at which the model's context is full.
  Stopping(const GenerationConfig& config, const GenerateHooks& hooks, int64_t max_length, Ids limits);

  /// For each sequence, whether it is finished with its last token. Sequences of text i are those from i * width on.
  std::vector<uint8_t> operator()(const std::vector<Ids>& sequences, std::span<const int64_t> rows, int64_t width,
                                  const std::vector<Tensor>& scores);
  bool cancelled() const { return cancelled_; }

 private:
  bool interrupted();
  bool stops(const Ids& sequence) const;

  const GenerationConfig& config_;
  const GenerateHooks& hooks_;
  int64_t max_length_;
  Ids limits_;
  size_t longest_stop_ = 0;  // bytes
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  bool cancelled_ = false;
};

}  // namespace tenon::generation
