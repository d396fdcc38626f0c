// The HTTP side of the load generator: one blocking call for set-up, and streamed POSTs on
// kept-alive connections for the load. Asio callbacks on one thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/tcp_stream.hpp>

#include "base/result.h"

namespace causeway::server::bench {

struct Target {
  std::string host;
  std::string port;
  std::string base_path;  // without a trailing slash; empty for most
  std::string api_key;    // empty: no Authorization header
};

// "http://host[:port][/path]"; a trailing "/v1" is taken off, since users paste base URLs of SDKs.
Result<Target> ParseUrl(std::string_view url);

struct Reply {
  unsigned status = 0;
  std::string body;
};

// One request on a connection of its own; waits. An empty `body` is a GET, else a POST of JSON.
Result<Reply> Fetch(const Target& target, std::string_view path, const std::string& body, std::chrono::seconds timeout);

// How a streamed request ended.
struct StreamOutcome {
  std::string error_kind;  // empty: a 200 whose body ended; else connect, timeout, http_<status>, broken
  std::string error_message;
};

// Sends streamed requests to one resolved address and keeps idle connections. One thread.
class HttpClient {
 public:
  using OnBytes = std::function<void(std::string_view)>;
  using OnDone = std::function<void(const StreamOutcome&)>;

  // Resolves the target; waits.
  static Result<std::unique_ptr<HttpClient>> Make(boost::asio::io_context& io, const Target& target,
                                                  std::chrono::seconds timeout);

  // POSTs `body`; `on_bytes` gets the response body of a 200 as it arrives, `on_done` is called
  // once, after it. The client must outlive the request.
  void Post(std::string_view path, std::string body, OnBytes on_bytes, OnDone on_done);

 private:
  class Request;
  using Connection = std::unique_ptr<boost::beast::tcp_stream>;

  HttpClient(boost::asio::io_context& io, Target target, std::chrono::seconds timeout)
      : io_(io), target_(std::move(target)), timeout_(timeout) {}

  boost::asio::io_context& io_;
  const Target target_;
  const std::chrono::seconds timeout_;
  boost::asio::ip::tcp::endpoint endpoint_;
  std::vector<Connection> idle_;
};

}  // namespace causeway::server::bench
