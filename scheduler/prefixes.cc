// The part of Scheduler that begins sequences behind pages that are known: computed by others, or back from a tier.
#include <algorithm>
#include <limits>

#include "fmt/format.h"
#include "memory/kv_cache.h"
#include "scheduler/scheduler.h"

namespace causeway::scheduler {
namespace {

constexpr int64_t kMostRestoring = 4;    // sequences that wait for a tier at once
constexpr int64_t kMapAheadTokens = 16;  // decode steps in which the control thread can map a page

}  // namespace

std::string PrefixScope(const memory::KvCache& kv, const KvScope& scope) {
  const std::string& name = kv.tenants()[scope.tenant].name;
  std::string text;
  if (scope.adapter != Digest{}) {  // without one, as before there were any: what tiers keep is found again
    const auto* const bytes = reinterpret_cast<const char*>(scope.adapter.data());
    text.append("@").append(bytes, scope.adapter.size());
  }
  return text + fmt::format("{}{}:{}{}", scope.switched ? '+' : '-', name.size(), name, scope.cache_salt);
}

// The running sequence that computes, or has computed, the prompt that this one has too; null if there is none.
const Sequence* Scheduler::FirstSibling(const Sequence& sequence) const {
  if (!options_.prefix_caching || sequence.index == 0) {
    return nullptr;
  }
  const auto first = sequences_.find(sequence.request->first_id);
  return first != sequences_.end() && IsRunning(first->second) ? &first->second : nullptr;
}

// A prompt is computed once: the others of its n sequences take its pages when they are there.
bool Scheduler::WaitsForSibling(const Sequence& sequence) const {
  const Sequence* const first = FirstSibling(sequence);
  return first != nullptr && !IsDecoding(*first);
}

// The page in which the prompt ends is not shared, but copied. The prompt's last token has to run all the same.
void Scheduler::TakePartialPage(const Sequence& sequence, Running& state) {
  const int64_t page_tokens = kv_.geometry().tokens_per_page;
  const int64_t last = sequence.request->prompt_size() - 1;
  const Sequence* const first = FirstSibling(sequence);
  if (first == nullptr || WantsPromptScores(sequence) || state.computed >= last || RunningOf(*first).computed < last ||
      state.computed / page_tokens != last / page_tokens) {
    return;
  }
  if (kv_.CopyPage(RunningOf(*first).span, state.span, last / page_tokens).ok()) {
    state.computed = last;
  }
}

// What may be found of the sequence's tokens: whole pages, and never all tokens, since the last one has to run for
// its logits. Prompt tokens that are to be scored have to run too.
memory::PrefixQuery Scheduler::KnownPrefix(Sequence& sequence) {
  const memory::TenantId tenant = sequence.request->params.tenant;
  if (!options_.prefix_caching || WantsPromptScores(sequence)) {
    return {.keys = {}, .tokens = {}, .max_pages = 0, .tenant = tenant};
  }
  kv_.AppendPrefixKeys(sequence.request->prefix_root, sequence.tokens, sequence.prefix_keys);
  return {sequence.prefix_keys, sequence.tokens, (sequence.size() - 1) / kv_.geometry().tokens_per_page, tenant};
}

void Scheduler::PublishPages(Sequence& sequence) {
  Running& state = RunningOf(sequence);
  const int64_t full = state.computed / kv_.geometry().tokens_per_page;
  if (!options_.prefix_caching || full <= state.span.sealed_pages()) {
    return;
  }
  const auto tokens = std::span(sequence.tokens).first(static_cast<size_t>(full * kv_.geometry().tokens_per_page));
  kv_.AppendPrefixKeys(sequence.request->prefix_root, tokens, sequence.prefix_keys);
  kv_.Publish(state.span, std::span(sequence.prefix_keys).first(static_cast<size_t>(full)), tokens);
}

// Rows that begin with the same pages are told to executors.
void Scheduler::GroupRows() {
  spans_.clear();
  for (const Sequence* const sequence : planned_) {
    spans_.push_back(&RunningOf(*sequence).span);
  }
  share_groups_.Assign(spans_, kv_.geometry().tokens_per_page, plan_.rows);
}

// What a plan says is shared is the same page for each of a group, at the same place.
void Scheduler::CheckGroups() const {
  for (const PlanRow& row : plan_.rows) {
    if (row.share_group < 0) {
      CHECK(row.shared_positions == 0);
      continue;
    }
    const auto leader = static_cast<size_t>(row.share_group);
    const auto mine = static_cast<size_t>(&row - plan_.rows.data());
    CHECK(leader <= mine && plan_.rows[leader].share_group == row.share_group);
    CHECK(row.shared_positions > 0 && row.shared_positions == plan_.rows[leader].shared_positions);
    CHECK(row.shared_positions <= row.first_position);
    for (int64_t page = 0; page * kv_.geometry().tokens_per_page < row.shared_positions; ++page) {
      CHECK(RunningOf(*planned_[mine]).span.sealed_page(page) == RunningOf(*planned_[leader]).span.sealed_page(page));
    }
  }
}

// Of a sequence that starts for the first time.
void Scheduler::CountPrefix(const Sequence& sequence, const memory::PrefixQuery& query, int64_t computed) {
  prefix_query_tokens_ += static_cast<uint64_t>(sequence.size());
  prefix_hit_tokens_ += static_cast<uint64_t>(computed);
  if (!options_.prefix_caching) {
    return;
  }
  const auto lose = [this](PrefixLoss loss, int64_t tokens) {
    prefix_lost_tokens_[static_cast<size_t>(loss)] += static_cast<uint64_t>(tokens);
  };
  if (WantsPromptScores(sequence)) {
    lose(PrefixLoss::kScored, sequence.size());
    return;
  }
  const int64_t page_tokens = kv_.geometry().tokens_per_page;
  const int64_t found = computed / page_tokens;
  const int64_t missed = std::max<int64_t>(0, query.max_pages - found);
  const bool evicted = kv_.LossAt(query, found) == memory::KvCache::Loss::kEvicted;
  lose(evicted ? PrefixLoss::kEvicted : PrefixLoss::kNever, missed * page_tokens);
  lose(PrefixLoss::kPartial, sequence.size() - computed - missed * page_tokens);
}

// ---- Tiers -----------------------------------------------------------------------------------------

// Whether the sequence can start now, or has first to wait for pages that a tier has of it.
Scheduler::Readiness Scheduler::AskTier(Sequence& sequence) {
  Waiting& state = WaitingOf(sequence);
  if (state.restoring) {
    return state.restoring->done() ? Readiness::kReady : Readiness::kRestoring;
  }
  if (state.asked || !options_.prefix_caching || kv_.tier() == nullptr) {
    return Readiness::kReady;
  }
  const int64_t pages = kv_.geometry().PagesFor(sequence.size()) + GrowingSequences();
  const bool room = kv_.CanReserve(pages, sequence.request->params.tenant);
  if (!room && running_.empty()) {
    return Readiness::kReady;  // nobody will make room: it starts with what is here
  }
  const auto in_flight = std::count_if(restoring_.begin(), restoring_.end(),
                                       [](Sequence* const one) { return !WaitingOf(*one).restoring->done(); });
  if (!room || in_flight >= kMostRestoring) {
    return Readiness::kBlocked;  // those end by themselves
  }
  state.asked = true;
  state.restoring = kv_.Restore(KnownPrefix(sequence));
  if (!state.restoring) {
    return Readiness::kReady;
  }
  restoring_.push_back(&sequence);
  return Readiness::kRestoring;
}

// Gives up the claims of sequences that wait for a tier, `but` one. They compute what does not stay cached. True: there
// were some.
bool Scheduler::DropRestores(const Sequence* but) {
  const auto dropped = std::erase_if(restoring_, [but](Sequence* sequence) {
    if (sequence == but) {
      return false;
    }
    WaitingOf(*sequence).restoring.reset();
    return true;
  });
  return dropped > 0;
}

// ---- States ----------------------------------------------------------------------------------------

int64_t Scheduler::MostPinned(int64_t budget) const {
  int64_t floors = 0;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const memory::TenantLimits& tenant : kv_.tenants()) {
    floors += tenant.floor_pages;
    least = std::min(least, tenant.floor_pages);
  }
  const int64_t room = budget - (floors - least);  // of the tenant with the least
  return std::max<int64_t>(0, room - kv_.geometry().PagesFor(options_.max_model_len));
}

