#include <algorithm>

#include "server/template/arguments.h"
#include "server/template/fault.h"
#include "server/template/filters.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/text_ops.h"

namespace causeway::server {
namespace {

Value IgnoreCase(Runtime& runtime, const Value& value) {
  if (!value.Is(Kind::kString)) {
    return value;
  }
  runtime.ChargeBytes(value.bytes().size());
  return Value::Text(ToLower(value.text()));
}

// What items are ordered by: an attribute path, several of them separated by commas, or the item itself.
Value SortKey(Runtime& runtime, const Value& item, const Value& attribute, bool case_sensitive) {
  const auto part = [&](const Value& path) {
    Value value = LookUpPath(runtime, item, path);
    return case_sensitive ? value : IgnoreCase(runtime, value);
  };
  if (!attribute.Is(Kind::kString) || attribute.bytes().find(',') == std::string::npos) {
    return part(attribute);
  }
  std::vector<Value> keys;
  for (MarkedText& path : SplitBy(attribute.text(), ",", kNoMaxSplit)) {
    keys.push_back(part(Value::Text(std::move(path))));
  }
  return Value::Tuple(std::move(keys));
}

struct Keyed {
  Value key;
  Value item;
};

std::vector<Keyed> WithKeys(Runtime& runtime, const std::vector<Value>& items, const Value& attribute,
                            bool case_sensitive) {
  std::vector<Keyed> keyed;
  keyed.reserve(items.size());
  for (const Value& item : items) {
    keyed.push_back({SortKey(runtime, item, attribute, case_sensitive), item});
  }
  return keyed;
}

// Stable merge sort. Written out because a comparison may throw, and may be inconsistent (NaN), neither
// of which std::stable_sort is specified for.
void StableSort(Runtime& runtime, std::vector<Keyed>* items, bool reverse) {
  std::vector<Keyed> from = std::move(*items);
  for (size_t width = 1; width < from.size(); width *= 2) {
    std::vector<Keyed> to;
    to.reserve(from.size());
    for (size_t begin = 0; begin < from.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, from.size());
      const size_t end = std::min(begin + 2 * width, from.size());
      size_t a = begin;
      size_t b = middle;
      while (a < middle || b < end) {
        bool take_b = a >= middle;
        if (a < middle && b < end) {
          take_b = reverse ? Less(runtime, from[a].key, from[b].key) : Less(runtime, from[b].key, from[a].key);
        }
        to.push_back(std::move(take_b ? from[b++] : from[a++]));
      }
    }
    from = std::move(to);
  }
  *items = std::move(from);
}

Value SortFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("sort", call, {"reverse", "case_sensitive", "attribute"});
  std::vector<Keyed> keyed =
      WithKeys(runtime, Iterate(runtime, input), args.Or(2, Value::None()), args.BoolOr(1, false));
  StableSort(runtime, &keyed, args.BoolOr(0, false));
  std::vector<Value> out;
  for (Keyed& entry : keyed) {
    out.push_back(std::move(entry.item));
  }
  return Value::List(std::move(out));
}

Value DictSortFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("dictsort", call, {"case_sensitive", "by", "reverse"});
  const std::string by = args.Has(1) ? args.Text(1).bytes() : "key";
  if (by != "key" && by != "value") {
    Raise("FilterArgumentError", "You can only sort by either \"key\" or \"value\"");
  }
  if (!input.Is(Kind::kDict)) {
    Raise("UndefinedError", "'" + input.TypeName() + " object' has no attribute 'items'");
  }
  std::vector<Value> pairs;
  for (const auto& [key, value] : input.dict().entries) {
    pairs.push_back(Value::Tuple({key, value}));
  }
  std::vector<Keyed> keyed = WithKeys(runtime, pairs, Value::Integer(by == "key" ? 0 : 1), args.BoolOr(0, false));
  StableSort(runtime, &keyed, args.BoolOr(2, false));
  std::vector<Value> out;
  for (Keyed& entry : keyed) {
    out.push_back(std::move(entry.item));
  }
  return Value::List(std::move(out));
}

