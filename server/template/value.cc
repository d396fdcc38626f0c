#include "server/template/value.h"

#include <algorithm>
#include <cmath>

#include "server/template/fault.h"
#include "server/template/limits.h"
#include "server/template/python_text.h"
#include "server/template/unicode.h"

namespace causeway::server {
namespace {

constexpr size_t kIndexFrom = 9;  // dicts smaller than this are searched in order

// Nesting is bounded where containers are made, so that no later walk over a value (printing, comparing,
// destroying) can run out of stack.
uint32_t DepthAround(uint32_t depth, const Value& child) {
  const uint32_t needed = child.depth() + 1;
  if (needed > kMaxValueDepth) {
    RaiseLimit("kMaxValueDepth", kMaxValueDepth);
  }
  return std::max(depth, needed);
}

uint32_t DepthAround(const std::vector<Value>& items) {
  if (items.size() > kMaxItems) {
    RaiseLimit("kMaxItems", kMaxItems);
  }
  uint32_t depth = 1;
  for (const Value& item : items) {
    depth = DepthAround(depth, item);
  }
  return depth;
}

}  // namespace

Value Value::Undefined(std::string message, bool unsafe) {
  Value v(Kind::kUndefined, std::make_shared<const std::string>(std::move(message)));
  v.scalar_.boolean = unsafe;
  return v;
}
Value Value::Bool(bool b) {
  Value v;
  v.kind_ = Kind::kBool;
  v.scalar_.boolean = b;
  return v;
}
Value Value::Integer(Int i) {
  Value v;
  v.kind_ = Kind::kInt;
  v.scalar_.integer = i;
  return v;
}
Value Value::Float(double d) {
  Value v;
  v.kind_ = Kind::kFloat;
  v.scalar_.real = d;
  return v;
}
Value Value::Text(MarkedText text, bool markup) {
  if (text.size() > kMaxStringBytes) {
    RaiseLimit("kMaxStringBytes", kMaxStringBytes);
  }
  auto data = std::make_shared<StringData>();
  data->chars = CountChars(text.bytes());
  data->text = std::move(text);
  data->markup = markup;
  return Value(Kind::kString, std::move(data));
}
Value Value::List(std::vector<Value> items) {
  auto data = std::make_shared<SequenceData>();
  data->depth = DepthAround(items);
  data->items = std::move(items);
  return Value(Kind::kList, std::move(data));
}
Value Value::Tuple(std::vector<Value> items) {
  Value v = List(std::move(items));
  v.kind_ = Kind::kTuple;
  return v;
}
Value Value::Group(Value key, Value list) {
  auto data = std::make_shared<SequenceData>();
  data->items = {std::move(key), std::move(list)};
  data->depth = DepthAround(data->items);
  data->group = true;
  return Value(Kind::kTuple, std::move(data));
}
bool Value::IsGroup() const { return kind_ == Kind::kTuple && static_cast<const SequenceData*>(object_.get())->group; }
Value Value::Dict(DictData dict) { return Value(Kind::kDict, std::make_shared<DictData>(std::move(dict))); }
Value Value::Iterator(IteratorData iterator) {
  iterator.depth = DepthAround(iterator.items);
  return Value(Kind::kIterator, std::make_shared<IteratorData>(std::move(iterator)));
}
Value Value::Callable(std::string name, std::function<Value(Runtime&, CallArgs&)> function, uint32_t depth) {
  auto data = std::make_shared<CallableData>();
  data->name = std::move(name);
  data->function = std::move(function);
  data->depth = depth;
  return Value(Kind::kCallable, std::move(data));
}
Value Value::Of(Namespace* object) {
  Value v;
  v.kind_ = Kind::kNamespace;
  v.scalar_.ns = object;
  return v;
}
Value Value::Of(LoopState* loop) {
  Value v;
  v.kind_ = Kind::kLoop;
  v.scalar_.loop = loop;
  return v;
}

double Value::number() const { return kind_ == Kind::kFloat ? scalar_.real : static_cast<double>(integer()); }

const std::vector<Value>& Value::items() const {
  DCHECK(IsSequence());
  return static_cast<const SequenceData*>(object_.get())->items;
}

const std::string& Value::undefined_message() const { return Object<std::string>(Kind::kUndefined); }

uint32_t Value::depth() const {
  switch (kind_) {
    case Kind::kList:
    case Kind::kTuple: return static_cast<const SequenceData*>(object_.get())->depth;
    case Kind::kDict: return dict().depth;
    case Kind::kIterator: return iterator().depth;
    case Kind::kCallable: return callable().depth;
    default: return 0;
  }
}

std::string Value::TypeName() const {
  switch (kind_) {
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return string().markup ? "Markup" : "str";
    case Kind::kList: return "list";
    case Kind::kTuple: return "tuple";
    case Kind::kDict: return "dict";
    case Kind::kIterator: return iterator().type_name;
    case Kind::kNamespace: return ns()->type_name;
    case Kind::kLoop: return "LoopContext";
    case Kind::kCallable: return "function";
  }
  return "object";
}

const Value* DictData::Find(std::string_view key) const {
  if (!index_.empty()) {
    std::string hash(1, 's');
    hash += key;
    const auto it = index_.find(hash);
    return it == index_.end() ? nullptr : &entries[it->second].second;
  }
  for (const auto& [k, v] : entries) {
    if (k.Is(Kind::kString) && k.bytes() == key) {
      return &v;
    }
  }
  return nullptr;
}

const Value* DictData::Find(const Value& key) const {
  if (key.Is(Kind::kString)) {
    return Find(key.bytes());
  }
  const std::string hash = HashKey(key);
  if (!index_.empty()) {
    const auto it = index_.find(hash);
    return it == index_.end() ? nullptr : &entries[it->second].second;
  }
  for (const auto& [k, v] : entries) {
    if (!k.Is(Kind::kString) && HashKey(k) == hash) {
      return &v;
    }
  }
  return nullptr;
}

void DictData::Set(Value key, Value value) {
  depth = DepthAround(depth, value);
  depth = DepthAround(depth, key);
  if (const Value* found = Find(key)) {
    *const_cast<Value*>(found) = std::move(value);
    return;
  }
  if (entries.size() >= kMaxItems) {
    RaiseLimit("kMaxItems", kMaxItems);
  }
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() == kIndexFrom) {
    for (size_t i = 0; i < entries.size(); ++i) {
      index_.emplace(HashKey(entries[i].first), i);
    }
  } else if (entries.size() > kIndexFrom) {
    index_.emplace(HashKey(entries.back().first), entries.size() - 1);
  }
}

