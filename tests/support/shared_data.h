// Reference data beside the repository: read in place, tests skip where it is absent.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

namespace causeway {

// $CAUSEWAY_SHARED, else ../shared (tests run in the repository's root). Empty if there is none.
inline std::string SharedFolder() {
  const char* const set = std::getenv("CAUSEWAY_SHARED");
  const std::string folder = set != nullptr ? set : "../shared";
  return std::filesystem::is_directory(folder) ? folder : std::string();
}

inline std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace causeway

#define CAUSEWAY_SKIP_WITHOUT_SHARED()                                           \
  if (::causeway::SharedFolder().empty()) {                                      \
    GTEST_SKIP() << "no reference data beside the repository (CAUSEWAY_SHARED)"; \
  }