Value GroupByFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("groupby", call, {"attribute", "default", "case_sensitive"}, 1);
  const bool case_sensitive = args.BoolOr(2, false);
  const Value* otherwise = args.HasValue(1) ? &args[1] : nullptr;
  std::vector<Keyed> keyed;
  for (const Value& item : Iterate(runtime, input)) {
    Value key = LookUpPath(runtime, item, args[0], otherwise);
    keyed.push_back({case_sensitive ? key : IgnoreCase(runtime, key), item});
  }
  StableSort(runtime, &keyed, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < keyed.size();) {
    std::vector<Value> members;
    const size_t first = i;
    for (; i < keyed.size() && Equal(runtime, keyed[i].key, keyed[first].key); ++i) {
      members.push_back(keyed[i].item);
    }
    if (members.empty()) {  // a key that is not equal to itself (NaN) is a group of its own
      members.push_back(keyed[i++].item);
    }
    Value key = LookUpPath(runtime, keyed[first].item, args[0], otherwise);
    groups.push_back(Value::Group(std::move(key), Value::List(std::move(members))));
  }
  return Value::List(std::move(groups));
}

Value UniqueFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("unique", call, {"case_sensitive", "attribute"});
  DictData seen;
  std::vector<Value> out;
  for (const Value& item : Iterate(runtime, input)) {
    Value key = LookUpPath(runtime, item, args.Or(1, Value::None()));
    key = args.BoolOr(0, false) ? key : IgnoreCase(runtime, key);
    if (seen.Find(key) == nullptr) {
      seen.Set(key, Value::None());
      out.push_back(item);
    }
  }
  return Generator(std::move(out));
}

template <bool kMax>
Value ExtremeFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("min", call, {"case_sensitive", "attribute"});
  const std::vector<Keyed> keyed =
      WithKeys(runtime, Iterate(runtime, input), args.Or(1, Value::None()), args.BoolOr(0, false));
  if (keyed.empty()) {
    return Value::Undefined("No aggregated item, sequence was empty.");
  }
  const Keyed* best = &keyed[0];
  for (const Keyed& entry : keyed) {
    if (kMax ? Less(runtime, best->key, entry.key) : Less(runtime, entry.key, best->key)) {
      best = &entry;
    }
  }
  return best->item;
}

Value SumFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("sum", call, {"attribute", "start"});
  Value total = args.Or(1, Value::Integer(0));
  if (total.Is(Kind::kString)) {
    RaiseType("sum() can't sum strings [use ''.join(seq) instead]");
  }
  for (const Value& item : Iterate(runtime, input)) {
    total = BinaryOp(runtime, Op::kAdd, total, LookUpPath(runtime, item, args.Or(0, Value::None())));
  }
  return total;
}

Value JoinFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("join", call, {"d", "attribute"});
  const MarkedText separator = args.Has(0) ? Str(runtime, args[0]) : MarkedText();
  std::vector<MarkedText> parts;
  size_t size = 0;
  for (const Value& item : Iterate(runtime, input)) {
    parts.push_back(Str(runtime, LookUpPath(runtime, item, args.Or(1, Value::None()))));
    size += parts.back().size() + separator.size();
    runtime.ChargeBytes(parts.back().size() + separator.size());
    if (size > kMaxStringBytes) {
      RaiseLimit("kMaxStringBytes", kMaxStringBytes);
    }
  }
  return Value::Text(Join(separator, parts));
}

Value FirstFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("first", call);
  if (input.Is(Kind::kString) || input.IsSequence()) {
    return Length(input) == 0 ? Value::Undefined("No first item, sequence was empty.")
                              : GetItem(runtime, input, Value::Integer(0));
  }
  if (input.Is(Kind::kIterator) && input.iterator().one_shot) {  // takes one item, leaves the rest
    const IteratorData& it = input.iterator();
    return it.position < it.items.size() ? it.items[it.position++]
                                         : Value::Undefined("No first item, sequence was empty.");
  }
  const std::vector<Value> items = Iterate(runtime, input);
  return items.empty() ? Value::Undefined("No first item, sequence was empty.") : items.front();
}

void RequireReversible(const Value& input) {
  if (input.Is(Kind::kUndefined) || (input.Is(Kind::kIterator) && input.iterator().one_shot) || !IsIterable(input)) {
    RaiseType("'" + input.TypeName() + "' object is not reversible");
  }
}

Value LastFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("last", call);
  const auto none = [] { return Value::Undefined("No last item, sequence was empty."); };
  if (input.Is(Kind::kUndefined)) {
    return none();
  }
  RequireReversible(input);
  if (input.Is(Kind::kString) || input.IsSequence()) {
    return Length(input) == 0 ? none() : GetItem(runtime, input, Value::Integer(-1));
  }
  const std::vector<Value> items = Iterate(runtime, input);
  return items.empty() ? none() : items.back();
}

Value LengthFilter(Runtime&, const Value& input, const CallArgs& call) {
  ExpectNoArguments("length", call);
  return Value::Integer(static_cast<Int>(Length(input)));
}

