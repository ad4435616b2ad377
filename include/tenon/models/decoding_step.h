// The tokens of one step of a DecodingSession, laid out as rows.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "tenon/models/decoding.h"

namespace tenon::models {

struct DecodingStep {
  std::vector<int64_t> ids;     // of all sequences, one after another
  std::vector<int64_t> counts;  // of each sequence
  std::vector<int64_t> wanted;  // the rows whose logits are asked for

  /// Errors: as DecodingSession::feed; `where` is the model's class.
  DecodingStep(const DecodingSession& session, std::span<const std::vector<int64_t>> tokens, bool all_positions, const std::string& where) {
    check(static_cast<int64_t>(tokens.size()) == session.size(), ErrorCode::Shape, "feed", "expected tokens for ", session.size(),
          " sequences, got ", tokens.size());
    for (int64_t i = 0; i < session.size(); ++i) {
      const std::vector<int64_t>& t = tokens[static_cast<size_t>(i)];
      const auto n = static_cast<int64_t>(t.size());
      check(n <= session.max_length() - session.length(i), ErrorCode::Limit, where, "sequence ", i, " would have ", session.length(i) + n,
            " tokens, but max_position_embeddings is ", session.max_length());
      for (const int64_t id : t) {
        ids.push_back(id);
        if (all_positions) wanted.push_back(static_cast<int64_t>(ids.size()) - 1);
      }
      if (!all_positions && n) wanted.push_back(static_cast<int64_t>(ids.size()) - 1);
      counts.push_back(n);
    }
  }
  bool one_each() const {
    return std::all_of(counts.begin(), counts.end(), [](int64_t n) { return n == 1; });
  }
};

}  // namespace tenon::models
