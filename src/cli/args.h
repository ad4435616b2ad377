// The command line: options of one command, checked against what the command declares.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "tenon/tasks/runner.h"

namespace tenon::cli {

/// A wrong command line; main() prints it with a pointer to the help and exits with 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Option {
  const char* name;   // without dashes
  const char* value;  // what stands behind it in the help, "" for a flag
  const char* help;
};

class Args {
 public:
  /// Reads the words behind a command. "--name value" and "--name=value" are the same; "--" ends the options.
  Args(int count, char** words, const std::vector<Option>& options);

  const std::vector<std::string>& positional() const { return positional_; }
  bool has(const std::string& name) const { return values_.count(name) != 0; }
  std::string text(const std::string& name, const std::string& fallback = "") const;
  /// A whole number in [least, most]. Errors: UsageError.
  long number(const std::string& name, long fallback, long least, long most) const;
  /// The parts of a comma-separated value, without blanks around them.
  std::vector<std::string> list(const std::string& name) const;

 private:
  std::map<std::string, std::string> values_;
  std::vector<std::string> positional_;
};

/// float32 (f32), bfloat16 (bf16) or int8. Errors: UsageError.
models::Precision parse_precision(const std::string& text);
const char* name_of(models::Precision precision);

/// --threads, --batch, --precision, --device and --exact, which all commands that run a model share.
PipelineOptions pipeline_options(const Args& args);
extern const std::vector<Option> kModelOptions;
extern const Option kExactOption;

}  // namespace tenon::cli
