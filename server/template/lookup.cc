// Length, iteration, and attribute, item and slice lookup (operators.h).
#include <algorithm>
#include <optional>

#include "server/template/fault.h"
#include "server/template/methods.h"
#include "server/template/operators.h"
#include "server/template/python_text.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

// Jinja names None by its value and everything else by its type.
std::string ObjectName(const Value& object) { return object.Is(Kind::kNone) ? "None" : object.TypeName() + " object"; }

Value NoAttribute(const Value& object, std::string_view name) {
  return Value::Undefined("'" + ObjectName(object) + "' has no attribute '" + std::string(name) + "'");
}

const std::vector<Value>* Indexable(const Value& object) {
  if (object.IsSequence()) {
    return &object.items();
  }
  if (object.Is(Kind::kIterator) && object.iterator().type_name == "range") {
    return &object.iterator().items;
  }
  return nullptr;
}

Value NoElement(Runtime& runtime, const Value& object, const Value& key) {
  if (key.Is(Kind::kString)) {
    return NoAttribute(object, key.bytes());
  }
  MarkedText text;
  AppendRepr(runtime, key, &text);
  return Value::Undefined(ObjectName(object) + " has no element " + text.bytes());
}

// The position of Python index `i` in [0, size), or nothing.
std::optional<size_t> Index(Int i, size_t size) {
  const Int n = static_cast<Int>(size);
  if (i < 0) {
    i += n;
  }
  return i >= 0 && i < n ? std::optional<size_t>(static_cast<size_t>(i)) : std::nullopt;
}

Value CharAt(const Value& string, size_t index) {
  const std::string& bytes = string.bytes();
  const bool ascii = string.string().chars == bytes.size();
  const size_t begin = ascii ? index : ByteOffset(bytes, index);
  size_t end = begin;
  DecodeChar(bytes, &end);
  return Value::Text(string.text().Slice(begin, end), string.string().markup);
}

Value LoopAttr(const LoopState* loop, std::string_view name) {
  const auto integer = [](size_t i) { return Value::Integer(static_cast<Int>(i)); };
  if (name == "index") {
    return integer(loop->index0 + 1);
  }
  if (name == "index0") {
    return integer(loop->index0);
  }
  if (name == "first") {
    return Value::Bool(loop->index0 == 0);
  }
  if (name == "last") {
    return Value::Bool(loop->index0 + 1 >= loop->length);
  }
  if (name == "length") {
    return integer(loop->length);
  }
  if (name == "revindex") {
    return integer(loop->length - loop->index0);
  }
  if (name == "revindex0") {
    return integer(loop->length - loop->index0 - 1);
  }
  if (name == "depth") {
    return integer(loop->depth0 + 1);
  }
  if (name == "depth0") {
    return integer(loop->depth0);
  }
  if (name == "previtem") {
    return loop->index0 == 0 || loop->index0 > loop->items.size() ? Value::Undefined("there is no previous item")
                                                                  : loop->items[loop->index0 - 1];
  }
  if (name == "nextitem") {
    return loop->index0 + 1 >= loop->items.size() ? Value::Undefined("there is no next item")
                                                  : loop->items[loop->index0 + 1];
  }
  return LoopMethod(const_cast<LoopState*>(loop), name);
}

// getattr(): what an object has apart from its items. Undefined kind means there is no such attribute.
Value Attribute(const Value& object, std::string_view name) {
  if (object.Is(Kind::kLoop)) {
    return LoopAttr(object.loop(), name);
  }
  if (object.Is(Kind::kNamespace)) {
    const Value* found = object.ns()->Find(name);
    return found != nullptr ? *found : NoAttribute(object, name);
  }
  if (object.Is(Kind::kCallable) && name == "name") {
    return Value::Trusted(object.callable().name);
  }
  if (object.IsGroup() && (name == "grouper" || name == "list")) {
    return object.items()[name == "list" ? 1 : 0];
  }
  return FindMethod(object, name);
}

struct Span {
  Int start;
  Int step;
  size_t count;
};

