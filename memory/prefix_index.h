// Which sealed pages hold the KV of which prefixes.
//
// A page's key is the hash of its parent's key and of its own tokens; the root of a chain stands for all else that
// the bytes depend on (model, layout, adapter, salt). Keys only find a page: every hit also compares the tokens.
//
// Owner: the engine thread. Invariants, checked by CheckInvariants():
//   an entry's parent is in the index, or the entry is the first page of a chain
//   children of an entry = entries that name it as their parent
//   an entry may go  <=>  it has no children and nobody holds it  <=>  it is in its tenant's order of eviction, once
//   an entry's parent is its tenant's too
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/keyed_hash.h"
#include "base/token.h"
#include "memory/page_pool.h"
#include "memory/tenant.h"

namespace causeway::memory {

class PrefixIndex {
  struct Entry;

 public:
  // Keeps an entry, and with it all pages in front of it, from eviction. The index must outlive it.
  class Hold {
   public:
    Hold() = default;
    Hold(Hold&& other) noexcept
        : index_(std::exchange(other.index_, nullptr)), entry_(std::exchange(other.entry_, nullptr)) {}
    Hold& operator=(Hold&& other) noexcept;
    ~Hold() { Reset(); }

    explicit operator bool() const { return entry_ != nullptr; }
    Hold Share() const;           // another hold of the same entry
    int64_t pages() const;        // of the chain up to the entry
    const PageRef& page() const;  // the entry's; the hold must not be empty
    void Reset();

   private:
    friend class PrefixIndex;
    Hold(PrefixIndex* index, Entry* entry) : index_(index), entry_(entry) {}

    PrefixIndex* index_ = nullptr;
    Entry* entry_ = nullptr;
  };

  // `with_tiers`: keeps what NextUnsaved shows.
  PrefixIndex(int64_t tokens_per_page, const Digest& key, size_t tenants = 1, bool with_tiers = false);
  ~PrefixIndex();  // all holds must be gone
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // The root of chains whose bytes depend on `scope` beside their tokens. Two scopes share nothing.
  Digest Root(std::string_view scope);
  // Appends the keys of the full pages of `tokens` behind the keys that are there.
  void AppendKeys(const Digest& root, std::span<const Token> tokens, std::vector<Digest>& keys);

  // Pages of the longest prefix of `tokens` that the tenant has, at most `max_pages` of them; `keys` as AppendKeys
  // makes them. Appends a reference to each to `pages`.
  Hold Find(std::span<const Digest> keys, std::span<const Token> tokens, int64_t max_pages, std::vector<PageRef>& pages,
            TenantId tenant = kDefaultTenant);

  enum class Inserted : uint8_t {
    kAdded,   // the page is in the index, and held
    kKnown,   // another page has this content and is held instead; `page` stays the caller's alone
    kRefused  // other content or another tenant has this key: the hold is as it was, and the chain cannot go on
  };
  // Adds the page behind the one that `hold` holds (an empty hold: the first of a chain) and moves the hold to it.
  // `from_tier`: a tier has a copy of it already.
  Inserted Insert(Hold& hold, const Digest& key, std::span<const Token> tokens, const PageRef& page,
                  TenantId tenant = kDefaultTenant, bool from_tier = false);

  // The page that Insert would find known, or null.
  const PageRef* Known(const Hold& hold, const Digest& key, std::span<const Token> tokens,
                       TenantId tenant = kDefaultTenant) const;

  // What an entry is, for whoever keeps a copy of its page.
  struct View {
    PageId page = 0;
    int64_t place = 0;  // in its chain, and so in every span that maps it
    TenantId tenant = kDefaultTenant;
    Digest key{};
    Digest parent{};  // of a first page: zeros
    std::span<const Token> tokens;
  };

  // The page that was used longest ago among those that may go and whose tenant `may_lose` one; the end of a chain goes
  // before its beginning. Valid until the index changes.
  std::optional<View> NextToGo(const std::function<bool(TenantId)>& may_lose) const;
  // Takes out an entry that may go.
  PageRef Evict(const Digest& key);

  // An entry that nobody holds and that no tier has been offered yet, parents first; each is shown once. Valid until
  // the index changes.
  std::optional<View> NextUnsaved();
  bool HasUnsaved() const { return !unsaved_.empty(); }
  // All entries, parents first. Valid until the index changes.
  std::vector<View> All() const;

  int64_t pages() const { return static_cast<int64_t>(entries_.size()); }
  void CheckInvariants() const;

 private:
  struct Entry {
    Digest key;
    Entry* parent = nullptr;
    int64_t place = 0;
    int64_t children = 0;
    int64_t holds = 0;
    uint64_t last_use = 0;  // of itself or of an evicted child
    TenantId tenant = kDefaultTenant;
    bool offered = false;  // to a tier, or waits in unsaved_ to be
    std::vector<Token> tokens;
    PageRef page;
  };

  bool Matches(const Entry& entry, const Entry* parent, std::span<const Token> tokens, TenantId tenant) const;
  void Take(Entry& entry);  // adds a hold
  void Drop(Entry& entry);
  void OrderIfFree(Entry& entry);
  void MoveOn(Hold& hold, Entry& child);
  void OfferChain(Entry& last);
  static View ViewOf(const Entry& entry);

  const int64_t tokens_per_page_;
  const bool with_tiers_;
  KeyedHash root_hash_;
  KeyedHash page_hash_;
  std::unordered_map<Digest, Entry, DigestHash> entries_;  // nodes do not move
  std::vector<std::map<uint64_t, Entry*>> orders_;         // of eviction, by last use; one a tenant
  std::deque<Digest> unsaved_;                             // some are gone, or held again
  uint64_t clock_ = 0;                                     // counts uses
};

}  // namespace causeway::memory
