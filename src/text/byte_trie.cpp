// ByteTrie: laying the children of all nodes into one array.
#include "tenon/text/byte_trie.h"

#include <algorithm>

#include "tenon/core/error.h"

namespace tenon::text {

// Children of a node lie at offset ^ byte. Offsets are given out once each, so the byte kept in a node identifies its parent.
struct ByteTrie::Builder {
  using Keys = std::vector<std::pair<std::string_view, int32_t>>;
  static constexpr uint32_t kBlock = 256, kMaxNodes = uint32_t{1} << 23, kOpenBlocks = 8, kNone = ~uint32_t{0};
  struct Work {
    size_t begin, end;
    uint32_t depth, node;
  };

  const Keys& keys;
  std::vector<Node>& nodes;
  std::vector<bool> is_offset;
  // free places form a list; those of blocks that have been full for long leave it
  std::vector<uint32_t> next, prev;
  uint32_t head = kNone, tail = kNone;
  std::vector<unsigned char> labels;

  void grow() {
    const auto first = static_cast<uint32_t>(nodes.size());
    check(first + kBlock <= kMaxNodes, ErrorCode::Limit, "vocabulary", "trie: expected at most ", kMaxNodes, " nodes");
    nodes.resize(first + kBlock);
    is_offset.resize(first + kBlock);
    next.resize(first + kBlock, kNone);
    prev.resize(first + kBlock, kNone);
    for (uint32_t i = first; i < first + kBlock; ++i) append(i);
    if (first >= kOpenBlocks * kBlock) close(first - kOpenBlocks * kBlock);
  }
  void append(uint32_t i) {
    prev[i] = tail;
    next[i] = kNone;
    (tail == kNone ? head : next[tail]) = i;
    tail = i;
  }
  void take(uint32_t i) {
    (prev[i] == kNone ? head : next[prev[i]]) = next[i];
    (next[i] == kNone ? tail : prev[next[i]]) = prev[i];
    prev[i] = next[i] = i;  // no longer in the list
  }
  bool is_free(uint32_t i) const { return i != 0 && !(nodes[i].link & kUsed) && next[i] != i; }
  void close(uint32_t first) {
    for (uint32_t i = first; i < first + kBlock; ++i)
      if (is_free(i)) take(i);
  }

  uint32_t find_offset() {
    for (uint32_t place = head; place != kNone; place = next[place]) {
      const uint32_t offset = place ^ labels[0];
      const bool fits = offset != 0 && !is_offset[offset] &&
                        std::all_of(labels.begin(), labels.end(), [&](unsigned char label) { return is_free(offset ^ label); });
      if (fits) return offset;
    }
    const auto first = static_cast<uint32_t>(nodes.size());
    grow();
    return first;  // of an empty block any offset will do
  }

  void run() {
    grow();
    take(0);  // the root; without its used bit it is nobody's child
    std::vector<Work> stack{{0, keys.size(), 0, 0}};
    while (!stack.empty()) {
      Work work = stack.back();
      stack.pop_back();
      for (; work.begin < work.end && keys[work.begin].first.size() == work.depth; ++work.begin)
        nodes[work.node].value = keys[work.begin].second;
      if (work.begin == work.end) continue;
      labels.clear();
      for (size_t i = work.begin; i < work.end; ++i) {
        const auto byte = static_cast<unsigned char>(keys[i].first[work.depth]);
        if (labels.empty() || labels.back() != byte) labels.push_back(byte);
      }
      const uint32_t offset = find_offset();
      is_offset[offset] = true;
      nodes[work.node].link = offset << 9 | (nodes[work.node].link & 0x1FF);
      size_t begin = work.begin;
      for (const unsigned char label : labels) {
        const uint32_t child = offset ^ label;
        take(child);
        nodes[child].link = kUsed | label;
        size_t end = begin;
        while (end < work.end && static_cast<unsigned char>(keys[end].first[work.depth]) == label) ++end;
        stack.push_back({begin, end, work.depth + 1, child});
        begin = end;
      }
    }
  }
};

namespace {

// The first eight bytes as a number that orders as they do, and the place of the key: most keys are told apart without a look at their
// text.
struct Head {
  uint64_t bytes;
  uint32_t place;
};

uint64_t head_of(std::string_view key) {
  uint64_t head = 0;
  for (size_t i = 0; i < 8; ++i) head = head << 8 | (i < key.size() ? static_cast<unsigned char>(key[i]) : 0);
  return head;
}

}  // namespace

ByteTrie::ByteTrie(std::vector<std::pair<std::string_view, int32_t>> given) {
  std::vector<Head> heads(given.size());
  for (size_t i = 0; i < given.size(); ++i) heads[i] = {head_of(given[i].first), static_cast<uint32_t>(i)};
  std::sort(heads.begin(), heads.end(), [&](const Head& a, const Head& b) {
    if (a.bytes != b.bytes) return a.bytes < b.bytes;
    const int order = given[a.place].first.compare(given[b.place].first);
    return order != 0 ? order < 0 : a.place < b.place;
  });
  Builder::Keys keys;
  keys.reserve(given.size());
  for (const Head& head : heads) keys.push_back(given[head.place]);
  given = {};
  Builder{keys, nodes_, {}, {}, {}, Builder::kNone, Builder::kNone, {}}.run();
}

}  // namespace tenon::text
