// The values of the template language: Python's, as far as templates can see them. Lists, tuples and
// dicts are immutable (the sandbox that templates are published for refuses append, pop and update), so
// values share their objects freely and cannot form cycles. Namespaces are the one mutable object; the
// Runtime owns them and values point at them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "server/template/marked_text.h"

namespace causeway::server {

class Runtime;
class Value;
struct CallArgs;
struct LoopState;

using Int = __int128;  // covers every JSON integer with room for sums; overflow is an error

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kIterator,  // range, dict views, and the generators that filters return
  kNamespace,
  kLoop,
  kCallable,
};

struct StringData {
  MarkedText text;
  size_t chars = 0;     // code points; == text.size() when all ASCII
  bool markup = false;  // result of |safe or |escape: + and % escape what they add
};

struct SequenceData;
struct DictData;
struct IteratorData;
struct CallableData;
struct Namespace;

class Value {
 public:
  Value() : kind_(Kind::kNone) { scalar_.integer = 0; }

  static Value None() { return Value(); }
  static Value Undefined(std::string message, bool unsafe = false);
  static Value Bool(bool b);
  static Value Integer(Int i);
  static Value Float(double d);
  static Value Text(MarkedText text, bool markup = false);
  static Value Trusted(std::string_view text) { return Text(MarkedText(std::string(text), true)); }
  static Value List(std::vector<Value> items);
  static Value Tuple(std::vector<Value> items);
  static Value Group(Value key, Value list);  // a pair of |groupby, with .grouper and .list
  static Value Dict(DictData dict);
  static Value Iterator(IteratorData iterator);
  static Value Callable(std::string name, std::function<Value(Runtime&, CallArgs&)> function, uint32_t depth = 0);
  static Value Of(Namespace* object);
  static Value Of(LoopState* loop);

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsNumber() const { return kind_ == Kind::kBool || kind_ == Kind::kInt || kind_ == Kind::kFloat; }
  bool IsIntegral() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }
  bool IsGroup() const;
  bool IsSequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }

  bool boolean() const { return scalar_.boolean; }
  Int integer() const { return kind_ == Kind::kBool ? Int{scalar_.boolean} : scalar_.integer; }
  double number() const;  // kBool, kInt or kFloat
  const StringData& string() const { return Object<StringData>(Kind::kString); }
  const MarkedText& text() const { return string().text; }
  const std::string& bytes() const { return string().text.bytes(); }
  const std::vector<Value>& items() const;  // kList or kTuple
  const DictData& dict() const { return Object<DictData>(Kind::kDict); }
  const IteratorData& iterator() const { return Object<IteratorData>(Kind::kIterator); }
  const CallableData& callable() const { return Object<CallableData>(Kind::kCallable); }
  Namespace* ns() const { return scalar_.ns; }
  LoopState* loop() const { return scalar_.loop; }
  const std::string& undefined_message() const;
  bool undefined_is_unsafe() const { return scalar_.boolean; }

  const void* identity() const { return object_.get(); }  // for `sameas`
  uint32_t depth() const;                                 // nesting of containers; 0 for a scalar
  std::string TypeName() const;                           // Python's: "str", "NoneType", "dict_items", ...

 private:
  template <typename T>
  const T& Object(Kind kind) const {
    DCHECK(kind_ == kind);
    (void)kind;
    return *static_cast<const T*>(object_.get());
  }
  Value(Kind kind, std::shared_ptr<const void> object) : kind_(kind), object_(std::move(object)) {
    scalar_.integer = 0;
  }

  Kind kind_;
  union {
    bool boolean;
    Int integer;
    double real;
    Namespace* ns;
    LoopState* loop;
  } scalar_;
  std::shared_ptr<const void> object_;
};

struct SequenceData {
  std::vector<Value> items;
  uint32_t depth = 1;
  bool group = false;  // made by |groupby
};

// Entries in insertion order; the index is built once there are more than a few.
struct DictData {
  std::vector<std::pair<Value, Value>> entries;
  uint32_t depth = 1;

  const Value* Find(const Value& key) const;  // throws Fault for an unhashable key
  const Value* Find(std::string_view key) const;
  void Set(Value key, Value value);  // replaces the value of an equal key

 private:
  std::unordered_map<std::string, size_t> index_;  // HashKey -> entry; empty while entries are few
};

struct IteratorData {
  std::vector<Value> items;
  std::string type_name;        // "generator", "range", "dict_items", ...
  std::string repr;             // text of str(); empty: "<TYPE object>" or, for a view, "TYPE([...])"
  bool one_shot = false;        // a generator: iterating consumes it, and it has no length
  mutable size_t position = 0;  // owned by the one rendering that made it
  uint32_t depth = 1;
};

struct CallableData {
  std::string name;
  std::function<Value(Runtime&, CallArgs&)> function;
  uint32_t depth = 0;
};

// namespace(...) and the small objects with attributes (cycler, joiner).
struct Namespace {
  std::string type_name = "Namespace";
  std::vector<std::pair<std::string, Value>> attributes;

  const Value* Find(std::string_view name) const;
  void Set(std::string_view name, Value value);
};

// Arguments of a call after * and ** are spread.
struct CallArgs {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* Named(std::string_view name) const;
};

// A text that is equal for two hashable values exactly when Python's == and hash say so (1 == 1.0 == True).
std::string HashKey(const Value& value);

}  // namespace causeway::server