Int SliceBound(const Value& bound, Int otherwise) {
  if (bound.Is(Kind::kNone)) {
    return otherwise;
  }
  if (!bound.IsIntegral()) {
    RaiseType("slice indices must be integers or None or have an __index__ method");
  }
  return bound.integer();
}

// Python's slice.indices(size), as a start, a step and a count.
Span ResolveSlice(const Value& start, const Value& stop, const Value& step, size_t size) {
  const Int n = static_cast<Int>(size);
  const Int by = SliceBound(step, 1);
  if (by == 0) {
    RaiseValue("slice step cannot be zero");
  }
  const Int low = by > 0 ? 0 : -1;
  const Int high = by > 0 ? n : n - 1;
  const auto clamp = [&](Int i) { return std::clamp(i < 0 && i >= -n ? i + n : i < 0 ? low : i, low, high); };
  const Int from = start.Is(Kind::kNone) ? (by > 0 ? low : high) : clamp(SliceBound(start, 0));
  const Int to = stop.Is(Kind::kNone) ? (by > 0 ? high : low) : clamp(SliceBound(stop, 0));
  const Int distance = by > 0 ? to - from : from - to;
  // A step beyond the size takes one item; clamping it keeps the arithmetic in range.
  const Int stride = std::min<Int>(by > 0 ? by : by < -n ? n + 1 : -by, n + 1);
  const size_t count = distance <= 0 ? 0 : static_cast<size_t>((distance + stride - 1) / stride);
  return {from, by > 0 ? stride : -stride, count};
}

Value SliceText(Runtime& runtime, const Value& object, const Span& span) {
  const std::string& bytes = object.bytes();
  runtime.ChargeBytes(bytes.size());
  const bool ascii = object.string().chars == bytes.size();
  const bool markup = object.string().markup;
  if (span.step == 1) {
    const auto first = static_cast<size_t>(span.start);
    const size_t begin = ascii ? first : ByteOffset(bytes, first);
    const size_t end =
        ascii ? begin + span.count : begin + ByteOffset(std::string_view(bytes).substr(begin), span.count);
    return Value::Text(object.text().Slice(begin, end), markup);
  }
  runtime.Charge(object.string().chars);
  std::vector<size_t> offsets;  // where each character begins
  offsets.reserve(object.string().chars + 1);
  for (size_t i = 0; i < bytes.size();) {
    offsets.push_back(i);
    DecodeChar(bytes, &i);
  }
  offsets.push_back(bytes.size());
  MarkedText out;
  for (size_t k = 0; k < span.count; ++k) {
    const auto i = static_cast<size_t>(span.start + static_cast<Int>(k) * span.step);
    out.Append(object.text(), offsets[i], offsets[i + 1]);
  }
  return Value::Text(std::move(out), markup);
}

}  // namespace

size_t Length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return 0;
    case Kind::kString: return value.string().chars;
    case Kind::kList:
    case Kind::kTuple: return value.items().size();
    case Kind::kDict: return value.dict().entries.size();
    case Kind::kLoop: return value.loop()->length;
    case Kind::kIterator:
      if (!value.iterator().one_shot) {
        return value.iterator().items.size();
      }
      break;
    default: break;
  }
  RaiseType("object of type '" + value.TypeName() + "' has no len()");
}

bool IsIterable(const Value& value) {
  return value.Is(Kind::kUndefined) || value.Is(Kind::kString) || value.IsSequence() || value.Is(Kind::kDict) ||
         value.Is(Kind::kIterator) || value.Is(Kind::kLoop);
}

std::vector<Value> Characters(Runtime& runtime, const Value& text) {
  runtime.Charge(text.string().chars);
  if (text.string().chars > kMaxItems) {
    RaiseLimit("kMaxItems", kMaxItems);
  }
  const std::string& bytes = text.bytes();
  std::vector<Value> out;
  out.reserve(text.string().chars);
  for (size_t i = 0; i < bytes.size();) {
    const size_t begin = i;
    DecodeChar(bytes, &i);
    out.push_back(Value::Text(text.text().Slice(begin, i), text.string().markup));
  }
  return out;
}

