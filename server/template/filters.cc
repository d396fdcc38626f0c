#include "server/template/filters.h"

namespace causeway::server {

FilterFunction FindFilter(std::string_view name) {
  for (const auto find : {FindTextFilter, FindNumberFilter, FindSequenceFilter, FindSelectFilter}) {
    if (const FilterFunction filter = find(name)) {
      return filter;
    }
  }
  return nullptr;
}

std::string FilterNames() {
  std::string names;
  AppendTextFilterNames(&names);
  AppendNumberFilterNames(&names);
  AppendSequenceFilterNames(&names);
  AppendSelectFilterNames(&names);
  return names;
}

}  // namespace causeway::server
