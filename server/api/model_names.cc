#include "server/api/model_names.h"

#include <algorithm>

#include "fmt/format.h"

namespace causeway::server {

Result<AdapterRef> FindModelName(const App& app, const std::string& name) {
  const auto& names = app.served_names;
  if (name.empty() || std::find(names.begin(), names.end(), name) != names.end()) {
    return AdapterRef();
  }
  AdapterRef adapter = app.adapters.Find(name);
  if (adapter == nullptr) {
    return MakeError(ErrorCode::kNotFound,
                     fmt::format("the model '{}' is not served here; this is '{}'", name, names.front()), "model");
  }
  return adapter;
}

const std::string& ModelNameOf(const App& app, const AdapterRef& adapter) {
  return adapter != nullptr ? adapter->name() : app.served_names.front();
}

}  // namespace causeway::server
