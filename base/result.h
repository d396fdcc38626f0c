// Result<T>: what the world can do wrong (a client, a file, the machine) is a value, not an exception.
// Our own bugs are CHECKs (base/check.h). No exception crosses a module; third-party throws are caught
// at the one call site and become an Error.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace causeway {

// One line of meaning each. server/api/status.h is the one place that maps these to HTTP and gRPC.
enum class ErrorCode {
  kInvalidArgument,     // the input is malformed or out of range; the same call fails again
  kNotFound,            // the named thing does not exist
  kTooLarge,            // the input is over a size limit
  kContextLength,       // prompt plus output does not fit the model's context
  kUnauthenticated,     // no valid API key
  kResourceExhausted,   // a bounded queue or pool is full; try again later
  kDeadlineExceeded,    // a queue or run deadline passed
  kCancelled,           // the caller went away or asked to stop
  kUnavailable,         // the server is starting, draining or stopped
  kFailedPrecondition,  // a file or the machine is not in the state that the call needs
  kUnsupported,         // understood, and not something that this build serves
  kInternal,            // a bug or a failed machine; the message is for the log
};

// Snake-case name of a code ("invalid_argument"), for logs and tests.
std::string_view ErrorCodeName(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // a full sentence for the person who must act; names the file, field or limit
  std::string param;    // the request field or option at fault; empty if none

  // The same error with `context` in front: "context: message".
  Error WithContext(std::string_view context) const&;
};

inline Error MakeError(ErrorCode code, std::string message, std::string param = {}) {
  return Error{code, std::move(message), std::move(param)};
}

// Either a T or an Error. Reading the one that is not there is a CHECK failure.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    CHECK_MSG(ok(), "Result without a value: {}", error().message);
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    CHECK_MSG(ok(), "Result without a value: {}", error().message);
    return *std::get_if<0>(&state_);
  }
  T value() && { return std::move(value()); }  // by value: `for (x : *f())` must not dangle
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    CHECK(!ok());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    CHECK(!ok());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& {
    CHECK(!ok());
    return *error_;
  }
  Error&& error() && {
    CHECK(!ok());
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace causeway

#define CAUSEWAY_CONCAT_INNER(a, b) a##b
#define CAUSEWAY_CONCAT(a, b) CAUSEWAY_CONCAT_INNER(a, b)

// TRY(expr): returns the error of a failed Result<void> (or any Result whose value is not wanted).
#define TRY(expr)                                     \
  do {                                                \
    if (auto try_result = (expr); !try_result.ok()) { \
      return std::move(try_result).error();           \
    }                                                 \
  } while (false)

// ASSIGN_OR_RETURN(auto x, expr): binds the value or returns the error.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL(CAUSEWAY_CONCAT(assign_result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                          \
  if (!tmp.ok()) {                            \
    return std::move(tmp).error();            \
  }                                           \
  lhs = std::move(tmp).value()
