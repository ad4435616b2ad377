// Which full pages of a cache hold the keys and values of which beginnings of texts, so that a text that begins alike need not be
// computed again.
#pragma once

#include <algorithm>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <unordered_set>
#include <vector>

#include "tenon/nn/kv_cache.h"

namespace tenon::nn {

/// A tree: each node is a page, reached from its parent by the page's tokens. What was used last is forgotten last.
class PrefixIndex {
 public:
  static constexpr int64_t kPageRows = KvCache::kPageRows;

  PrefixIndex() = default;
  ~PrefixIndex() { clear(); }
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  /// The pages of the longest known beginning of `tokens`, of at most `most` tokens; they count as used now.
  std::vector<KvCache::PageRef> find(std::span<const int64_t> tokens, int64_t most) {
    const std::vector<Node*> path = walk(tokens, most);
    touch(path);
    return pages_of(path);
  }
  /// The same, without using them.
  std::vector<KvCache::PageRef> peek(std::span<const int64_t> tokens, int64_t most) const { return pages_of(walk(tokens, most)); }

  /// Remembers the full pages of sequence i, which holds the first tokens of `tokens`.
  void insert(const KvCache& cache, int64_t i, std::span<const int64_t> tokens) {
    std::vector<Node*> path = {&root_};
    for (int64_t n = 0; n < cache.length(i) / kPageRows; ++n) {
      const auto block = tokens.subspan(static_cast<size_t>(n * kPageRows), static_cast<size_t>(kPageRows));
      auto [it, is_new] = path.back()->children.try_emplace(Block(block.begin(), block.end()));
      if (is_new) {
        it->second = std::make_unique<Node>();
        Node& node = *it->second;
        node.page = cache.page(i, n), node.parent = path.back(), node.place = it;
        by_use_.push_front(&node);
        node.use = by_use_.begin();
      }
      path.push_back(it->second.get());
    }
    path.erase(path.begin());
    touch(path);
  }

  /// Forgets up to `count` pages that nobody else holds, the longest unused first; returns how many.
  int64_t evict(int64_t count) {
    int64_t done = 0;
    for (auto it = by_use_.end(); done < count && it != by_use_.begin();) {
      Node* const node = *--it;
      if (node->page.use_count() > 1 || !node->children.empty()) continue;
      it = by_use_.erase(it);
      node->parent->children.erase(node->place);
      ++done;
    }
    return done;
  }
  /// How many pages evict() could free.
  int64_t evictable() const {
    std::unordered_set<const Node*> kept;
    for (auto it = by_use_.rbegin(); it != by_use_.rend(); ++it)
      if ((*it)->page.use_count() > 1 || kept.count(*it)) kept.insert(*it), kept.insert((*it)->parent);
    return size() - static_cast<int64_t>(kept.size()) + static_cast<int64_t>(kept.count(&root_));
  }
  int64_t size() const { return static_cast<int64_t>(by_use_.size()); }
  /// Leaves first: a long text is a deep tree.
  void clear() {
    for (; !by_use_.empty(); by_use_.pop_back()) by_use_.back()->parent->children.erase(by_use_.back()->place);
  }

 private:
  using Block = std::vector<int64_t>;
  struct Node {
    std::map<Block, std::unique_ptr<Node>> children;
    KvCache::PageRef page;
    Node* parent = nullptr;
    std::map<Block, std::unique_ptr<Node>>::iterator place;  // among the parent's children
    std::list<Node*>::iterator use;
  };

  std::vector<Node*> walk(std::span<const int64_t> tokens, int64_t most) const {
    std::vector<Node*> path;
    const Node* node = &root_;
    const int64_t pages = std::min(static_cast<int64_t>(tokens.size()), most) / kPageRows;
    for (int64_t n = 0; n < pages; ++n) {
      const auto block = tokens.subspan(static_cast<size_t>(n * kPageRows), static_cast<size_t>(kPageRows));
      const auto it = node->children.find(Block(block.begin(), block.end()));
      if (it == node->children.end()) break;
      path.push_back(it->second.get());
      node = path.back();
    }
    return path;
  }
  /// The last of the path first, so that a parent is always used later than its children and leaves go first.
  void touch(const std::vector<Node*>& path) {
    for (auto node = path.rbegin(); node != path.rend(); ++node) by_use_.splice(by_use_.begin(), by_use_, (*node)->use);
  }
  static std::vector<KvCache::PageRef> pages_of(const std::vector<Node*>& path) {
    std::vector<KvCache::PageRef> pages;
    for (const Node* node : path) pages.push_back(node->page);
    return pages;
  }
  Node root_;
  std::list<Node*> by_use_;
};

}  // namespace tenon::nn
