#include "server/http/session.h"

#include <random>
#include <utility>

#include <boost/asio/post.hpp>
#include <openssl/crypto.h>

#include "base/log.h"
#include "fmt/format.h"
#include "server/api/status.h"
#include "server/metrics/metrics.h"

namespace causeway::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

std::string NewRequestId() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return fmt::format("{:016x}{:016x}", generator(), generator());
}

// The client's own id if it is short and printable.
std::string RequestIdOf(beast::string_view given) {
  if (given.empty() || given.size() > 128) {
    return NewRequestId();
  }
  for (const char c : given) {
    if (c <= 0x20 || c >= 0x7f) {
      return NewRequestId();
    }
  }
  return std::string(given);
}

bool EqualInConstantTime(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

Session::Session(App& app, asio::ip::tcp::socket socket, std::atomic<int64_t>& connections)
    : app_(app), stream_(std::move(socket)), connections_(connections) {
  ++connections_;
  beast::error_code ignored;
  stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
}

Session::~Session() { --connections_; }

void Session::Run() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] { self->ReadRequest(); });
}

// ---- Reading ---------------------------------------------------------------------------------------

void Session::ReadRequest() {
  if (closed_) {
    return;
  }
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(app_.server_limits.max_header_bytes));
  parser_->body_limit(static_cast<uint64_t>(app_.server_limits.max_body_bytes));
  stream_.expires_after(app_.server_limits.keep_alive_timeout);
  http::async_read_header(stream_, buffer_, *parser_,
                          [self = shared_from_this()](beast::error_code error, size_t) {
                            if (error) {
                              self->OnReadError(error);
                            } else {
                              self->ReadBody();
                            }
                          });
}

void Session::ReadBody() {
  stream_.expires_after(app_.server_limits.body_timeout);
  const auto& request = parser_->get();
  if (beast::iequals(request[http::field::expect], "100-continue")) {
    outbox_.push_back("HTTP/1.1 100 Continue\r\n\r\n");
    outbox_bytes_ += outbox_.back().size();
    WriteNext();
  }
  http::async_read(stream_, buffer_, *parser_,
                   [self = shared_from_this()](beast::error_code error, size_t) { self->OnRequest(error); });
}

void Session::OnReadError(beast::error_code error) {
  if (error == http::error::end_of_stream || error == asio::error::operation_aborted ||
      error == beast::error::timeout || closed_) {
    return Close();
  }
  if (error == http::error::header_limit) {
    return Fail(MakeError(ErrorCode::kTooLarge, "the request's headers are too large"), 431);
  }
  if (error == http::error::body_limit) {
    return Fail(MakeError(ErrorCode::kTooLarge,
                          fmt::format("the request's body is over {} bytes", app_.server_limits.max_body_bytes)),
                413);
  }
  if (error.category() == http::make_error_code(http::error::end_of_stream).category()) {
    return Fail(MakeError(ErrorCode::kInvalidArgument, "not an HTTP request: " + error.message()), 400);
  }
  Close();  // a reset connection and the like
}

void Session::OnRequest(beast::error_code error) {
  if (error) {
    return OnReadError(error);
  }
  stream_.expires_never();
  Dispatch();
}

// Answers a request that could not be read, then closes.
void Session::Fail(const Error& error, int status) {
  answering_ = true;
  keep_alive_ = false;
  closing_ = true;
  request_id_ = NewRequestId();
  arrival_ = Clock::now();
  HttpResponse response = ErrorResponse(app_, error);
  response.status = status;
  Send(std::move(response));
}

bool Session::Authorized() const {
  if (app_.api_keys.empty()) {
    return true;
  }
  constexpr std::string_view kBearer = "Bearer ";
  const auto given = parser_->get()[http::field::authorization];
  const std::string_view header(given.data(), given.size());
  if (!header.starts_with(kBearer)) {
    return false;
  }
  bool found = false;
  for (const std::string& key : app_.api_keys) {  // all of them: no hint in the time it takes
    found = EqualInConstantTime(header.substr(kBearer.size()), key) || found;
  }
  return found;
}

void Session::Dispatch() {
  const auto& message = parser_->get();
  answering_ = true;
  answer_complete_ = false;
  keep_alive_ = message.keep_alive() && !closing_;
  arrival_ = Clock::now();
  method_ = std::string(message.method_string());
  head_only_ = method_ == "HEAD";
  request_id_ = RequestIdOf(message["X-Request-Id"]);
  const std::string target(message.target());
  HttpRequest request{method_, target.substr(0, target.find('?')), parser_->release().body(), request_id_, arrival_};
  int status = 404;
  const Route* const route = FindRoute(request.method, request.path, status);
  route_name_ = route != nullptr ? std::string(route->path) : "unknown";
  if (route == nullptr) {
    HttpResponse response = ErrorResponse(
        app_, MakeError(status == 405 ? ErrorCode::kInvalidArgument : ErrorCode::kNotFound,
                        status == 405 ? request.method + " is not allowed here"
                                      : "there is no " + request.path.substr(0, 200)));
    response.status = status;
    return Send(std::move(response));
  }
  if (!route->open && !Authorized()) {
    return Send(ErrorResponse(app_, MakeError(ErrorCode::kUnauthenticated, "a valid API key is needed")));
  }
  exchange_ = route->handle(app_, std::move(request), *this);
  if (exchange_ != nullptr && !closed_) {
    WatchForClose();
    exchange_->OnWake();
  }
}

