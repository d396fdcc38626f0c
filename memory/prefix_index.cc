#include "memory/prefix_index.h"

#include <algorithm>

#include "base/check.h"

namespace causeway::memory {
namespace {

constexpr size_t kMaxUnsaved = size_t{1} << 16;

}  // namespace

// ---- Hold ------------------------------------------------------------------------------------------

PrefixIndex::Hold& PrefixIndex::Hold::operator=(Hold&& other) noexcept {
  if (this != &other) {
    Reset();
    index_ = std::exchange(other.index_, nullptr);
    entry_ = std::exchange(other.entry_, nullptr);
  }
  return *this;
}

PrefixIndex::Hold PrefixIndex::Hold::Share() const {
  if (entry_ != nullptr) {
    index_->Take(*entry_);
  }
  return {index_, entry_};
}

int64_t PrefixIndex::Hold::pages() const { return entry_ == nullptr ? 0 : entry_->place + 1; }

const PageRef& PrefixIndex::Hold::page() const {
  CHECK(entry_ != nullptr);
  return entry_->page;
}

void PrefixIndex::Hold::Reset() {
  if (Entry* const entry = std::exchange(entry_, nullptr)) {
    index_->Drop(*entry);
  }
}

void PrefixIndex::Take(Entry& entry) {
  if (entry.holds++ == 0 && entry.children == 0) {
    orders_[entry.tenant].erase(entry.last_use);
  }
}

void PrefixIndex::Drop(Entry& entry) {
  CHECK(entry.holds > 0);
  --entry.holds;
  entry.last_use = ++clock_;
  OrderIfFree(entry);
  if (with_tiers_) {
    OfferChain(entry);
  }
}

// From the entry that it holds to a child, which is held already. The sequence goes on: what it has gone through is
// offered with its last page, unless that one would not lead there.
void PrefixIndex::MoveOn(Hold& hold, Entry& child) {
  if (Entry* const parent = std::exchange(hold.entry_, &child); parent != nullptr) {
    CHECK(parent->holds > 0);
    --parent->holds;
    parent->last_use = ++clock_;
    if (with_tiers_ && child.offered) {
      OfferChain(*parent);
    }
  }
  hold.index_ = this;
}

void PrefixIndex::OfferChain(Entry& last) {
  const auto first = static_cast<int64_t>(unsaved_.size());
  for (Entry* one = &last; one != nullptr && one->holds == 0 && !one->offered; one = one->parent) {
    one->offered = true;
    unsaved_.push_back(one->key);
  }
  std::reverse(unsaved_.begin() + first, unsaved_.end());
  while (unsaved_.size() > kMaxUnsaved) {
    unsaved_.pop_front();  // is offered when it is evicted, if it still is there
  }
}

void PrefixIndex::OrderIfFree(Entry& entry) {
  if (entry.holds == 0 && entry.children == 0) {
    CHECK(orders_[entry.tenant].emplace(entry.last_use, &entry).second);
  }
}

// ---- Keys ------------------------------------------------------------------------------------------

PrefixIndex::PrefixIndex(int64_t tokens_per_page, const Digest& key, size_t tenants, bool with_tiers)
    : tokens_per_page_(tokens_per_page),
      with_tiers_(with_tiers),
      root_hash_(key, "causeway.root"),
      page_hash_(key, "causeway.page"),
      orders_(tenants) {
  CHECK(tokens_per_page > 0 && tenants > 0);
}

PrefixIndex::~PrefixIndex() {
  for (const auto& [key, entry] : entries_) {
    CHECK_MSG(entry.holds == 0, "a hold outlives its index");
  }
}

Digest PrefixIndex::Root(std::string_view scope) { return root_hash_.Hash({std::as_bytes(std::span(scope))}); }

void PrefixIndex::AppendKeys(const Digest& root, std::span<const Token> tokens, std::vector<Digest>& keys) {
  const auto page = static_cast<size_t>(tokens_per_page_);
  for (size_t at = keys.size() * page; at + page <= tokens.size(); at += page) {
    const Digest& parent = keys.empty() ? root : keys.back();
    keys.push_back(page_hash_.Hash({parent, std::as_bytes(tokens.subspan(at, page))}));
  }
}

// ---- Finding and adding ----------------------------------------------------------------------------

bool PrefixIndex::Matches(const Entry& entry, const Entry* parent, std::span<const Token> tokens,
                          TenantId tenant) const {
  return entry.parent == parent && entry.tenant == tenant &&
         std::equal(tokens.begin(), tokens.end(), entry.tokens.begin(), entry.tokens.end());
}

PrefixIndex::Hold PrefixIndex::Find(std::span<const Digest> keys, std::span<const Token> tokens, int64_t max_pages,
                                    std::vector<PageRef>& pages, TenantId tenant) {
  const auto page = static_cast<size_t>(tokens_per_page_);
  Entry* last = nullptr;
  for (size_t i = 0; i < keys.size() && static_cast<int64_t>(i) < max_pages; ++i) {
    const auto it = entries_.find(keys[i]);
    if (it == entries_.end() || !Matches(it->second, last, tokens.subspan(i * page, page), tenant)) {
      break;
    }
    last = &it->second;
    pages.push_back(last->page.Share());
  }
  if (last == nullptr) {
    return {};
  }
  Take(*last);
  return {this, last};
}

PrefixIndex::Inserted PrefixIndex::Insert(Hold& hold, const Digest& key, std::span<const Token> tokens,
                                          const PageRef& page, TenantId tenant, bool from_tier) {
  CHECK(static_cast<int64_t>(tokens.size()) == tokens_per_page_);
  CHECK(hold.index_ == nullptr || hold.index_ == this);
  Entry* const parent = hold.entry_;
  const auto [it, added] = entries_.try_emplace(key);
  Entry& entry = it->second;
  if (added) {
    entry.key = key;
    entry.parent = parent;
    entry.place = hold.pages();
    entry.tokens.assign(tokens.begin(), tokens.end());
    entry.page = page.Share();
    entry.holds = 1;
    entry.tenant = tenant;
    entry.offered = from_tier;
    if (parent != nullptr) {
      ++parent->children;  // held, so it is not in the order
    }
  } else if (Matches(entry, parent, tokens, tenant)) {
    Take(entry);
  } else {
    return Inserted::kRefused;
  }
  MoveOn(hold, entry);
  return added ? Inserted::kAdded : Inserted::kKnown;
}

const PageRef* PrefixIndex::Known(const Hold& hold, const Digest& key, std::span<const Token> tokens,
                                  TenantId tenant) const {
  const auto it = entries_.find(key);
  return it != entries_.end() && Matches(it->second, hold.entry_, tokens, tenant) ? &it->second.page : nullptr;
}

// ---- Giving up and saving --------------------------------------------------------------------------

PrefixIndex::View PrefixIndex::ViewOf(const Entry& entry) {
  return {.page = entry.page.page(),
          .place = entry.place,
          .tenant = entry.tenant,
          .key = entry.key,
          .parent = entry.parent != nullptr ? entry.parent->key : Digest{},
          .tokens = entry.tokens};
}

std::optional<PrefixIndex::View> PrefixIndex::NextToGo(const std::function<bool(TenantId)>& may_lose) const {
  const Entry* oldest = nullptr;
  for (size_t tenant = 0; tenant < orders_.size(); ++tenant) {
    const auto& order = orders_[tenant];
    if (!order.empty() && (oldest == nullptr || order.begin()->first < oldest->last_use) &&
        may_lose(static_cast<TenantId>(tenant))) {
      oldest = order.begin()->second;
    }
  }
  return oldest == nullptr ? std::nullopt : std::optional(ViewOf(*oldest));
}

PageRef PrefixIndex::Evict(const Digest& key) {
  const auto it = entries_.find(key);
  CHECK(it != entries_.end());
  Entry& entry = it->second;
  CHECK(entry.holds == 0 && entry.children == 0 && orders_[entry.tenant].erase(entry.last_use) == 1);
  PageRef page = std::move(entry.page);
  if (Entry* const parent = entry.parent) {
    --parent->children;
    parent->last_use = std::max(parent->last_use, entry.last_use);
    OrderIfFree(*parent);
  }
  entries_.erase(it);
  return page;
}

std::optional<PrefixIndex::View> PrefixIndex::NextUnsaved() {
  while (!unsaved_.empty()) {
    const auto it = entries_.find(unsaved_.front());
    unsaved_.pop_front();
    if (it != entries_.end()) {
      return ViewOf(it->second);
    }
  }
  return std::nullopt;
}

std::vector<PrefixIndex::View> PrefixIndex::All() const {
  std::vector<View> all;
  all.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) {
    all.push_back(ViewOf(entry));
  }
  std::ranges::sort(all, {}, &View::place);
  return all;
}

void PrefixIndex::CheckInvariants() const {
  std::unordered_map<const Entry*, int64_t> children;
  for (const auto& [key, entry] : entries_) {
    CHECK(entry.key == key && static_cast<int64_t>(entry.tokens.size()) == tokens_per_page_);
    CHECK(entry.place == (entry.parent == nullptr ? 0 : entry.parent->place + 1));
    if (entry.parent != nullptr) {
      CHECK(entries_.contains(entry.parent->key) && entry.parent->tenant == entry.tenant);
      ++children[entry.parent];
    }
  }
  size_t free = 0;
  for (const auto& [key, entry] : entries_) {
    const auto counted = children.find(&entry);
    CHECK(entry.children == (counted == children.end() ? 0 : counted->second));
    if (entry.holds == 0 && entry.children == 0) {
      const auto& order = orders_[entry.tenant];
      const auto ordered = order.find(entry.last_use);
      CHECK(ordered != order.end() && ordered->second == &entry);
      ++free;
    }
  }
  size_t ordered = 0;
  for (const auto& order : orders_) {
    ordered += order.size();
  }
  CHECK(free == ordered);
}

}  // namespace causeway::memory
