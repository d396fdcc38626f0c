#include "server/template/globals.h"

#include <algorithm>

#include "server/template/arguments.h"
#include "server/template/fault.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/runtime.h"
#include "server/template/strftime.h"

namespace causeway::server {
namespace {

Value Range(Runtime& runtime, CallArgs& call) {
  const Arguments args("range", call, {"start", "stop", "step"}, 1);
  const bool one = !args.Has(1);
  const Int start = one ? 0 : args.IntOr(0, 0);
  const Int stop = args.IntOr(one ? 0 : 1, 0);
  const Int step = args.IntOr(2, 1);
  if (step == 0) {
    RaiseValue("range() arg 3 must not be zero");
  }
  const Int bound = Int{1} << 100;
  if (std::max({start, stop, step}) > bound || std::min({start, stop, step}) < -bound) {
    RaiseLimit("kMaxRange", kMaxRange);
  }
  const Int distance = step > 0 ? stop - start : start - stop;
  const Int stride = step > 0 ? step : -step;
  const Int count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  if (count > static_cast<Int>(kMaxRange)) {
    RaiseLimit("kMaxRange", kMaxRange);
  }
  runtime.Charge(static_cast<size_t>(count));
  IteratorData range;
  range.type_name = "range";
  range.repr = "range(" + IntText(start) + ", " + IntText(stop) + (step == 1 ? "" : ", " + IntText(step)) + ")";
  for (Int i = 0; i < count; ++i) {
    range.items.push_back(Value::Integer(start + i * step));
  }
  return Value::Iterator(std::move(range));
}

// dict(mapping or pairs, **named).
DictData ReadDict(Runtime& runtime, const CallArgs& args) {
  DictData dict;
  if (args.positional.size() > 1) {
    RaiseType("dict expected at most 1 argument, got " + std::to_string(args.positional.size()));
  }
  if (!args.positional.empty() && args.positional[0].Is(Kind::kDict)) {
    runtime.Charge(args.positional[0].dict().entries.size());
    dict = args.positional[0].dict();
  } else if (!args.positional.empty()) {
    for (const Value& pair : Iterate(runtime, args.positional[0])) {
      const std::vector<Value> parts = Iterate(runtime, pair);
      if (parts.size() != 2) {
        RaiseValue("dictionary update sequence element has length " + std::to_string(parts.size()) + "; 2 is required");
      }
      dict.Set(parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : args.named) {
    dict.Set(Value::Trusted(name), value);
  }
  return dict;
}

Value Dict(Runtime& runtime, CallArgs& args) { return Value::Dict(ReadDict(runtime, args)); }

Value MakeNamespace(Runtime& runtime, CallArgs& args) {
  Namespace* ns = runtime.NewNamespace("Namespace");
  for (const auto& [key, value] : ReadDict(runtime, args).entries) {
    if (key.Is(Kind::kString)) {
      ns->Set(key.bytes(), value);
    }
  }
  return Value::Of(ns);
}

// cycler(a, b, ...): .next() walks the items in a circle, .current is the one it stands at.
Value Cycler(Runtime& runtime, CallArgs& args) {
  if (args.positional.empty()) {
    RaiseType("at least one item has to be provided");
  }
  Namespace* ns = runtime.NewNamespace("Cycler");
  const Value items = Value::Tuple(args.positional);
  const auto move_to = [ns, items](Int position) {
    ns->Set("pos", Value::Integer(position));
    ns->Set("current", items.items()[static_cast<size_t>(position)]);
  };
  ns->Set("items", items);
  ns->Set("next", Value::Callable(
                      "next",
                      [ns, items, move_to](Runtime&, CallArgs&) {
                        const Value current = *ns->Find("current");
                        const Int next = ns->Find("pos")->integer() + 1;
                        move_to(next % static_cast<Int>(items.items().size()));
                        return current;
                      },
                      items.depth() + 1));
  ns->Set("reset", Value::Callable(
                       "reset",
                       [move_to](Runtime&, CallArgs&) {
                         move_to(0);
                         return Value::None();
                       },
                       items.depth() + 1));
  move_to(0);
  return Value::Of(ns);
}

// joiner(sep): nothing the first time it is called, `sep` from then on.
Value Joiner(Runtime& runtime, CallArgs& call) {
  const Arguments args("joiner", call, {"sep"});
  Namespace* ns = runtime.NewNamespace("Joiner");
  const Value separator = args.Or(0, Value::Trusted(", "));
  return Value::Callable(
      "joiner",
      [ns, separator](Runtime&, CallArgs&) {
        if (ns->Find("used") == nullptr) {
          ns->Set("used", Value::Bool(true));
          return Value::Trusted("");
        }
        return separator;
      },
      separator.depth() + 1);
}

Value RaiseException(Runtime& runtime, CallArgs& call) {
  const Arguments args("raise_exception", call, {"message"}, 1);
  Raise("", Str(runtime, args[0]).bytes());
}

Value StrftimeNow(Runtime& runtime, CallArgs& call) {
  const Arguments args("strftime_now", call, {"format"}, 1);
  const MarkedText& format = args.Text(0);
  runtime.Charge(1 + format.size());
  if (format.size() > kMaxStringBytes / 32) {
    RaiseLimit("kMaxStringBytes", kMaxStringBytes);
  }
  return Value::Text(MarkedText::Derived(FormatTime(format.bytes(), runtime.now_unix_seconds()), format));
}

Value Lipsum(Runtime&, CallArgs&) { RaiseUnsupported("lipsum() is random and not supported in chat templates"); }

struct Row {
  std::string_view name;
  Value (*function)(Runtime&, CallArgs&);
};

constexpr Row kGlobals[] = {
    {"range", Range},
    {"dict", Dict},
    {"namespace", MakeNamespace},
    {"cycler", Cycler},
    {"joiner", Joiner},
    {"raise_exception", RaiseException},
    {"lipsum", Lipsum},
    {"strftime_now", StrftimeNow},
};

}  // namespace

Value FindGlobal(std::string_view name) {
  for (const Row& row : kGlobals) {
    if (row.name == name) {
      return Value::Callable(std::string(name), row.function);
    }
  }
  return Value::Undefined("'" + std::string(name) + "' is undefined");
}

}  // namespace causeway::server
