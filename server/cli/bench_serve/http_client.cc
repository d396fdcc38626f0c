#include "server/cli/bench_serve/http_client.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include <fmt/format.h>
#include <boost/asio/connect.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

namespace causeway::server::bench {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr size_t kMaxFetchBytes = 16 << 20;
constexpr size_t kMaxErrorBytes = 4096;

http::request<http::string_body> MakeRequest(const Target& target, std::string_view path, std::string body) {
  http::request<http::string_body> request;
  request.version(11);
  request.method(body.empty() ? http::verb::get : http::verb::post);
  request.target(target.base_path + std::string(path));
  request.set(http::field::host, target.host + ":" + target.port);
  request.set(http::field::user_agent, "causeway-bench");
  if (!target.api_key.empty()) {
    request.set(http::field::authorization, "Bearer " + target.api_key);
  }
  if (!body.empty()) {
    request.set(http::field::content_type, "application/json");
    request.body() = std::move(body);
  }
  request.prepare_payload();
  return request;
}

Error Unreachable(const Target& target, const error_code& code) {
  return MakeError(ErrorCode::kUnavailable,
                   fmt::format("cannot reach {}:{}: {}", target.host, target.port, code.message()), "url");
}

}  // namespace

Result<Target> ParseUrl(std::string_view url) {
  const auto wrong = [url](std::string_view why) {
    return MakeError(ErrorCode::kInvalidArgument, fmt::format("'{}': {}", url, why), "url");
  };
  constexpr std::string_view kScheme = "http://";
  if (url.substr(0, kScheme.size()) != kScheme) {
    return wrong("a URL begins with http:// (https is not spoken; put a proxy in between)");
  }
  std::string_view rest = url.substr(kScheme.size());
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string_view authority = rest.substr(0, slash);
  std::string_view path = rest.substr(slash);
  while (!path.empty() && path.back() == '/') {
    path.remove_suffix(1);
  }
  constexpr std::string_view kVersion = "/v1";
  if (path.size() >= kVersion.size() && path.substr(path.size() - kVersion.size()) == kVersion) {
    path.remove_suffix(kVersion.size());
  }
  const size_t bracket = authority.rfind(']');  // [::1]:8000
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  std::string_view host = authority.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') {
    host = host.substr(1, host.size() - 2);
  }
  const std::string_view port = colon == std::string_view::npos ? "80" : authority.substr(colon + 1);
  const bool is_number = !port.empty() && port.size() <= 5 &&
                         std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (host.empty() || !is_number) {
    return wrong("expected http://HOST:PORT");
  }
  return Target{std::string(host), std::string(port), std::string(path), {}};
}

Result<Reply> Fetch(const Target& target, std::string_view path, const std::string& body,
                    std::chrono::seconds timeout) {
  asio::io_context io;
  beast::tcp_stream stream(io);
  error_code code;
  const auto endpoints = asio::ip::tcp::resolver(io).resolve(target.host, target.port, code);
  if (code) {
    return Unreachable(target, code);
  }
  const auto request = MakeRequest(target, path, body);
  http::response_parser<http::string_body> parser;
  parser.body_limit(kMaxFetchBytes);
  beast::flat_buffer buffer;
  // Timeouts hold for asynchronous calls only, so the steps are chained callbacks on a private
  // context.
  stream.expires_after(timeout);
  stream.async_connect(endpoints, [&](error_code connect_error, const asio::ip::tcp::endpoint&) {
    code = connect_error;
    if (code) {
      return;
    }
    http::async_write(stream, request, [&](error_code write_error, size_t) {
      code = write_error;
      if (code) {
        return;
      }
      http::async_read(stream, buffer, parser, [&](error_code read_error, size_t) { code = read_error; });
    });
  });
  io.run();
  if (code) {
    return Unreachable(target, code);
  }
  return Reply{parser.get().result_int(), std::move(parser.get().body())};
}

// One POST on one connection. Keeps itself alive through its callbacks.
class HttpClient::Request : public std::enable_shared_from_this<HttpClient::Request> {
 public:
  Request(HttpClient& client, std::string_view path, std::string body, OnBytes on_bytes, OnDone on_done)
      : client_(client),
        request_(MakeRequest(client.target_, path, std::move(body))),
        on_bytes_(std::move(on_bytes)),
        on_done_(std::move(on_done)) {}

