// The process's environment. No other folder reads it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace causeway::server {

// The value of a variable; nothing if it is not set. An empty value counts as not set, as in shells
// that cannot unset.
std::optional<std::string> ReadEnvironment(std::string_view name);

// The names of all variables that begin with `prefix`.
std::vector<std::string> EnvironmentNames(std::string_view prefix);

// Where Hugging Face's tools keep downloaded models, in the order to look: $HF_HUB_CACHE, else
// $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. This server
// never downloads, so HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE hold always.
std::vector<std::string> HubCaches();

// Whether standard error is a terminal that may be redrawn (progress bars).
bool StderrIsTerminal();

// Columns for text on standard output: the terminal's, else $COLUMNS, else 100; from 60 to 120.
size_t StdoutColumns();

}  // namespace causeway::server