int64_t Scheduler::most_pinned() const { return MostPinned(kv_.Stats().budget_pages); }

// Whether the tenant may have `more` pages pinned: beside all pins the longest request of anybody finds room, and
// beside its own all of its requests (`but` the one that ends) do within its quota.
Result<void> Scheduler::CheckPins(memory::TenantId tenant, int64_t more, const Request* but) const {
  if (kv_.PinnedPages() + more > most_pinned()) {
    return MakeError(ErrorCode::kResourceExhausted,
                     fmt::format("states may keep {} KV pages, so that the longest request still fits", most_pinned()));
  }
  for (const auto& [key, request] : requests_) {
    if (request.params.tenant == tenant && &request != but) {
      TRY(CheckQuota(request, more));
    }
  }
  return {};
}

// Whether one sequence of the request fits its tenant's quota beside what the tenant's states keep, and `more`.
Result<void> Scheduler::CheckQuota(const Request& request, int64_t more) const {
  const memory::TenantId tenant = request.params.tenant;
  const int64_t pages = kv_.geometry().PagesFor(request.most_positions());
  const int64_t pinned = kv_.PinnedPages(tenant) + more;
  if (pinned > 0 && pages > kv_.tenants()[tenant].quota_pages - pinned) {
    return MakeError(
        ErrorCode::kResourceExhausted,
        fmt::format("states keep {} of the {} KV pages that the tenant may have, and a request may need {}", pinned,
                    kv_.tenants()[tenant].quota_pages, pages));
  }
  return {};
}

