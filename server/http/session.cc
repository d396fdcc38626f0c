#include "server/http/session.h"

#include <algorithm>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/read.hpp>

#include "base/log.h"
#include "fmt/format.h"
#include "server/api/status.h"
#include "server/http/head.h"
#include "server/http/target.h"
#include "server/metrics/metrics.h"

namespace causeway::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

constexpr size_t kReadBytes = 4096;
// After the last answer: time for the client to read it before a reset could destroy it.
constexpr Duration kLingerTime = std::chrono::seconds(5);

}  // namespace

std::shared_ptr<Session> Session::Make(Connections& connections, asio::ip::tcp::socket socket) {
  std::shared_ptr<Session> session(new Session(connections, std::move(socket)));  // NOLINT: private constructor
  connections.Add(session);
  return session;
}

Session::Session(Connections& connections, asio::ip::tcp::socket socket)
    : connections_(connections), app_(connections.app), socket_(std::move(socket)), timer_(socket_.get_executor()) {
  beast::error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

Session::~Session() {
  DropBody();
  connections_.Remove(this);
}

void Session::Run() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->SetDeadline(self->app_.server_limits.header_timeout);
    self->NextRequest();
  });
}

void Session::RunRefusing() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->Fail(MakeError(ErrorCode::kUnavailable, "too many connections are open"), 503);
  });
}

// ---- Reading ---------------------------------------------------------------------------------------

void Session::NextRequest() {
  phase_ = Phase::kIdle;
  if (buffer_.size() > 0) {
    ReadHeader();
  } else {
    ReadBytes();
  }
}

// While an answer is made, end of file means that the client is gone; bytes are its next request.
void Session::ReadBytes() {
  if (reading_ || closed_) {
    return;
  }
  reading_ = true;
  socket_.async_read_some(buffer_.prepare(kReadBytes),
                          [self = shared_from_this()](beast::error_code error, size_t bytes) {
                            self->reading_ = false;
                            self->OnBytes(error, bytes);
                          });
}

void Session::OnBytes(beast::error_code error, size_t bytes) {
  if (error || closed_) {
    return Close();
  }
  if (phase_ == Phase::kLinger) {
    return ReadBytes();  // thrown away
  }
  buffer_.commit(bytes);
  if (phase_ == Phase::kIdle) {
    ReadHeader();
  }
}

void Session::ReadHeader() {
  // An empty line in front of a request is to be forgiven.
  const auto* const data = static_cast<const char*>(buffer_.data().data());
  const size_t blank = std::string_view(data, buffer_.size()).find_first_not_of("\r\n");
  buffer_.consume(std::min(blank, buffer_.size()));
  if (buffer_.size() == 0) {
    return ReadBytes();
  }
  phase_ = Phase::kHeader;
  SetDeadline(app_.server_limits.header_timeout);
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(app_.server_limits.max_header_bytes));
  parser_->body_limit(static_cast<uint64_t>(app_.server_limits.max_body_bytes));
  http::async_read_header(socket_, buffer_, *parser_,
                          [self = shared_from_this()](beast::error_code error, size_t) { self->OnHeader(error); });
}

void Session::OnHeader(beast::error_code error) {
  if (closed_ || phase_ != Phase::kHeader) {
    return;  // the deadline was first
  }
  if (error) {
    return OnReadError(error);
  }
  const RequestMessage& message = parser_->get();
  method_ = MethodLabel(message);
  head_only_ = message.method() == http::verb::head;
  chunked_ = message.version() >= 11;
  keep_alive_ = message.keep_alive() && !closing_ && app_.lifecycle < Lifecycle::kDraining;
  request_id_ = RequestIdOf(message);
  if (const auto fault = CheckHead(message)) {
    return Fail(fault->error, fault->status);
  }
  const auto path = PathOf({message.target().data(), message.target().size()});
  if (!path) {
    return Fail(MakeError(ErrorCode::kInvalidArgument, "the request's target is malformed"), 400);
  }
  path_ = *path;
  int status = 404;
  const Route* const route =
      FindRoute({message.method_string().data(), message.method_string().size()}, path_, app_.admin_endpoints, status);
  route_name_ = route != nullptr ? std::string(route->path) : "unknown";
  // Whoever has no key need not send a body.
  const auto tenant = TenantOf(message, app_.api_keys);
  tenant_ = tenant.value_or(memory::kDefaultTenant);
  if (route != nullptr && !route->open && !tenant) {
    return Fail(MakeError(ErrorCode::kUnauthenticated, "a valid API key is needed"), 401);
  }
  if (beast::iequals(message[http::field::expect], "100-continue") && !parser_->is_done()) {
    Queue("HTTP/1.1 100 Continue\r\n\r\n");
  }
  phase_ = Phase::kBody;
  SetDeadline(app_.server_limits.body_timeout);
  parser_->eager(true);
  ReadBody();
}

void Session::ReadBody() {
  if (parser_->is_done()) {
    return Dispatch();
  }
  http::async_read_some(socket_, buffer_, *parser_,
                        [self = shared_from_this()](beast::error_code error, size_t) { self->OnBody(error); });
}

