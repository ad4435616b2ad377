// ByteLevel as a post-processor (takes spaces out of the offsets), and Sequence.
#pragma once

#include <memory>
#include <vector>

#include "tenon/text/post_processor.h"

namespace tenon::text {

class ByteLevelProcessing : public PostProcessor {
 public:
  explicit ByteLevelProcessing(const Json& spec)
      : trim_offsets_(spec.value("trim_offsets", true)), add_prefix_space_(spec.value("add_prefix_space", true)) {}

  size_t added(bool) const override { return 0; }
  void process(std::vector<Part>& parts, bool) const override {
    for (Part& part : parts) {
      part.trims = static_cast<uint8_t>(part.trims + trim_offsets_);
      part.keeps_prefix_space = add_prefix_space_;
    }
  }

 private:
  bool trim_offsets_, add_prefix_space_;
};

class ProcessorSequence : public PostProcessor {
 public:
  explicit ProcessorSequence(const Json& spec) {
    for (const Json& stage : spec.at("processors").as_array("processors"))
      if (auto processor = make_post_processor(stage)) stages_.push_back(std::move(processor));
  }

  size_t added(bool is_pair) const override {
    size_t n = 0;
    for (const auto& stage : stages_) n += stage->added(is_pair);
    return n;
  }
  void process(std::vector<Part>& parts, bool add_special_tokens) const override {
    for (const auto& stage : stages_) stage->process(parts, add_special_tokens);
  }

 private:
  std::vector<std::unique_ptr<PostProcessor>> stages_;
};

}  // namespace tenon::text
