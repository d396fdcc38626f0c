#include "server/template/arguments.h"

#include <algorithm>

#include "server/template/fault.h"
#include "server/template/operators.h"

namespace causeway::server {

Arguments::Arguments(std::string_view function, const CallArgs& args, std::initializer_list<std::string_view> names,
                     size_t required)
    : function_(function), slots_(names.size(), nullptr) {
  if (args.positional.size() > names.size()) {
    RaiseType(function_ + "() takes at most " + std::to_string(names.size()) + " arguments (" +
              std::to_string(args.positional.size()) + " given)");
  }
  for (size_t i = 0; i < args.positional.size(); ++i) {
    slots_[i] = &args.positional[i];
  }
  for (const auto& [name, value] : args.named) {
    const auto* const found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      RaiseType(function_ + "() got an unexpected keyword argument '" + name + "'");
    }
    const Value*& slot = slots_[static_cast<size_t>(found - names.begin())];
    if (slot != nullptr) {
      RaiseType(function_ + "() got multiple values for argument '" + name + "'");
    }
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!Has(i)) {
      RaiseType(function_ + "() missing required argument: '" + std::string(names.begin()[i]) + "'");
    }
  }
}

bool Arguments::BoolOr(size_t i, bool otherwise) const { return Has(i) ? Truthy(*slots_[i]) : otherwise; }

Int Arguments::IntOr(size_t i, Int otherwise) const {
  if (!HasValue(i)) {
    return otherwise;
  }
  if (slots_[i]->Is(Kind::kUndefined)) {
    RaiseUndefined(*slots_[i]);
  }
  if (!slots_[i]->IsIntegral()) {
    RaiseType("'" + slots_[i]->TypeName() + "' object cannot be interpreted as an integer");
  }
  return slots_[i]->integer();
}

const MarkedText& Arguments::Text(size_t i) const {
  if (!slots_[i]->Is(Kind::kString)) {
    if (slots_[i]->Is(Kind::kUndefined)) {
      RaiseUndefined(*slots_[i]);
    }
    RaiseType(function_ + "() argument must be str, not " + slots_[i]->TypeName());
  }
  return slots_[i]->text();
}

void ExpectNoArguments(std::string_view function, const CallArgs& args) { const Arguments none(function, args, {}); }

}  // namespace causeway::server