const Value* Namespace::Find(std::string_view name) const {
  for (const auto& [key, value] : attributes) {
    if (key == name) {
      return &value;
    }
  }
  return nullptr;
}

void Namespace::Set(std::string_view name, Value value) {
  for (auto& [key, old] : attributes) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  attributes.emplace_back(std::string(name), std::move(value));
}

const Value* CallArgs::Named(std::string_view name) const {
  for (const auto& [key, value] : named) {
    if (key == name) {
      return &value;
    }
  }
  return nullptr;
}

std::string HashKey(const Value& value) {
  switch (value.kind()) {
    case Kind::kString: return "s" + value.bytes();
    case Kind::kNone: return "n";
    case Kind::kUndefined: return "u";
    case Kind::kBool:
    case Kind::kInt: return "i" + IntText(value.integer());
    case Kind::kFloat: {
      const double d = value.number();
      const bool integral = std::floor(d) == d && std::fabs(d) < 1e37;
      return integral ? "i" + IntText(static_cast<Int>(d)) : "f" + FloatText(d);
    }
    case Kind::kTuple: {
      std::string key = "t";
      for (const Value& item : value.items()) {
        const std::string part = HashKey(item);
        key += std::to_string(part.size()) + ':' + part;
      }
      return key;
    }
    case Kind::kList:
    case Kind::kDict: RaiseType("unhashable type: '" + value.TypeName() + "'");
    case Kind::kNamespace: return "o" + std::to_string(reinterpret_cast<uintptr_t>(value.ns()));
    case Kind::kLoop: return "o" + std::to_string(reinterpret_cast<uintptr_t>(value.loop()));
    default: return "o" + std::to_string(reinterpret_cast<uintptr_t>(value.identity()));
  }
}

}  // namespace causeway::server