std::vector<Value> Iterate(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined: return {};
    case Kind::kString: return Characters(runtime, value);
    case Kind::kList:
    case Kind::kTuple: runtime.Charge(value.items().size()); return value.items();
    case Kind::kDict: {
      runtime.Charge(value.dict().entries.size());
      std::vector<Value> keys;
      keys.reserve(value.dict().entries.size());
      for (const auto& entry : value.dict().entries) {
        keys.push_back(entry.first);
      }
      return keys;
    }
    case Kind::kIterator: {
      const IteratorData& it = value.iterator();
      runtime.Charge(it.items.size() - it.position);
      std::vector<Value> rest(it.items.begin() + static_cast<ptrdiff_t>(it.position), it.items.end());
      if (it.one_shot) {
        it.position = it.items.size();
      }
      return rest;
    }
    default: RaiseType("'" + value.TypeName() + "' object is not iterable");
  }
}

Value GetAttr(Runtime& runtime, const Value& object, std::string_view name) {
  runtime.Charge(1);
  if (object.Is(Kind::kUndefined)) {
    RaiseUndefined(object);
  }
  const bool private_name = !name.empty() && name[0] == '_';
  if (!private_name) {
    Value found = Attribute(object, name);
    if (!found.Is(Kind::kUndefined) || found.undefined_is_unsafe() || object.Is(Kind::kLoop)) {
      return found;
    }
  }
  if (object.Is(Kind::kDict)) {
    if (const Value* item = object.dict().Find(name)) {
      return *item;
    }
  }
  return NoAttribute(object, name);
}

Value GetItem(Runtime& runtime, const Value& object, const Value& key) {
  runtime.Charge(1);
  if (object.Is(Kind::kUndefined)) {
    RaiseUndefined(object);
  }
  if (object.Is(Kind::kDict)) {
    const bool hashable = !key.Is(Kind::kList) && !key.Is(Kind::kDict);
    const Value* item = hashable ? object.dict().Find(key) : nullptr;
    if (item != nullptr) {
      return *item;
    }
  } else if (key.IsIntegral()) {
    if (const std::vector<Value>* items = Indexable(object)) {
      const auto i = Index(key.integer(), items->size());
      return i ? (*items)[*i] : NoElement(runtime, object, key);
    }
    if (object.Is(Kind::kString)) {
      const auto i = Index(key.integer(), object.string().chars);
      if (i && object.string().chars != object.bytes().size()) {
        runtime.ChargeBytes(object.bytes().size());
      }
      return i ? CharAt(object, *i) : NoElement(runtime, object, key);
    }
  }
  if (key.Is(Kind::kString)) {
    const bool private_name = !key.bytes().empty() && key.bytes()[0] == '_';
    Value found = private_name ? NoAttribute(object, key.bytes()) : Attribute(object, key.bytes());
    if (!found.Is(Kind::kUndefined) || found.undefined_is_unsafe()) {
      return found;
    }
  }
  return NoElement(runtime, object, key);
}

Value GetSlice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.Is(Kind::kUndefined)) {
    RaiseUndefined(object);
  }
  if (object.Is(Kind::kString)) {
    return SliceText(runtime, object, ResolveSlice(start, stop, step, object.string().chars));
  }
  const std::vector<Value>* items = Indexable(object);
  if (items == nullptr) {
    RaiseType(object.Is(Kind::kDict) ? "unhashable type: 'slice'"
                                     : "'" + object.TypeName() + "' object is not subscriptable");
  }
  const Span span = ResolveSlice(start, stop, step, items->size());
  runtime.Charge(1 + span.count);
  std::vector<Value> out;
  out.reserve(span.count);
  for (size_t k = 0; k < span.count; ++k) {
    out.push_back((*items)[static_cast<size_t>(span.start + static_cast<Int>(k) * span.step)]);
  }
  return object.Is(Kind::kTuple) ? Value::Tuple(std::move(out)) : Value::List(std::move(out));
}

}  // namespace causeway::server