memory::PrefixPin Scheduler::PinOf(const Sequence& sequence, Error& error) {
  if (!options_.prefix_caching) {
    error = MakeError(ErrorCode::kFailedPrecondition, "states need prefix caching, which is off");
    return {};
  }
  memory::PrefixPin pin = kv_.PinSealed(RunningOf(sequence).span);
  if (const auto checked = CheckPins(sequence.request->params.tenant, 0, sequence.request); !checked.ok()) {
    error = checked.error();
    return {};
  }
  return pin;
}

Result<memory::Restoring> Scheduler::BeginLoad(std::span<const Token> tokens, const KvScope& scope,
                                               std::unique_ptr<memory::PageSource> source) {
  if (!options_.prefix_caching) {
    return MakeError(ErrorCode::kFailedPrecondition, "states need prefix caching, which is off");
  }
  const int64_t pages = std::ssize(tokens) / kv_.geometry().tokens_per_page;
  TRY(CheckPins(scope.tenant, pages, nullptr));
  std::vector<Digest> keys;
  kv_.AppendPrefixKeys(kv_.PrefixRoot(PrefixScope(kv_, scope)), tokens, keys);
  return kv_.Load({keys, tokens, pages, scope.tenant}, std::move(source));
}

Result<void> Scheduler::CheckResize(int64_t pages) const {
  if (kv_.PinnedPages() > MostPinned(pages)) {
    return MakeError(
        ErrorCode::kResourceExhausted,
        fmt::format("states keep {} KV pages; {} pages would leave no room beside them", kv_.PinnedPages(), pages));
  }
  for (const auto& [key, request] : requests_) {
    if (kv_.geometry().PagesFor(request.most_positions()) > kv_.RoomOf(request.params.tenant, pages)) {
      return MakeError(
          ErrorCode::kResourceExhausted,
          fmt::format("a request that is being served may need {} tokens of KV cache; {} pages do not hold them",
                      request.most_positions(), pages));
    }
  }
  return {};
}

void Scheduler::PreemptAll() {
  while (!running_.empty()) {
    Preempt(*running_.back());
  }
  DropRestores(nullptr);
}

// A decode that will soon cross into a page that is not there gets it mapped beside the steps.
void Scheduler::MapAhead() {
  for (Sequence* const sequence : planned_) {
    Running& state = RunningOf(*sequence);
    const int64_t soon = std::min(sequence->size() + kMapAheadTokens, sequence->request->most_positions());
    if (soon > state.span.capacity_positions()) {
      kv_.MapAhead(state.span, soon);
    }
  }
}

}  // namespace causeway::scheduler
