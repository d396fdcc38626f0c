#include "tests/property/kv_walk.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/rng.h"
#include "fmt/format.h"
#include "tests/support/kv_fixtures.h"

namespace causeway::memory {
namespace {

constexpr int64_t kPages = 24;
constexpr size_t kSpans = 5;
constexpr int64_t kPagesPerSpan = 9;
constexpr size_t kMaxPinned = 3;
constexpr size_t kMaxComing = 3;
constexpr auto kT = static_cast<size_t>(kTestTokensPerPage);

// Two layers, one head of 16 floats: 16 tokens fill a system page exactly.
constexpr KvGeometry kGeometry{.shape = {.layers = 2, .kv_heads = 1, .head_dim = 16, .element_bytes = 4},
                               .page_bytes = 4096,
                               .tokens_per_page = kTestTokensPerPage,
                               .row_bytes = 64};

KvCacheOptions OptionsOf(const KvWorld& world) {
  const auto draw = [&](uint64_t what, int64_t below) {
    return world.plain ? 0 : static_cast<int64_t>(RandomBits(world.seed, 1, what) % static_cast<uint64_t>(below));
  };
  KvCacheOptions options{.geometry = kGeometry,
                         .max_pages = kPages,
                         .max_spans = kSpans,
                         .positions_per_span = kPagesPerSpan * kTestTokensPerPage};
  options.prefix_spelling = world.spelling;
  if (world.backend == "device") {
    options.geometry.page_bytes = 2 << 20;  // no device has smaller ones; the rows fill their beginning
  }
  if (draw(0, 4) > 0) {
    options.tenants = {{.name = "first", .floor_pages = draw(1, 6)},
                       {.name = "second", .floor_pages = 2, .quota_pages = 6 + draw(2, 12)},
                       {.name = "third"}};
  }
  options.ready_pages = world.plain ? 3 : draw(3, 5);
  return options;
}

}  // namespace

// Reads what some spans hold while the engine thread goes on, as a step does. What it reads is neither freed nor mapped
// anew meanwhile.
class KvWalk::Reader {
 public:
  Reader(const KvWalk& walk, const std::vector<Running>& running)
      : thread_([&walk, reads = Reads(running)] {
          for (const auto& [pages, text] : reads) {
            for (size_t place = 0; place < pages.size(); ++place) {
              walk.CheckPage(pages[place], text, place);
            }
          }
        }) {}
  ~Reader() { thread_.join(); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

 private:
  using Read = std::pair<std::vector<const std::byte*>, Text>;
  static std::vector<Read> Reads(const std::vector<Running>& running) {
    std::vector<Read> reads;
    for (const Running& one : running) {
      std::vector<const std::byte*> pages;
      for (size_t place = 0; place * kT < one.text.tokens.size(); ++place) {
        pages.push_back(one.span.page(static_cast<int64_t>(place)));
      }
      reads.emplace_back(std::move(pages), one.text);
    }
    return reads;
  }
  std::thread thread_;
};

// ---- A world ---------------------------------------------------------------------------------------

KvWalk::KvWalk(const KvWorld& world) : world_(world), options_(OptionsOf(world)), limit_(kPages) {
  const auto draw = [&](uint64_t what) { return world.plain ? 1 : RandomBits(world.seed, 2, what); };
  std::unique_ptr<VmBackend> backend = MakeBackend();
  const auto ranges = static_cast<int64_t>(world.spelling == PrefixSpelling::kSegments ? 2 * kSpans : kSpans);
  if (world.backend == "mock") {
    mock_ = static_cast<MockBackend*>(backend.get());
    if (draw(0) % 3 == 0) {  // then a fragmented pool refuses what the budget would allow
      mock_->set_max_mappings(2 * ranges + 3 + static_cast<int64_t>(draw(1) % kPages));
      may_fail_ = true;
    }
  }
  KvCacheParts parts;
  if (draw(2) % 4 > 0) {
    auto tier = std::make_unique<FakeTier>(options_.geometry.page_bytes, 5 + static_cast<int64_t>(draw(3) % 40),
                                           draw(4) % 2 == 1);
    tier_ = tier.get();
    parts.tier = std::move(tier);
  }
  if (world.threads) {
    parts.control = std::make_unique<MemoryControl>();
    parts.mover = std::make_unique<MemoryControl>();
  }
  cache_ = KvCache::Create(options_, std::move(backend), std::move(parts)).value();
  for (size_t i = 0; i < cache_->tenants().size(); ++i) {
    roots_.push_back(cache_->PrefixRoot(fmt::format("tenant {}", i)));
  }
  if (world.call) {
    mock_->FailNth(*world.call, world.nth);
    may_fail_ = true;
  }
}

KvWalk::~KvWalk() = default;

std::unique_ptr<VmBackend> KvWalk::MakeBackend() {
  const int64_t page_bytes = options_.geometry.page_bytes;
  if (world_.backend != "device") {
    return MakeTestBackend(world_.backend, kPages, page_bytes);
  }
  auto driver = LoadCudaDriver(0).value();
  device_ = driver.get();
  return MakeCudaBackend({.page_bytes = page_bytes, .max_pages = kPages}, std::move(driver),
                         {.protect_sealed = world_.seed % 4 < 2})
      .value();
}

std::vector<KvStep> KvWalk::RandomSteps(uint64_t seed, int64_t count, bool faults) {
  static constexpr std::array<std::pair<KvOp, int>, kKvOps> kWeights{
      {{KvOp::kAdmit, 16},  {KvOp::kGrow, 22},       {KvOp::kPublish, 14}, {KvOp::kFork, 6},
       {KvOp::kFree, 8},    {KvOp::kMove, 1},        {KvOp::kPin, 2},      {KvOp::kUnpin, 3},
       {KvOp::kRestore, 5}, {KvOp::kLoad, 2},        {KvOp::kTakeOver, 5}, {KvOp::kMapAhead, 8},
       {KvOp::kPoll, 16},   {KvOp::kTierTrouble, 2}, {KvOp::kTrim, 2},     {KvOp::kDropPrefixes, 1},
       {KvOp::kResize, 2},  {KvOp::kSave, 1},        {KvOp::kSleep, 1},    {KvOp::kWake, 1}}};
  std::vector<KvOp> deck;
  for (const auto& [op, weight] : kWeights) {
    deck.insert(deck.end(), static_cast<size_t>(weight), op);
  }
  std::vector<KvStep> steps(static_cast<size_t>(count));
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto bits = [&](uint64_t what) { return RandomBits(seed, i, what); };
    steps[i].op = deck[bits(0) % deck.size()];
    steps[i].draw = {static_cast<uint32_t>(bits(1)), static_cast<uint32_t>(bits(2)), static_cast<uint32_t>(bits(3))};
    if (faults && bits(4) % 4 == 0) {
      steps[i].fail_call = static_cast<uint8_t>(1 + bits(5) % kVmCalls);
      steps[i].fail_after = static_cast<uint8_t>(bits(6) % 3);
    }
  }
  return steps;
}

// ---- Texts -----------------------------------------------------------------------------------------

void KvWalk::Extend(Text& text, Token token, size_t count) const {
  for (size_t i = 0; i < count; ++i) {
    const uint64_t before = text.lineage.empty() ? uint64_t{text.tenant} + 1 : text.lineage.back();
    text.tokens.push_back(token);
    text.lineage.push_back(Mix64(before + static_cast<uint64_t>(token) * 0x9e3779b97f4a7c15ULL + 1));
  }
}

void KvWalk::FindKeys(Text& text) { cache_->AppendPrefixKeys(roots_[text.tenant], text.tokens, text.keys); }

// Few families and few ways to go on: so that many begin alike.
KvWalk::Text KvWalk::RandomText(const std::array<uint32_t, 3>& draw) const {
  Text text;
  text.tenant = static_cast<TenantId>(draw[1] / 64 % roots_.size());
  const size_t size = 1 + draw[0] % (8 * kT);
  const size_t branch = draw[2] % size;
  Extend(text, static_cast<Token>(draw[1] % 3), branch);
  Extend(text, static_cast<Token>(10 + draw[1] / 4 % 2), size - branch);
  return text;
}

PrefixQuery KvWalk::QueryOf(const Text& text, size_t max_pages) const {
  return {text.keys, text.tokens, static_cast<int64_t>(max_pages), text.tenant};
}

// ---- Steps -----------------------------------------------------------------------------------------

void KvWalk::Run(const std::vector<KvStep>& steps) {
  for (const KvStep& step : steps) {
    ++step_;
    if (mock_ != nullptr && step.fail_call > 0) {
      mock_->FailNth(static_cast<VmCall>(step.fail_call - 1), 1 + step.fail_after);
      may_fail_ = true;
    }
    if (world_.threads && reader_ == nullptr) {
      reader_ = std::make_unique<Reader>(*this, running_);
    }
    Step(step);
    Check();
  }
}

void KvWalk::Step(const KvStep& step) {
  if (cache_->asleep() && (step.op == KvOp::kAdmit || step.op == KvOp::kWake)) {
    Wake();
    return;
  }
  Spans(step);
  States(step);
  Sizes(step);
}

void KvWalk::Spans(const KvStep& step) {
  if (step.op == KvOp::kAdmit) {
    Admit(RandomText(step.draw), step.draw[1] % 5 == 0);
  }
  if (running_.empty()) {
    return;
  }
  const size_t at = step.draw[0] % running_.size();
  Running& one = running_[at];
  switch (step.op) {
    case KvOp::kGrow: Grow(one, step.draw); break;
    case KvOp::kPublish: Publish(one); break;
    case KvOp::kFork: Fork(one); break;
    case KvOp::kFree: Free(at); break;
    case KvOp::kMove: {
      Span elsewhere = std::move(one.span);
      one.span = std::move(elsewhere);
      Did(KvOp::kMove);
      break;
    }
    case KvOp::kMapAhead: {
      const uint64_t before = cache_->Stats().ahead_calls;
      cache_->MapAhead(one.span, one.span.capacity_positions() + static_cast<int64_t>(step.draw[1] % (3 * kT)));
      done_[static_cast<size_t>(KvOp::kMapAhead)] += cache_->Stats().ahead_calls == before ? 1 : 0;
      break;
    }
    default: break;
  }
}

void KvWalk::States(const KvStep& step) {
  switch (step.op) {
    case KvOp::kPin:
      if (!running_.empty() && pinned_.size() < kMaxPinned) {
        const Running& one = running_[step.draw[0] % running_.size()];
        pinned_.push_back({one.text, cache_->PinSealed(one.span)});
        CHECK(pinned_.back().pin.pages() == one.span.sealed_pages());
        Did(KvOp::kPin);
      }
      break;
    case KvOp::kUnpin:
      if (!pinned_.empty()) {
        pinned_.erase(pinned_.begin() + static_cast<int64_t>(step.draw[0] % pinned_.size()));
        Did(KvOp::kUnpin);
      }
      break;
    case KvOp::kRestore: BeginRestore(RandomText(step.draw), step.draw[1]); break;
    case KvOp::kLoad: BeginLoad(RandomText(step.draw), step.draw[2]); break;
    case KvOp::kTakeOver: TakeOver(step.draw); break;
    case KvOp::kPoll:
      cache_->Poll();
      Did(KvOp::kPoll);
      break;
    case KvOp::kTierTrouble:
      if (tier_ != nullptr) {
        const uint32_t kind = step.draw[0] % 8;
        tier_->set_refuses(kind == 0);
        tier_->set_good_pages(kind == 1 ? step.draw[1] % 3 : FakeTier::kAll);
        tier_->set_read_rate(kind == 2 ? 1 : 0);
        cache_->SetComputeRate(kind == 2 ? 1e9 : 0);
        tier_->set_busy_until_flush(kind == 3);
        kind == 4 ? tier_->ForgetAll() : tier_->ForgetOldest();
        Did(KvOp::kTierTrouble);
      }
      break;
    default: break;
  }
}

void KvWalk::Sizes(const KvStep& step) {
  const auto done = [&](const Result<void>& result) { result.ok() ? Did(step.op) : Refused(false, result.error()); };
  switch (step.op) {
    case KvOp::kTrim:
      done(cache_->Trim());
      CHECK(may_fail_ || (cache_->Stats().parked_pages == 0 &&
                          cache_->Stats().free_pages() == limit_ - cache_->Stats().created_pages));
      break;
    case KvOp::kDropPrefixes:
      done(cache_->DropPrefixes());
      CHECK(may_fail_ || cache_->Stats().cached_pages == 0);
      break;
    case KvOp::kResize: Resize(step.draw[0]); break;
    case KvOp::kSave:
      cache_->Save();
      Did(KvOp::kSave);
      break;
    case KvOp::kSleep: Sleep(step.draw[0]); break;
    default: break;
  }
}

void KvWalk::Refused(bool expected, const Error& error) {
  CHECK_MSG(expected || may_fail_, "step {}: {}", step_, error.message);
  expected ? ++refusals_ : ++failures_;
}

// ---- Spans -----------------------------------------------------------------------------------------

void KvWalk::Fill(const Running& one, size_t first) {
  for (size_t at = first; at < one.text.tokens.size();) {
    const size_t end = std::min((at / kT + 1) * kT, one.text.tokens.size());
    WritePage(one.span.page(static_cast<int64_t>(at / kT)), one.text, at, end);
    at = end;
  }
}

// How many pages in front of a text are sealed and in use: those are known to whoever looks.
int64_t KvWalk::SurelyKnown(const Text& text, size_t max_pages) const {
  std::set<uint64_t> known;  // lineage of pages' last rows
  const auto add = [&](const Text& other, int64_t pages) {
    for (int64_t page = 0; other.tenant == text.tenant && page < pages; ++page) {
      known.insert(other.lineage[(static_cast<size_t>(page) + 1) * kT - 1]);
    }
  };
  for (const Running& one : running_) {
    add(one.text, one.span.sealed_pages());
  }
  for (const Pinned& one : pinned_) {
    add(one.text, one.pin.pages());
  }
  size_t pages = 0;
  while (pages < std::min(max_pages, text.keys.size()) && known.contains(text.lineage[(pages + 1) * kT - 1])) {
    ++pages;
  }
  return static_cast<int64_t>(pages);
}

// CanReserve tells the truth, both ways; floors and quotas hold; no more is evicted than is needed.
bool KvWalk::ReserveAsModelled(Span& span, const Text& text) {
  const auto positions = std::ssize(text.tokens);
  const int64_t had = span.capacity_positions() / kTestTokensPerPage;
  const int64_t more = std::max<int64_t>(0, kGeometry.PagesFor(positions) - had);
  const bool can = cache_->CanReserve(more, text.tenant);
  const std::vector<PageCounts> before = TenantCounts();
  const KvCacheStats stats = cache_->Stats();
  const int64_t over_quota =
      std::max<int64_t>(0, before[text.tenant].charged() + more - cache_->tenants()[text.tenant].quota_pages);
  const auto reserved = cache_->Reserve(span, positions);
  if (!may_fail_ && !given_up_) {
    const int64_t to_go = can ? std::max(over_quota, more - stats.free_pages() - stats.parked_pages) : 0;
    CHECK_MSG(stats.cached_pages - cache_->Stats().cached_pages == std::max<int64_t>(0, to_go),
              "step {}: {} cached pages went, {} had to", step_, stats.cached_pages - cache_->Stats().cached_pages,
              to_go);
  }
  CheckFloors(before, text.tenant);
  CHECK_MSG(!reserved.ok() || more == 0 || can || given_up_, "step {}: reserved {} pages that CanReserve denied", step_,
            more);
  if (!reserved.ok()) {
    CHECK(span.capacity_positions() == had * kTestTokensPerPage);
    Refused(!can, reserved.error());
  }
  return reserved.ok();
}

void KvWalk::Admit(Text text, bool share_all) {
  FindKeys(text);
  const auto size = std::ssize(text.tokens);
  const size_t most = share_all ? text.keys.size() : (text.tokens.size() - 1) / kT;
  auto span = cache_->CreateSpan(size, QueryOf(text, most));
  if (!span.ok()) {
    Refused(running_.size() == kSpans, span.error());
    return;
  }
  Running one{std::move(text), std::move(span).value()};
  CHECK(one.span.capacity_positions() == one.span.sealed_pages() * kTestTokensPerPage);
  CHECK(one.span.sealed_pages() >= SurelyKnown(one.text, most));
  if (ReserveAsModelled(one.span, one.text)) {
    Fill(one, static_cast<size_t>(one.span.sealed_pages()) * kT);
    running_.push_back(std::move(one));
    Did(KvOp::kAdmit);
  }
}

void KvWalk::Grow(Running& one, const std::array<uint32_t, 3>& draw) {
  Text longer = one.text;
  const size_t room = static_cast<size_t>(kPagesPerSpan) * kT - longer.tokens.size();
  Extend(longer, static_cast<Token>(20 + draw[2] % 2), std::min<size_t>(room, draw[1] % (2 * kT)));
  if (ReserveAsModelled(one.span, longer)) {
    const size_t had = one.text.tokens.size();
    one.text = std::move(longer);
    FindKeys(one.text);
    Fill(one, had);
    Did(KvOp::kGrow);
  }
}

// What is sealed of the parent is found again; of the rest, the full pages would be computed, the last is copied. Here
// all of them are copied.
void KvWalk::Fork(const Running& parent) {
  const auto sealed = static_cast<size_t>(parent.span.sealed_pages());
  auto span = cache_->CreateSpan(std::ssize(parent.text.tokens), QueryOf(parent.text, sealed));
  if (!span.ok()) {
    Refused(running_.size() == kSpans, span.error());
    return;
  }
  Running child{parent.text, std::move(span).value()};
  CHECK_MSG(child.span.sealed_pages() == static_cast<int64_t>(sealed), "step {}: a sealed page in use is not known",
            step_);
  if (!ReserveAsModelled(child.span, child.text)) {
    return;
  }
  for (size_t page = sealed; page * kT < child.text.tokens.size(); ++page) {
    if (const auto copied = cache_->CopyPage(parent.span, child.span, static_cast<int64_t>(page)); !copied.ok()) {
      Refused(false, copied.error());
      return;
    }
  }
  running_.push_back(std::move(child));
  Did(KvOp::kFork);
}

void KvWalk::Publish(Running& one) {
  reader_.reset();  // between two steps
  const int64_t before = one.span.sealed_pages();
  cache_->Publish(one.span, one.text.keys, one.text.tokens);
  const int64_t after = one.span.sealed_pages();
  CHECK(after >= before && after <= std::ssize(one.text.keys));
  CHECK(may_fail_ || after == std::ssize(one.text.keys));
  done_[static_cast<size_t>(KvOp::kPublish)] += after > before ? 1 : 0;
}

void KvWalk::Free(size_t at) {
  reader_.reset();
  std::swap(running_[at], running_.back());
  running_.pop_back();
  Did(KvOp::kFree);
}

// ---- Tiers and states ------------------------------------------------------------------------------

void KvWalk::BeginRestore(const Text& drawn, uint32_t draw) {
  if (coming_.size() >= kMaxComing) {
    return;
  }
  Text text = draw % 2 == 0 || running_.empty() ? drawn : running_[draw / 2 % running_.size()].text;
  FindKeys(text);
  const std::vector<PageCounts> before = TenantCounts();
  if (auto restoring = cache_->Restore(QueryOf(text, text.keys.size()))) {
    CHECK(!cache_->asleep());
    coming_.push_back({std::move(text), std::move(*restoring)});
    CheckFloors(before, coming_.back().text.tenant);
    Did(KvOp::kRestore);
  }
}

void KvWalk::BeginLoad(Text text, uint32_t draw) {
  FindKeys(text);
  if (coming_.size() >= kMaxComing || text.keys.empty()) {
    return;
  }
  std::vector<std::vector<std::byte>> pages(text.keys.size());
  for (size_t i = 0; i < pages.size(); ++i) {
    pages[i].resize(static_cast<size_t>(options_.geometry.page_bytes));
    WritePage(pages[i].data(), text, i * kT, (i + 1) * kT);
  }
  const int64_t good = draw % 4 == 0 ? draw / 4 % std::ssize(pages) : FakeTier::kAll;
  const bool can = !cache_->asleep() && cache_->CanReserve(std::ssize(pages), text.tenant);
  auto loading = cache_->Load(QueryOf(text, text.keys.size()), std::make_unique<FakeSource>(std::move(pages), good));
  CHECK(can || given_up_ || !loading.ok());
  if (!loading.ok()) {
    Refused(!can, loading.error());
    return;
  }
  coming_.push_back({std::move(text), std::move(loading).value()});
  Did(KvOp::kLoad);
}

void KvWalk::TakeOver(const std::array<uint32_t, 3>& draw) {
  if (coming_.empty()) {
    return;
  }
  const auto at = coming_.begin() + static_cast<int64_t>(draw[0] % coming_.size());
  if (draw[1] % 3 > 0 && !at->restoring.done()) {
    return;  // later
  }
  if (at->restoring.done() && pinned_.size() < kMaxPinned) {
    const int64_t pages = at->restoring.pages();
    pinned_.push_back({at->text, at->restoring.TakePin()});
    CHECK(pinned_.back().pin.pages() == pages);
    Did(KvOp::kTakeOver);
  }
  given_up_ = given_up_ || !at->restoring.done();
  coming_.erase(at);
}

// ---- Sizes -----------------------------------------------------------------------------------------

void KvWalk::Resize(uint32_t draw) {
  const int64_t pages = draw % 2 == 0 ? kPages : 1 + static_cast<int64_t>(draw / 2 % kPages);
  const KvCacheStats stats = cache_->Stats();
  const int64_t held = stats.live_pages + stats.pinned_pages + stats.moving_pages;
  const auto resized = cache_->Resize(pages);
  if (resized.ok()) {
    CHECK(pages >= held);
    limit_ = pages;
    Did(KvOp::kResize);
  } else {
    Refused(pages < held, resized.error());
  }
}

void KvWalk::Sleep(uint32_t draw) {
  if (cache_->asleep()) {
    return;
  }
  if (draw % 4 > 0) {
    reader_.reset();
    running_.clear();
    pinned_.clear();
    given_up_ = given_up_ || !coming_.empty();
    coming_.clear();
  }
  const auto slept = cache_->Sleep();
  const bool kept = !running_.empty() ||
                    std::ranges::any_of(pinned_, [](const Pinned& one) { return one.pin.pages() > 0; }) ||
                    std::ranges::any_of(coming_, [](const Coming& one) { return one.restoring.pages() > 0; });
  if (slept.ok()) {
    CHECK_MSG(!kept, "step {}: asleep although something is kept", step_);
    CHECK(cache_->Stats().created_pages == 0 && cache_->backend().PhysicalBytes() == 0);
    Did(KvOp::kSleep);
  } else {
    Refused(kept, slept.error());
  }
}

void KvWalk::Wake() {
  const auto woken = cache_->Wake();
  CHECK(cache_->asleep() == !woken.ok());
  woken.ok() ? Did(KvOp::kWake) : Refused(false, woken.error());
}

// ---- The end ---------------------------------------------------------------------------------------

void KvWalk::Finish() {
  reader_.reset();
  running_.clear();
  pinned_.clear();
  coming_.clear();
  for (size_t i = 0; mock_ != nullptr && i < kVmCalls; ++i) {
    mock_->FailNth(static_cast<VmCall>(i), 0);
  }
  if (cache_->asleep()) {
    CHECK(cache_->Wake().ok());
  }
  CHECK(cache_->Sleep().ok());  // waits for what is on its way
  const KvCacheStats stats = cache_->Stats();
  CHECK(stats.free_pages() == limit_ && stats.created_pages == 0 && stats.making_pages == 0);
  CHECK(stats.mappings == 0 && cache_->backend().PhysicalBytes() == 0);
  if (mock_ != nullptr) {
    CHECK(mock_->mappings().empty() && mock_->created().empty());
  }
  cache_->CheckInvariants();
}

}  // namespace causeway::memory