  void Start() {
    if (!client_.idle_.empty()) {
      connection_ = std::move(client_.idle_.back());
      client_.idle_.pop_back();
      reused_ = true;
      connection_->expires_after(client_.timeout_);
      Write();
      return;
    }
    Connect();
  }

 private:
  void Connect() {
    reused_ = false;
    connection_ = std::make_unique<beast::tcp_stream>(client_.io_);
    connection_->expires_after(client_.timeout_);
    connection_->async_connect(client_.endpoint_, [self = shared_from_this()](error_code code) {
      if (code) {
        self->Fail("connect", code);
        return;
      }
      error_code ignored;
      self->connection_->socket().set_option(asio::ip::tcp::no_delay(true), ignored);
      self->Write();
    });
  }

  void Write() {
    parser_.emplace();
    parser_->body_limit(boost::none);
    buffer_.clear();
    http::async_write(*connection_, request_, [self = shared_from_this()](error_code code, size_t) {
      if (code) {
        self->FailOrReconnect(code);
        return;
      }
      self->ReadHeader();
    });
  }

  void ReadHeader() {
    http::async_read_header(*connection_, buffer_, *parser_, [self = shared_from_this()](error_code code, size_t) {
      if (code) {
        self->FailOrReconnect(code);
        return;
      }
      self->ReadSome();
    });
  }

  // The parser appends what it read to the body, which is handed on and emptied.
  void ReadSome() {
    if (parser_->is_done()) {
      Finish();
      return;
    }
    http::async_read_some(*connection_, buffer_, *parser_, [self = shared_from_this()](error_code code, size_t) {
      self->HandBody();
      if (code) {
        self->Fail("broken", code);
        return;
      }
      self->ReadSome();
    });
  }

  void HandBody() {
    std::string& body = parser_->get().body();
    if (parser_->get().result() == http::status::ok) {
      on_bytes_(body);
      body.clear();
    } else if (body.size() > kMaxErrorBytes) {
      body.resize(kMaxErrorBytes);
    }
  }

  void Finish() {
    HandBody();
    const auto& response = parser_->get();
    StreamOutcome outcome;
    if (response.result() != http::status::ok) {
      outcome.error_kind = fmt::format("http_{}", response.result_int());
      outcome.error_message = response.body();
    }
    connection_->expires_never();
    if (response.keep_alive()) {
      client_.idle_.push_back(std::move(connection_));
    }
    on_done_(outcome);
  }

  // A server may close an idle connection at any time; that is no failure of this request.
  void FailOrReconnect(const error_code& code) {
    if (reused_ && code != beast::error::timeout) {
      Connect();
      return;
    }
    Fail("broken", code);
  }

  void Fail(std::string_view kind, const error_code& code) {
    StreamOutcome outcome;
    outcome.error_kind = code == beast::error::timeout ? "timeout" : std::string(kind);
    outcome.error_message = code.message();
    connection_.reset();
    on_done_(outcome);
  }

  HttpClient& client_;
  http::request<http::string_body> request_;
  OnBytes on_bytes_;
  OnDone on_done_;
  Connection connection_;
  bool reused_ = false;
  std::optional<http::response_parser<http::string_body>> parser_;
  beast::flat_buffer buffer_;
};

Result<std::unique_ptr<HttpClient>> HttpClient::Make(asio::io_context& io, const Target& target,
                                                     std::chrono::seconds timeout) {
  error_code code;
  const auto endpoints = asio::ip::tcp::resolver(io).resolve(target.host, target.port, code);
  if (code || endpoints.empty()) {
    return Unreachable(target, code);
  }
  // The first address that answers; localhost is often two.
  asio::ip::tcp::socket socket(io);
  std::unique_ptr<HttpClient> client(new HttpClient(io, target, timeout));
  client->endpoint_ = asio::connect(socket, endpoints, code);
  if (code) {
    return Unreachable(target, code);
  }
  return client;
}

void HttpClient::Post(std::string_view path, std::string body, OnBytes on_bytes, OnDone on_done) {
  std::make_shared<Request>(*this, path, std::move(body), std::move(on_bytes), std::move(on_done))->Start();
}

}  // namespace causeway::server::bench
