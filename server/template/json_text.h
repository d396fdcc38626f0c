// The tojson filter, as chat templates expect it: json.dumps with ensure_ascii off by default.
#pragma once

#include "server/template/runtime.h"
#include "server/template/value.h"

namespace causeway::server {

// tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false). Text keeps its provenance;
// the punctuation of JSON is the template's.
Value ToJson(Runtime& runtime, const Value& value, const CallArgs& args);

}  // namespace causeway::server
