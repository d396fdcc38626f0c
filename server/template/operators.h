// Python's operators and protocols over Values: truth, comparison, arithmetic, length, iteration, and
// Jinja's attribute and item lookup. All throw Fault with Python's error type and message.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/template/ast.h"
#include "server/template/runtime.h"
#include "server/template/value.h"

namespace causeway::server {

[[noreturn]] void RaiseUndefined(const Value& undefined);  // UndefinedError, or SecurityError if unsafe

bool Truthy(const Value& value);
bool Equal(Runtime& runtime, const Value& a, const Value& b);
bool Less(Runtime& runtime, const Value& a, const Value& b);  // TypeError for unordered types
bool Compare(Runtime& runtime, Op op, const Value& a, const Value& b);
bool Contains(Runtime& runtime, const Value& container, const Value& item);

Value UnaryOp(Runtime& runtime, Op op, const Value& value);
Value BinaryOp(Runtime& runtime, Op op, const Value& a, const Value& b);
Int CheckedMul(Int a, Int b);

size_t Length(const Value& value);  // len()
bool IsIterable(const Value& value);
std::vector<Value> Iterate(Runtime& runtime, const Value& value);  // consumes a generator
std::vector<Value> Characters(Runtime& runtime, const Value& text);

// obj.name, obj[key] and obj[start:stop:step] with Jinja's fallbacks: a missing one is undefined.
Value GetAttr(Runtime& runtime, const Value& object, std::string_view name);
Value GetItem(Runtime& runtime, const Value& object, const Value& key);
Value GetSlice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step);

}  // namespace causeway::server