void Session::OnBody(beast::error_code error) {
  if (closed_ || phase_ != Phase::kBody) {
    return;  // the deadline was first
  }
  if (error) {
    return OnReadError(error);
  }
  const auto size = static_cast<int64_t>(parser_->get().body().size());
  if (!connections_.HoldBody(size - body_bytes_)) {
    return Fail(MakeError(ErrorCode::kResourceExhausted, "too many large requests at once"), 429);
  }
  body_bytes_ = size;
  ReadBody();
}

void Session::OnReadError(beast::error_code error) {
  if (error == http::error::end_of_stream) {
    return Close();
  }
  if (phase_ == Phase::kHeader) {  // nothing is known of this request
    method_ = "other";
    route_name_ = "unknown";
    path_.clear();
    request_id_ = NewRequestId();
  }
  if (error == http::error::header_limit) {
    return Fail(MakeError(ErrorCode::kTooLarge,
                          fmt::format("the request's headers are over {} bytes", app_.server_limits.max_header_bytes)),
                431);
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

void Session::BeginAnswer() {
  phase_ = Phase::kAnswer;
  arrival_ = Clock::now();
  answer_complete_ = false;
  answer_bytes_ = 0;
  ClearDeadline();
}

// Answers a request that was not read to its end, and closes if bytes of it may still come.
void Session::Fail(const Error& error, int status) {
  BeginAnswer();
  if (request_id_.empty()) {
    request_id_ = NewRequestId();
  }
  keep_alive_ = keep_alive_ && parser_ && parser_->is_done() && !closing_;
  HttpResponse response = ErrorResponse(app_, error);
  response.status = status;
  Send(std::move(response));
}

void Session::Dispatch() {
  BeginAnswer();
  const std::string method(parser_->get().method_string());
  if (method == "OPTIONS") {
    return SendOptions(path_);
  }
  int status = 404;
  const Route* const route = FindRoute(method, path_, app_.admin_endpoints, status);
  if (route == nullptr) {
    HttpResponse response = ErrorResponse(
        app_, status == 405 ? MakeError(ErrorCode::kInvalidArgument, fmt::format("{} does not take this method", path_))
                            : MakeError(ErrorCode::kNotFound, fmt::format("there is no {}", path_.substr(0, 200))));
    response.status = status;
    if (status == 405) {
      response.headers.emplace_back("Allow", AllowedMethods(path_, app_.admin_endpoints));
    }
    return Send(std::move(response));
  }
  const auto target = parser_->get().target();
  HttpRequest request{.method = method,
                      .path = path_,
                      .query = std::string(QueryOf({target.data(), target.size()})),
                      .body = std::move(parser_->get().body()),
                      .request_id = request_id_,
                      .arrival = arrival_,
                      .tenant = tenant_};
  exchange_ = route->handle(app_, std::move(request), *this);
  if (exchange_ == nullptr || closed_) {
    return;
  }
  alive_ = shared_from_this();
  if (buffer_.size() == 0) {  // else the next request is here, and a client that vanishes is seen by the next write
    ReadBytes();
  }
  exchange_->OnWake();
}

// For browsers: what a page may send here.
void Session::SendOptions(const std::string& path) {
  const std::string methods = AllowedMethods(path, app_.admin_endpoints);
  if (methods.empty() && path != "*") {
    return Send(
        ErrorResponse(app_, MakeError(ErrorCode::kNotFound, fmt::format("there is no {}", path.substr(0, 200)))));
  }
  Send({.status = 204,
        .body = {},
        .content_type = {},
        .headers = {{"Allow", methods},
                    {"Access-Control-Allow-Methods", methods},
                    {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id, *"},
                    {"Access-Control-Max-Age", "86400"}}});
}

// ---- Answering -------------------------------------------------------------------------------------

std::string Session::Head(int status, std::string_view content_type) const {
  return ResponseHead(
      {.status = status, .content_type = content_type, .request_id = request_id_, .keep_alive = keep_alive_});
}

void Session::Send(HttpResponse response) {
  status_ = response.status;
  std::string text = Head(response.status, response.content_type);
  for (const auto& [name, value] : response.headers) {
    text += name + ": " + value + "\r\n";
  }
  if (response.status != 204) {
    text += fmt::format("Content-Length: {}\r\n", response.body.size());
  }
  text += "\r\n";
  if (!head_only_) {
    text += response.body;
  }
  answer_complete_ = true;
  Queue(std::move(text));
}

void Session::StartEvents() {
  status_ = 200;
  keep_alive_ = keep_alive_ && chunked_;  // without chunks, the end of the connection ends the stream
  Queue(Head(200, "text/event-stream") + "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n" +
        (chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n"));
}

void Session::Event(std::string_view data) {
  if (chunked_) {
    Queue(fmt::format("{:x}\r\ndata: {}\n\n\r\n", data.size() + 8, data));  // "data: ", data and two line feeds
  } else {
    Queue(fmt::format("data: {}\n\n", data));
  }
}

void Session::EndEvents() {
  answer_complete_ = true;
  if (chunked_) {
    Queue("0\r\n\r\n");
  } else if (outbox_.empty()) {
    asio::post(socket_.get_executor(), [self = shared_from_this()] {  // not inside the exchange's own call
      if (!self->closed_) {
        self->FinishAnswer();
      }
    });
  }
}

void Session::Queue(std::string bytes) {
  if (closed_) {
    return;
  }
  outbox_bytes_ += bytes.size();
  answer_bytes_ += bytes.size();
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
  if (phase_ == Phase::kAnswer) {
    SetDeadline(app_.server_limits.write_timeout);
  }
  socket_.async_write_some(
      asio::buffer(outbox_.front()) + written_,
      [self = shared_from_this()](beast::error_code error, size_t bytes) { self->OnWritten(error, bytes); });
}

void Session::OnWritten(beast::error_code error, size_t bytes) {
  if (error || closed_) {
    return Close();
  }
  written_ += bytes;
  outbox_bytes_ -= bytes;
  if (written_ == outbox_.front().size()) {
    outbox_.pop_front();
    written_ = 0;
  }
  if (!outbox_.empty()) {
    return WriteNext();
  }
  if (phase_ == Phase::kAnswer) {
    ClearDeadline();
    if (answer_complete_) {
      FinishAnswer();
    }
  }
}

void Session::FinishAnswer() {
  const double seconds = ToSeconds(Clock::now() - arrival_);
  app_.metrics.CountHttp(route_name_, method_, status_, seconds);
  LOG_DEBUG("http request_id={} method={} path={} status={} bytes={} ms={:.1f}", request_id_, method_, route_name_,
            status_, answer_bytes_, seconds * 1e3);
  exchange_.reset();
  alive_.reset();
  DropBody();
  if (!keep_alive_ || closing_) {
    const bool more_may_come = !parser_ || !parser_->is_done() || buffer_.size() > 0;
    return more_may_come ? Linger() : Close();
  }
  parser_.reset();
  SetDeadline(app_.server_limits.keep_alive_timeout);
  NextRequest();
}

// No more is said; what the client still sends is read and thrown away, since a close with unread bytes would reset
// the connection and take the answer with it.
void Session::Linger() {
  phase_ = Phase::kLinger;
  SetDeadline(kLingerTime);
  beast::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  ReadBytes();
}

void Session::DropBody() { connections_.DropBody(std::exchange(body_bytes_, 0)); }

// ---- Time ------------------------------------------------------------------------------------------

// A wait that is pending and ends earlier is kept, and goes on when it ends: streams move their deadline with each
// token, timers do not.
void Session::SetDeadline(Duration duration) {
  deadline_ = Clock::now() + duration;
  if (deadline_ < timer_at_) {
    WaitForDeadline();
  }
}

void Session::WaitForDeadline() {
  timer_at_ = deadline_;
  timer_.expires_at(deadline_);
  timer_.async_wait([weak = weak_from_this()](beast::error_code error) {
    const auto self = weak.lock();
    if (error || self == nullptr || self->closed_) {
      return;
    }
    self->timer_at_ = kNever;
    if (self->deadline_ == kNever) {
      return;
    }
    if (Clock::now() >= self->deadline_) {
      self->OnDeadline();
    } else {
      self->WaitForDeadline();
    }
  });
}

void Session::OnDeadline() {
  ClearDeadline();
  switch (phase_) {
    case Phase::kIdle:
    case Phase::kLinger: return Close();
    case Phase::kAnswer:
      LOG_WARNING("request {}: the client reads nothing; dropped", request_id_);
      app_.metrics.CountRejected("slow_client");
      return Close();
    case Phase::kHeader:
    case Phase::kBody: break;
  }
  if (phase_ == Phase::kHeader) {
    method_ = "other";
    route_name_ = "unknown";
    request_id_ = NewRequestId();
  }
  BeginAnswer();
  keep_alive_ = false;
  beast::error_code ignored;
  socket_.cancel(ignored);  // the read; its handler sees the phase
  HttpResponse response =
      ErrorResponse(app_, MakeError(ErrorCode::kDeadlineExceeded, "the request took too long to come"));
  response.status = 408;
  Send(std::move(response));
}

// ---- From other threads, and the end ---------------------------------------------------------------

void Session::Wake() noexcept {
  if (wake_posted_.exchange(true)) {
    return;
  }
  asio::post(socket_.get_executor(), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) {
      self->wake_posted_ = false;
      if (self->exchange_ != nullptr && !self->closed_) {
        self->exchange_->OnWake();
      }
    }
  });
}

void Session::CloseWhenIdle() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->closing_ = true;
    if (self->phase_ == Phase::kIdle) {
      self->Close();
    }
  });
}

void Session::Abort() {
  asio::post(socket_.get_executor(), [self = shared_from_this()] { self->Close(); });
}

void Session::Close() {
  if (std::exchange(closed_, true)) {
    return;
  }
  // Not reset here: Close may run inside the exchange's own call.
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    self->exchange_.reset();
    self->alive_.reset();
  });
  timer_.cancel();
  beast::error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  socket_.close(ignored);
}

}  // namespace causeway::server
