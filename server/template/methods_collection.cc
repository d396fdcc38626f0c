#include <algorithm>

#include "server/template/arguments.h"
#include "server/template/fault.h"
#include "server/template/methods.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"

namespace causeway::server {
namespace {

Value DictGet(Runtime&, const Value& self, const CallArgs& call) {
  const Arguments args("get", call, {"key", "default"}, 1);
  const Value* found = self.dict().Find(args[0]);
  return found != nullptr ? *found : args.Or(1, Value::None());
}

Value View(const Value& self, const char* type_name, Value (*pick)(const std::pair<Value, Value>&)) {
  IteratorData view;
  view.type_name = type_name;
  for (const auto& entry : self.dict().entries) {
    view.items.push_back(pick(entry));
  }
  return Value::Iterator(std::move(view));
}

Value DictItems(Runtime& runtime, const Value& self, const CallArgs& call) {
  ExpectNoArguments("items", call);
  runtime.Charge(self.dict().entries.size());
  return View(self, "dict_items", [](const std::pair<Value, Value>& entry) {
    return Value::Tuple({entry.first, entry.second});
  });
}
Value DictKeys(Runtime& runtime, const Value& self, const CallArgs& call) {
  ExpectNoArguments("keys", call);
  runtime.Charge(self.dict().entries.size());
  return View(self, "dict_keys", [](const std::pair<Value, Value>& entry) { return entry.first; });
}
Value DictValues(Runtime& runtime, const Value& self, const CallArgs& call) {
  ExpectNoArguments("values", call);
  runtime.Charge(self.dict().entries.size());
  return View(self, "dict_values", [](const std::pair<Value, Value>& entry) { return entry.second; });
}
Value Copy(Runtime&, const Value& self, const CallArgs& call) {
  ExpectNoArguments("copy", call);
  return self;  // values do not change
}

Value SequenceIndex(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("index", call, {"value", "start", "stop"}, 1);
  const std::vector<Value>& items = self.items();
  const Int n = static_cast<Int>(items.size());
  const auto bound = [&](size_t i, Int otherwise) {
    const Int at = args.IntOr(i, otherwise);
    return std::clamp<Int>(at < 0 ? std::max<Int>(at, -n) + n : at, 0, n);
  };
  const Int stop = bound(2, n);
  for (Int i = bound(1, 0); i < stop; ++i) {
    if (Equal(runtime, items[static_cast<size_t>(i)], args[0])) {
      return Value::Integer(i);
    }
  }
  MarkedText text;
  AppendRepr(runtime, args[0], &text);
  RaiseValue(text.bytes() + " is not in " + self.TypeName());
}

Value SequenceCount(Runtime& runtime, const Value& self, const CallArgs& call) {
  const Arguments args("count", call, {"value"}, 1);
  Int count = 0;
  for (const Value& item : self.items()) {
    count += Equal(runtime, item, args[0]);
  }
  return Value::Integer(count);
}

constexpr MethodRow kDictMethods[] = {
    {"get", DictGet}, {"items", DictItems}, {"keys", DictKeys}, {"values", DictValues}, {"copy", Copy},
};
constexpr MethodRow kListMethods[] = {
    {"index", SequenceIndex},
    {"count", SequenceCount},
    {"copy", Copy},
};
constexpr MethodRow kTupleMethods[] = {
    {"index", SequenceIndex},
    {"count", SequenceCount},
};

// What the immutable sandbox refuses.
constexpr std::string_view kDictMutators[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListMutators[] = {"append", "clear", "pop",    "reverse",
                                              "insert", "sort",  "extend", "remove"};

template <size_t kSize>
MethodFunction Find(const MethodRow (&rows)[kSize], std::string_view name) {
  for (const MethodRow& row : rows) {
    if (row.name == name) {
      return row.function;
    }
  }
  return nullptr;
}

template <size_t kSize>
bool Names(const std::string_view (&names)[kSize], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

Value LoopCycle(const LoopState* loop, const CallArgs& args) {
  if (args.positional.empty()) {
    RaiseType("no items for cycling given");
  }
  return args.positional[loop->index0 % args.positional.size()];
}

Value LoopChanged(Runtime& runtime, LoopState* loop, const CallArgs& args) {
  Value current = Value::Tuple(args.positional);
  const bool changed = !Equal(runtime, loop->last_changed, current);
  loop->last_changed = std::move(current);
  return Value::Bool(changed);
}

}  // namespace

MethodFunction FindCollectionMethod(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::kDict: return Find(kDictMethods, name);
    case Kind::kList: return Find(kListMethods, name);
    case Kind::kTuple: return Find(kTupleMethods, name);
    default: return nullptr;
  }
}

Value FindMethod(const Value& object, std::string_view name) {
  const MethodFunction method =
      object.Is(Kind::kString) ? FindStringMethod(name) : FindCollectionMethod(object.kind(), name);
  if (method != nullptr) {
    return Value::Callable(
        std::string(name), [method, object](Runtime& runtime, CallArgs& args) { return method(runtime, object, args); },
        object.depth() + 1);
  }
  const bool mutator =
      (object.Is(Kind::kDict) && Names(kDictMutators, name)) || (object.Is(Kind::kList) && Names(kListMutators, name));
  if (mutator) {
    return Value::Undefined(
        "access to attribute '" + std::string(name) + "' of '" + object.TypeName() + "' object is unsafe.", true);
  }
  return Value::Undefined("");
}

Value LoopMethod(LoopState* loop, std::string_view name) {
  if (name == "cycle") {
    return Value::Callable("cycle", [loop](Runtime&, CallArgs& args) { return LoopCycle(loop, args); });
  }
  if (name == "changed") {
    return Value::Callable("changed",
                           [loop](Runtime& runtime, CallArgs& args) { return LoopChanged(runtime, loop, args); });
  }
  return Value::Undefined("'jinja2.runtime.LoopContext object' has no attribute '" + std::string(name) + "'");
}

}  // namespace causeway::server
