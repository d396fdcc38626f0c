// Python's textwrap for one line of text, as |wordwrap uses it.
#pragma once

#include <cstddef>
#include <vector>

#include "server/template/marked_text.h"

namespace causeway::server {

// Lines of at most `width` characters (at least 1). A word longer than that is cut if
// `break_long_words`; words may be divided after a hyphen between letters if `break_on_hyphens`.
std::vector<MarkedText> WrapLine(const MarkedText& line, size_t width, bool break_long_words, bool break_on_hyphens);

}  // namespace causeway::server
