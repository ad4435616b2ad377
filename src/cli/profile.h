// Where the time of a forward pass goes, by kind of layer: a table of kernels that times the calls of another.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "cli/peak.h"
#include "tenon/core/json.h"
#include "tenon/models/model.h"

namespace tenon::cli {

/// Only one may live at a time, since kernels are plain functions. Its table packs as the one below it does: a model that was loaded
/// with either runs with both.
class Profile {
 public:
  explicit Profile(const Kernels& below);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  const Kernels& kernels() const { return table_; }
  /// Learns which weight belongs to which kind of layer. The model must have run once, so that all are packed.
  void learn(const models::Model& model, Context& ctx);
  /// Forgets what was measured.
  void reset();

  /// Time is that of all threads together; work and bytes are counted where they are known: products and attention.
  struct Part {
    std::string kind;
    double seconds = 0, operations = 0, bytes = 0;
    Arithmetic arithmetic = Arithmetic::F32;  // of the products
    int64_t calls = 0;
  };
  /// What was measured since the last reset, the longest first.
  std::vector<Part> parts() const;

 private:
  Kernels table_;
};

/// What the machine gives, for the report.
struct Limits {
  double f32 = 0, bf16 = 0, int8 = 0;  // 1e9 operations a second on all threads; 0: no such instruction
  double read = 0;                     // GB/s
  double peak(Arithmetic kind) const { return kind == Arithmetic::F32 ? f32 : kind == Arithmetic::BF16 ? bf16 : int8; }
};
Limits measure_limits(const Kernels& table, int threads);

/// Prints a table of the parts of a pass that took `wall` seconds on so many threads.
void print_profile(const char* title, const std::vector<Profile::Part>& parts, double wall, int threads, const Limits& limits);
/// The same for bench/plot_roofline.py.
Json profile_json(const char* title, const std::vector<Profile::Part>& parts, double wall, int threads);
Json limits_json(const Limits& limits);

}  // namespace tenon::cli
