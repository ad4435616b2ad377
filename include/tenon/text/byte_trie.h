// A trie over bytes in one array: from every place of a text, all the tokens that start there.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon::text {

/// A double-array trie. A node is eight bytes, so one read says whether it is the child sought, where its own children lie, and which
/// token ends in it.
class ByteTrie {
 public:
  /// Keys must not be empty; of keys given twice the last value (>= 0) wins.
  /// Errors: Error(Limit) if the keys need more than 8 million nodes.
  explicit ByteTrie(std::vector<std::pair<std::string_view, int32_t>> keys = {});

  /// Calls found(length, value) for each key that `text` starts with, shortest first.
  template <class Found>
  void for_each_prefix(const char* text, const char* end, Found&& found) const {
    const Node* nodes = nodes_.data();
    uint32_t offset = nodes[0].link >> 9;
    for (const char* p = text; p != end; ++p) {
      const auto byte = static_cast<unsigned char>(*p);
      const Node& node = nodes[offset ^ byte];
      if ((node.link & 0x1FF) != (kUsed | byte)) return;
      if (node.value >= 0) found(static_cast<size_t>(p + 1 - text), node.value);
      offset = node.link >> 9;
    }
  }

  /// Whether some key starts with this byte.
  bool starts_with(char c) const {
    const auto byte = static_cast<unsigned char>(c);
    return (nodes_[(nodes_[0].link >> 9) ^ byte].link & 0x1FF) == (kUsed | byte);
  }

  /// Length and value of the longest key that `text` starts with; length 0 if there is none.
  std::pair<size_t, int32_t> longest_prefix(std::string_view text) const {
    std::pair<size_t, int32_t> best{0, -1};
    for_each_prefix(text.data(), text.data() + text.size(), [&](size_t length, int32_t value) { best = {length, value}; });
    return best;
  }

 private:
  static constexpr uint32_t kUsed = 0x100;
  struct Node {
    uint32_t link = 0;   // place of the children << 9 | used << 8 | byte that leads here
    int32_t value = -1;  // of the key that ends here, or -1
  };
  struct Builder;
  std::vector<Node> nodes_;
};

}  // namespace tenon::text
