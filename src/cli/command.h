// What a command of `tenon` is: its help and the function that does it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/args.h"

namespace tenon::cli {

struct Command {
  const char* name;
  const char* synopsis;  // behind the name
  const char* summary;   // one line
  const char* help;      // what it does and examples
  std::vector<Option> options;
  int (*run)(const Args& args);
};

Command info_command();
Command classify_command();
Command embed_command();
Command generate_command();
Command train_command();
Command quantize_command();
Command bench_command();

/// The folder that a command's first word names. Errors: UsageError without one.
std::string model_argument(const Args& args);

/// Calls f(lines) with the words behind the model, or, if there are none, with parts of the lines of standard input.
/// Errors: UsageError if standard input is a terminal.
void for_inputs(const Args& args, const std::function<void(const std::vector<std::string>&)>& f);

/// "1,234,567"
std::string grouped(long long n);
/// "90.9 MB", "25.3 GB"
std::string bytes_text(double bytes);

}  // namespace tenon::cli
