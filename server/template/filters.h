// Jinja's filters ("value | NAME"): one table in filters.cc, the functions in a file per subject.
#pragma once

#include <string>
#include <string_view>

#include "server/template/runtime.h"
#include "server/template/value.h"

namespace causeway::server {

using FilterFunction = Value (*)(Runtime& runtime, const Value& input, const CallArgs& args);

struct FilterRow {
  std::string_view name;
  FilterFunction function;
};

FilterFunction FindFilter(std::string_view name);  // null if there is no such filter
std::string FilterNames();                         // comma-separated, for error messages

// One group of filters each; null if the name is not of the group.
FilterFunction FindTextFilter(std::string_view name);      // filters_text.cc
FilterFunction FindNumberFilter(std::string_view name);    // filters_number.cc
FilterFunction FindSequenceFilter(std::string_view name);  // filters_sequence.cc
FilterFunction FindSelectFilter(std::string_view name);    // filters_select.cc
void AppendTextFilterNames(std::string* names);
void AppendNumberFilterNames(std::string* names);
void AppendSequenceFilterNames(std::string* names);
void AppendSelectFilterNames(std::string* names);

template <size_t kSize>
FilterFunction FindInRows(const FilterRow (&rows)[kSize], std::string_view name) {
  for (const FilterRow& row : rows) {
    if (row.name == name) {
      return row.function;
    }
  }
  return nullptr;
}

template <size_t kSize>
void AppendRowNames(const FilterRow (&rows)[kSize], std::string* names) {
  for (const FilterRow& row : rows) {
    *names += names->empty() ? "" : ", ";
    *names += row.name;
  }
}

// "a.b.0" applied to an item: what |map(attribute=...), |sort(attribute=...) and |groupby look up.
// `path` is a string, an integer, or None for the item itself.
Value LookUpPath(Runtime& runtime, const Value& item, const Value& path, const Value* default_value = nullptr);

// A generator over `items`: iterated once, always true, without a length.
Value Generator(std::vector<Value> items);

}  // namespace causeway::server
