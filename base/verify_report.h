// What the `verify` commands report: one line a case.
#pragma once

#include <string>
#include <vector>

namespace causeway {

struct VerifyCase {
  std::string name;
  bool passed = false;
  std::string detail;  // the largest difference, or the first token or text that differs
};

struct VerifyReport {
  std::vector<VerifyCase> cases;

  bool passed() const {
    for (const VerifyCase& one : cases) {
      if (!one.passed) {
        return false;
      }
    }
    return !cases.empty();
  }
};

}  // namespace causeway
