// Filters that apply another filter, a test or an attribute to each item.
#include <algorithm>

#include "server/template/arguments.h"
#include "server/template/fault.h"
#include "server/template/filters.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"

namespace causeway::server {
namespace {

CallArgs Rest(const CallArgs& call, size_t skip) {
  CallArgs rest;
  rest.positional.assign(call.positional.begin() + static_cast<ptrdiff_t>(skip), call.positional.end());
  rest.named = call.named;
  return rest;
}

const std::string& NameOf(const Value& value, const char* what) {
  if (!value.Is(Kind::kString)) {
    Raise("FilterArgumentError", std::string(what) + " must be a name");
  }
  return value.bytes();
}

Value MapFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  std::vector<Value> out;
  const std::vector<Value> items = Iterate(runtime, input);
  out.reserve(items.size());
  if (call.positional.empty()) {
    const Arguments args("map", call, {"attribute", "default"});
    if (!args.Has(0)) {
      Raise("FilterArgumentError", "map requires a filter argument");
    }
    for (const Value& item : items) {
      out.push_back(LookUpPath(runtime, item, args[0], args.HasValue(1) ? &args[1] : nullptr));
    }
    return Generator(std::move(out));
  }
  const std::string name = NameOf(call.positional[0], "the filter of map");
  for (const Value& item : items) {
    CallArgs rest = Rest(call, 1);
    out.push_back(runtime.ApplyFilter(name, item, rest));
  }
  return Generator(std::move(out));
}

template <bool kWanted, bool kAttribute>
Value SelectFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  constexpr size_t kTestAt = kAttribute ? 1 : 0;
  if (kAttribute && call.positional.empty()) {
    Raise("FilterArgumentError", "Missing parameter for attribute name");
  }
  if (!Truthy(input)) {
    return Generator({});
  }
  std::vector<Value> out;
  for (const Value& item : Iterate(runtime, input)) {
    const Value subject = kAttribute ? LookUpPath(runtime, item, call.positional[0]) : item;
    bool passes = false;
    if (call.positional.size() > kTestAt) {
      CallArgs rest = Rest(call, kTestAt + 1);
      passes = runtime.ApplyTest(NameOf(call.positional[kTestAt], "the test"), subject, rest);
    } else {
      passes = Truthy(subject);
    }
    if (passes == kWanted) {
      out.push_back(item);
    }
  }
  return Generator(std::move(out));
}

Value AttrFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("attr", call, {"name"}, 1);
  // Unlike ".", this looks at attributes only, never at the items of a dict.
  const std::string name = Str(runtime, args[0]).bytes();
  if (input.Is(Kind::kDict) && (name.empty() || name[0] != '_')) {
    CallArgs none;
    const Value empty = Value::Dict(DictData());
    const Value found = GetAttr(runtime, empty, name);
    return found.Is(Kind::kUndefined) ? found : GetAttr(runtime, input, name);
  }
  return GetAttr(runtime, input, name);
}

constexpr FilterRow kFilters[] = {
    {"attr", AttrFilter},
    {"map", MapFilter},
    {"reject", SelectFilter<false, false>},
    {"rejectattr", SelectFilter<false, true>},
    {"select", SelectFilter<true, false>},
    {"selectattr", SelectFilter<true, true>},
};

}  // namespace

Value Generator(std::vector<Value> items) {
  IteratorData it;
  it.items = std::move(items);
  it.type_name = "generator";
  it.one_shot = true;
  return Value::Iterator(std::move(it));
}

Value LookUpPath(Runtime& runtime, const Value& item, const Value& path, const Value* default_value) {
  if (path.Is(Kind::kNone)) {
    return item;
  }
  Value current = item;
  const auto step = [&](const Value& key) {
    current = GetItem(runtime, current, key);
    if (default_value != nullptr && current.Is(Kind::kUndefined)) {
      current = *default_value;
    }
  };
  if (!path.Is(Kind::kString)) {
    step(path);
    return current;
  }
  const std::string& text = path.bytes();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const bool digits = !part.empty() && part.size() < 10 &&
                        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    step(digits ? Value::Integer(std::stoi(part)) : Value::Trusted(part));
    begin = end + 1;
  }
  return current;
}

FilterFunction FindSelectFilter(std::string_view name) { return FindInRows(kFilters, name); }
void AppendSelectFilterNames(std::string* names) { AppendRowNames(kFilters, names); }

}  // namespace causeway::server
