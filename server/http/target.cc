#include "server/http/target.h"

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
  std::string path;
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
    path += c;
  }
  return path;
}

}  // namespace causeway::server