Value ListFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("list", call);
  return Value::List(Iterate(runtime, input));
}

Value ItemsFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("items", call);
  if (input.Is(Kind::kUndefined)) {
    return Generator({});
  }
  if (!input.Is(Kind::kDict)) {
    RaiseType("Can only get item pairs from a mapping.");
  }
  std::vector<Value> pairs;
  runtime.Charge(input.dict().entries.size());
  for (const auto& [key, value] : input.dict().entries) {
    pairs.push_back(Value::Tuple({key, value}));
  }
  return Generator(std::move(pairs));
}

Value ReverseFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  ExpectNoArguments("reverse", call);
  if (input.Is(Kind::kString)) {
    runtime.Charge(1 + input.bytes().size());
    return Value::Text(Reverse(input.text()), input.string().markup);
  }
  std::vector<Value> items = Iterate(runtime, input);
  std::reverse(items.begin(), items.end());
  if (input.Is(Kind::kIterator) && input.iterator().one_shot) {
    return Value::List(std::move(items));
  }
  IteratorData it;
  it.items = std::move(items);
  it.type_name = input.TypeName() + (input.Is(Kind::kDict) ? "_reversekeyiterator" : "_reverseiterator");
  it.one_shot = true;
  return Value::Iterator(std::move(it));
}

Value DefaultFilter(Runtime&, const Value& input, const CallArgs& call) {
  const Arguments args("default", call, {"default_value", "boolean"});
  const bool replace = input.Is(Kind::kUndefined) || (args.BoolOr(1, false) && !Truthy(input));
  return replace ? args.Or(0, Value::Trusted("")) : input;
}

size_t PositiveCount(const Arguments& args, const char* what) {
  const Int count = args.IntOr(0, 0);
  if (count <= 0) {
    RaiseValue(std::string(what) + " must be at least 1");
  }
  return static_cast<size_t>(std::min<Int>(count, static_cast<Int>(kMaxItems)));
}

Value BatchFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("batch", call, {"linecount", "fill_with"}, 1);
  const size_t count = PositiveCount(args, "linecount");
  std::vector<Value> rows;
  std::vector<Value> row;
  for (const Value& item : Iterate(runtime, input)) {
    if (row.size() == count) {
      rows.push_back(Value::List(std::exchange(row, {})));
    }
    row.push_back(item);
  }
  if (!row.empty()) {
    if (args.HasValue(1)) {
      runtime.Charge(count);
      row.resize(std::max(row.size(), count), args[1]);
    }
    rows.push_back(Value::List(std::move(row)));
  }
  return Generator(std::move(rows));
}

Value SliceFilter(Runtime& runtime, const Value& input, const CallArgs& call) {
  const Arguments args("slice", call, {"slices", "fill_with"}, 1);
  const size_t slices = PositiveCount(args, "slices");
  const std::vector<Value> items = Iterate(runtime, input);
  const size_t each = items.size() / slices;
  const size_t extra = items.size() % slices;
  runtime.Charge(slices);
  std::vector<Value> columns;
  size_t at = 0;
  for (size_t i = 0; i < slices; ++i) {
    const size_t take = each + (i < extra ? 1 : 0);
    std::vector<Value> column(items.begin() + static_cast<ptrdiff_t>(at),
                              items.begin() + static_cast<ptrdiff_t>(at + take));
    if (args.HasValue(1) && i >= extra) {
      column.push_back(args[1]);
    }
    columns.push_back(Value::List(std::move(column)));
    at += take;
  }
  return Generator(std::move(columns));
}

constexpr FilterRow kFilters[] = {
    {"batch", BatchFilter},       {"count", LengthFilter},       {"d", DefaultFilter},
    {"default", DefaultFilter},   {"dictsort", DictSortFilter},  {"first", FirstFilter},
    {"groupby", GroupByFilter},   {"items", ItemsFilter},        {"join", JoinFilter},
    {"last", LastFilter},         {"length", LengthFilter},      {"list", ListFilter},
    {"max", ExtremeFilter<true>}, {"min", ExtremeFilter<false>}, {"reverse", ReverseFilter},
    {"slice", SliceFilter},       {"sort", SortFilter},          {"sum", SumFilter},
    {"unique", UniqueFilter},
};

}  // namespace

FilterFunction FindSequenceFilter(std::string_view name) { return FindInRows(kFilters, name); }
void AppendSequenceFilterNames(std::string* names) { AppendRowNames(kFilters, names); }

}  // namespace causeway::server
