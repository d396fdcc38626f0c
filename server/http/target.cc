#include "server/http/target.h"

#include <algorithm>

namespace causeway::server {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// "http://host/path" -> "/path": the form that clients send to proxies, which servers must take too.
std::string_view WithoutOrigin(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.starts_with(scheme)) {
      const size_t path = target.find('/', scheme.size());
      return path == std::string_view::npos ? std::string_view("/") : target.substr(path);
    }
  }
  return target;
}

// Text with its %XX resolved; nothing for a broken one or a control character.
std::optional<std::string> Decoded(std::string_view target) {
  std::string text;
  for (size_t i = 0; i < target.size(); ++i) {
    char c = target[i];
    if (c == '%') {
      const int high = i + 2 < target.size() ? HexDigit(target[i + 1]) : -1;
      const int low = i + 2 < target.size() ? HexDigit(target[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return std::nullopt;
      }
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return std::nullopt;
    }
    text += c;
  }
  return text;
}

}  // namespace

std::optional<std::string> PathOf(std::string_view target) {
  target = WithoutOrigin(target);
  target = target.substr(0, target.find_first_of("?#"));
  if (target == "*") {
    return std::string(target);
  }
  if (!target.starts_with('/')) {
    return std::nullopt;
  }
  return Decoded(target);
}

std::string_view QueryOf(std::string_view target) {
  const size_t mark = target.find_first_of("?#");
  if (mark == std::string_view::npos || target[mark] == '#') {
    return {};
  }
  target.remove_prefix(mark + 1);
  return target.substr(0, target.find('#'));
}

std::optional<std::string> QueryValue(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const size_t equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == name) {
      return Decoded(pair.substr(std::min(equals + 1, pair.size())));
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return std::nullopt;
}

}  // namespace causeway::server