// While an answer is made the client sends nothing, or the next request; end of file means it is gone.
void Session::WatchForClose() {
  if (watching_ || buffer_.size() > 0) {
    return;
  }
  watching_ = true;
  stream_.async_read_some(buffer_.prepare(4096), [self = shared_from_this()](beast::error_code error, size_t bytes) {
    self->watching_ = false;
    if (error) {
      return self->Close();
    }
    self->buffer_.commit(bytes);
    if (!self->answering_) {
      self->ReadRequest();
    }
  });
}

// ---- Answering -------------------------------------------------------------------------------------

std::string Session::Head(int status, std::string_view content_type) const {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nServer: causeway\r\nContent-Type: {}\r\nX-Request-Id: {}\r\nAccess-Control-Allow-Origin: *\r\nConnection: {}\r\n", status,
      std::string(http::obsolete_reason(static_cast<http::status>(status))), content_type, request_id_,
      keep_alive_ ? "keep-alive" : "close");
}

void Session::Send(HttpResponse response) {
  status_ = response.status;
  std::string head = Head(response.status, response.content_type);
  for (const auto& [name, value] : response.headers) {
    head += name + ": " + value + "\r\n";
  }
  head += fmt::format("Content-Length: {}\r\n\r\n", response.body.size());
  answer_complete_ = true;
  Queue(head_only_ ? std::move(head) : head + response.body);
}

void Session::StartEvents() {
  status_ = 200;
  Queue(Head(200, "text/event-stream") +
        "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n");
}

void Session::Event(std::string_view data) {
  // "data: " + data + two line feeds, as one chunk.
  Queue(fmt::format("{:x}\r\ndata: {}\n\n\r\n", data.size() + 8, data));
}

void Session::EndEvents() {
  answer_complete_ = true;
  Queue("0\r\n\r\n");
}

void Session::Queue(std::string bytes) {
  if (closed_) {
    return;
  }
  outbox_bytes_ += bytes.size();
  const bool idle = outbox_.empty();
  if (outbox_.size() > 1) {
    outbox_.back() += bytes;  // the front is being written; what waits goes out in one write
  } else {
    outbox_.push_back(std::move(bytes));
  }
  if (!answer_complete_ && static_cast<int64_t>(outbox_bytes_) > app_.server_limits.max_output_buffer_bytes) {
    LOG_WARNING("request {}: the client does not read its stream; dropped", request_id_);
    app_.metrics.CountRejected("slow_client");
    return Close();
  }
  if (idle) {
    WriteNext();
  }
}

void Session::WriteNext() {
  stream_.expires_after(app_.server_limits.write_timeout);
  asio::async_write(stream_, asio::buffer(outbox_.front()),
                    [self = shared_from_this()](beast::error_code error, size_t) { self->OnWritten(error); });
}

void Session::OnWritten(beast::error_code error) {
  if (error || closed_) {
    return Close();
  }
  outbox_bytes_ -= outbox_.front().size();
  outbox_.pop_front();
  if (!outbox_.empty()) {
    return WriteNext();
  }
  if (answering_) {
    stream_.expires_never();
  }
  if (answer_complete_) {
    FinishAnswer();
  }
}

void Session::FinishAnswer() {
  app_.metrics.CountHttp(route_name_, method_, status_, ToSeconds(Clock::now() - arrival_));
  exchange_.reset();
  answering_ = false;
  answer_complete_ = false;
  if (!keep_alive_ || closing_) {
    return Close();
  }
  if (!watching_) {
    ReadRequest();
  } else {
    stream_.expires_after(app_.server_limits.keep_alive_timeout);  // the armed read becomes the next request
  }
}

// ---- From other threads, and the end ---------------------------------------------------------------

void Session::Wake() noexcept {
  if (wake_posted_.exchange(true)) {
    return;
  }
  asio::post(stream_.get_executor(), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->wake_posted_ = false;
      if (self->exchange_ != nullptr && !self->closed_) {
        self->exchange_->OnWake();
      }
    }
  });
}

void Session::CloseWhenIdle() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] {
    self->closing_ = true;
    if (!self->answering_) {
      self->Close();
    }
  });
}

void Session::Abort() {
  asio::post(stream_.get_executor(), [self = shared_from_this()] { self->Close(); });
}

void Session::Close() {
  if (std::exchange(closed_, true)) {
    return;
  }
  // Not reset here: Close may run inside the exchange's own call.
  asio::post(stream_.get_executor(), [self = shared_from_this()] { self->exchange_.reset(); });
  beast::error_code ignored;
  stream_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  stream_.close();
}

}  // namespace causeway::server
