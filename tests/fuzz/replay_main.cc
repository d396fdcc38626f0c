// Runs a fuzz target without libFuzzer: every seed of a folder as it is, then fixed mutations of
// each (truncated, bytes changed, pieces repeated). The same inputs on every machine: a failure
// replays.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "base/rng.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr uint64_t kSeed = 20240229;
constexpr int kMutationsPerSeed = 200;
constexpr size_t kMaxInputBytes = 1 << 16;

void RunOne(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

std::string Read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Bytes that parsers treat specially, more often than chance would draw them.
constexpr char kTokens[] = "{}[]\"\\,:<>%|0-9eE.\r\n\t \0\xff\x80\xc0";

class Mutator {
 public:
  explicit Mutator(uint64_t stream) : stream_(stream) {}

  std::string Mutate(std::string bytes) {
    const uint64_t edits = 1 + Draw(4);
    for (uint64_t i = 0; i < edits; ++i) {
      EditOnce(bytes);
    }
    bytes.resize(std::min(bytes.size(), kMaxInputBytes));
    return bytes;
  }

 private:
  void EditOnce(std::string& bytes) {
    const size_t at = Draw(bytes.size() + 1);
    const size_t length = Draw(std::min<size_t>(bytes.size() - at, 64) + 1);
    switch (Draw(5)) {
      case 0: bytes.resize(at); break;
      case 1: bytes.erase(at, length); break;
      case 2: bytes.insert(at, bytes.substr(at, length)); break;
      case 3: bytes.insert(at, 1, kTokens[Draw(sizeof(kTokens) - 1)]); break;
      default:
        if (at < bytes.size()) {
          bytes[at] = static_cast<char>(Draw(256));
        }
    }
  }

  uint64_t Draw(uint64_t bound) { return causeway::RandomBits(kSeed, stream_, counter_++) % bound; }

  uint64_t stream_;
  uint64_t counter_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " CORPUS_FOLDER\n";
    return 2;
  }
  std::vector<std::filesystem::path> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    seeds.push_back(entry.path());
  }
  std::sort(seeds.begin(), seeds.end());
  if (seeds.empty()) {
    std::cerr << "no seeds in " << argv[1] << "\n";
    return 1;
  }
  RunOne("");
  for (size_t i = 0; i < seeds.size(); ++i) {
    const std::string seed = Read(seeds[i]);
    RunOne(seed);
    Mutator mutator(i);
    for (int k = 0; k < kMutationsPerSeed; ++k) {
      RunOne(mutator.Mutate(seed));
    }
  }
  std::cout << seeds.size() << " seeds, " << seeds.size() * kMutationsPerSeed << " mutations (seed " << kSeed << ")\n";
  return 0;
}
