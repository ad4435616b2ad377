// Drives a fuzz target where libFuzzer is not at hand: replays the given files, then runs seeded random changes of them.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

std::vector<Bytes> read_inputs(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (std::filesystem::is_directory(path)) {
      for (const auto& entry : std::filesystem::directory_iterator(path))
        if (entry.is_regular_file()) files.push_back(entry.path().string());
    } else {
      files.push_back(path);
    }
  }
  std::sort(files.begin(), files.end());  // the order of a folder differs between machines
  std::vector<Bytes> inputs;
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    if (!in) std::fprintf(stderr, "cannot read %s\n", file.c_str()), std::exit(2);
    inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return inputs;
}

/// One change: a bit, a byte, a number at its limits, a piece removed, repeated, inserted from another input, or the end cut off.
void change(Bytes& x, const std::vector<Bytes>& inputs, std::mt19937& random) {
  const auto below = [&](size_t n) { return n ? random() % n : 0; };
  const size_t at = below(x.size()), count = std::min<size_t>(1 + below(16), x.size() - at);
  const auto begin = x.begin() + static_cast<std::ptrdiff_t>(at), end = begin + static_cast<std::ptrdiff_t>(count);
  switch (x.empty() ? 6 : below(8)) {
    case 0:
      x[at] ^= static_cast<uint8_t>(1u << below(8));
      break;
    case 1:
      x[at] = static_cast<uint8_t>(random());
      break;
    case 2:
      std::fill(begin, end, below(2) ? 0xff : 0x00);
      break;
    case 3:
      x.erase(begin, end);
      break;
    case 4: {
      const Bytes piece(begin, end);
      x.insert(begin, piece.begin(), piece.end());
      break;
    }
    case 5:
      x.resize(at);
      break;
    case 6: {
      const Bytes& other = inputs[below(inputs.size())];
      const size_t from = below(other.size()), n = std::min<size_t>(1 + below(64), other.size() - from);
      x.insert(x.begin() + static_cast<std::ptrdiff_t>(at), other.begin() + static_cast<std::ptrdiff_t>(from),
               other.begin() + static_cast<std::ptrdiff_t>(from + n));
      break;
    }
    default: {
      static constexpr char marks[] = "0123456789-.,:\"\\{}[]eE ";
      x[at] = static_cast<uint8_t>(marks[below(sizeof(marks) - 1)]);
    }
  }
}

/// Kept on disk before it runs, since a crash ends the process.
void keep(const Bytes& input) {
  std::ofstream("crash-input", std::ios::binary)
      .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
}

}  // namespace

int main(int argc, char** argv) {
  unsigned long runs = 0, seed = 1, max_len = 1 << 16;
  bool keeps = false;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.rfind("-runs=", 0) == 0)
      runs = std::strtoul(arg.c_str() + 6, nullptr, 10);
    else if (arg.rfind("-seed=", 0) == 0)
      seed = std::strtoul(arg.c_str() + 6, nullptr, 10);
    else if (arg.rfind("-max_len=", 0) == 0)
      max_len = std::strtoul(arg.c_str() + 9, nullptr, 10);
    else if (arg == "-keep")
      keeps = true;
    else if (arg.rfind("-", 0) != 0)
      paths.push_back(arg);
  }
  std::vector<Bytes> inputs = read_inputs(paths);
  for (const Bytes& input : inputs) LLVMFuzzerTestOneInput(input.data(), input.size());
  const size_t replayed = inputs.size();
  inputs.emplace_back();
  std::mt19937 random(static_cast<uint32_t>(seed));
  for (unsigned long run = 0; run < runs; ++run) {
    Bytes input = inputs[random() % inputs.size()];
    for (unsigned changes = 1 + random() % 4; changes > 0; --changes) change(input, inputs, random);
    if (input.size() > max_len) input.resize(max_len);
    if (keeps) keep(input);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu files replayed, %lu changed inputs run\n", replayed, runs);
}
