// The arguments of one built-in call, matched to its parameter names as Python does it.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "server/template/value.h"

namespace causeway::server {

class Arguments {
 public:
  // Throws Fault (TypeError) for too many, unknown, doubled or missing arguments. The first `required`
  // parameters must be given.
  Arguments(std::string_view function, const CallArgs& args, std::initializer_list<std::string_view> names,
            size_t required = 0);

  bool Has(size_t i) const { return slots_[i] != nullptr; }
  bool HasValue(size_t i) const { return Has(i) && !slots_[i]->Is(Kind::kNone); }  // given and not None
  const Value& operator[](size_t i) const { return *slots_[i]; }
  Value Or(size_t i, const Value& otherwise) const { return Has(i) ? *slots_[i] : otherwise; }
  bool BoolOr(size_t i, bool otherwise) const;
  Int IntOr(size_t i, Int otherwise) const;  // TypeError unless an integer; None counts as absent
  const MarkedText& Text(size_t i) const;    // TypeError unless a string

 private:
  std::string function_;
  std::vector<const Value*> slots_;
};

// Throws Fault (TypeError) for any argument at all.
void ExpectNoArguments(std::string_view function, const CallArgs& args);

}  // namespace causeway::server
