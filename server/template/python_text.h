// How Python writes values: str() and repr(), with the provenance of every byte kept.
#pragma once

#include <string>

#include "server/template/marked_text.h"
#include "server/template/runtime.h"
#include "server/template/value.h"

namespace causeway::server {

std::string IntText(Int value);
std::string FloatText(double value);  // repr(float): shortest digits that read back the same

MarkedText Str(Runtime& runtime, const Value& value);  // undefined prints as nothing
void AppendStr(Runtime& runtime, const Value& value, MarkedText* out);
void AppendRepr(Runtime& runtime, const Value& value, MarkedText* out);

// & < > ' " as HTML entities, as markupsafe writes them.
MarkedText EscapeHtml(const MarkedText& text);
// The text of a value for joining to Markup: escaped unless it is Markup itself.
MarkedText EscapedStr(Runtime& runtime, const Value& value);

}  // namespace causeway::server
