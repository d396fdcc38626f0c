// A KvCache driven by a list of operations beside a naive model of it. What differs is a failed CHECK: kv_shrink.h runs
// walks in processes of their own and finds a shorter list that fails.
//
// Every row of every layer holds a function of its sequence's tenant and tokens up to its position (its lineage), of
// the layer and of whether it is K or V, so that a page seen by the wrong sequence, a stale or a lost one shows.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "memory/kv_cache.h"
#include "memory/vm/cuda_driver.h"
#include "memory/vm/mock_backend.h"
#include "tests/support/fake_tier.h"

namespace causeway::memory {

enum class KvOp : uint8_t {
  kAdmit,    // a span with the known prefix of some text, reserved and written
  kGrow,     // appends tokens
  kPublish,  // seals the full pages
  kFork,     // another sequence with the same text: shares what is sealed, copies the page in which it ends
  kFree,
  kMove,  // of a handle
  kPin,
  kUnpin,
  kRestore,
  kLoad,
  kTakeOver,  // a restore that is done becomes a pin, or one that may not be is given up
  kMapAhead,
  kPoll,
  kTierTrouble,
  kTrim,
  kDropPrefixes,
  kResize,
  kSave,
  kSleep,
  kWake,
};
inline constexpr size_t kKvOps = 20;

// All that is random about an operation; what it applies to is found modulo what there is. So any part of a list is a
// list.
struct KvStep {
  KvOp op = KvOp::kPoll;
  std::array<uint32_t, 3> draw{};
  uint8_t fail_call = 0;  // 1 + VmCall whose next call but fail_after fails; 0: none
  uint8_t fail_after = 0;
};

struct KvWorld {
  // One of TestBackends(), or device: this machine's CUDA device, which must be there; what is sealed is protected
  // where the seed says so.
  std::string backend = "mock";
  uint64_t seed = 1;     // of the cache's shape: tenants, limits, tier
  bool threads = false;  // real threads, and one that reads live pages meanwhile
  PrefixSpelling spelling = PrefixSpelling::kAlias;
  bool plain = false;            // no limits of any kind, a persistent tier
  std::optional<VmCall> call{};  // mock: fails at its nth call
  int nth = 0;
};

class KvWalk {
 public:
  explicit KvWalk(const KvWorld& world);
  ~KvWalk();
  KvWalk(const KvWalk&) = delete;
  KvWalk& operator=(const KvWalk&) = delete;

  // `faults`: some steps make a call of the backend fail.
  static std::vector<KvStep> RandomSteps(uint64_t seed, int64_t count, bool faults);

  void Run(const std::vector<KvStep>& steps);
  // Ends everything; nothing may be left anywhere.
  void Finish();

  // How often an operation did what it is there for.
  int64_t done(KvOp op) const { return done_[static_cast<size_t>(op)]; }
  // How often two spans were seen to begin in one trunk.
  int64_t shared_trunks() const { return shared_trunks_; }
  // How often something was refused that the model would have refused, and that it would not have.
  int64_t refusals() const { return refusals_; }
  int64_t failures() const { return failures_; }
  const KvCache& cache() const { return *cache_; }
  MockBackend* mock() { return mock_; }

 private:
  // All that a sequence is to its user.
  struct Text {
    TenantId tenant = kDefaultTenant;
    std::vector<Token> tokens;
    std::vector<uint64_t> lineage;  // [tokens]
    std::vector<Digest> keys;       // of its full pages
  };
  struct Running {
    Text text;
    Span span;
  };
  struct Pinned {
    Text text;
    PrefixPin pin;
  };
  struct Coming {
    Text text;
    Restoring restoring;
  };
  class Reader;

  void Step(const KvStep& step);
  void Spans(const KvStep& step);
  void States(const KvStep& step);
  void Sizes(const KvStep& step);

  Text RandomText(const std::array<uint32_t, 3>& draw) const;
  void Extend(Text& text, Token token, size_t count) const;
  void FindKeys(Text& text);
  PrefixQuery QueryOf(const Text& text, size_t max_pages) const;
  void Admit(Text text, bool share_all);
  void Grow(Running& one, const std::array<uint32_t, 3>& draw);
  void Fork(const Running& parent);
  void Fill(const Running& one, size_t first);
  int64_t SurelyKnown(const Text& text, size_t max_pages) const;
  bool ReserveAsModelled(Span& span, const Text& text);
  void Publish(Running& one);
  void Free(size_t at);
  void BeginRestore(const Text& text, uint32_t draw);
  void BeginLoad(Text text, uint32_t draw);
  void TakeOver(const std::array<uint32_t, 3>& draw);
  void Resize(uint32_t draw);
  void Sleep(uint32_t draw);
  void Wake();

  std::unique_ptr<VmBackend> MakeBackend();
  void CopyRows(void* to, const void* from) const;
  void WritePage(std::byte* page, const Text& text, size_t first, size_t last) const;
  void CheckPage(const std::byte* page, const Text& text, size_t place) const;
  void Check();
  void CheckContents();
  void CheckLedger();
  void CheckMappings();
  void CheckFloors(const std::vector<PageCounts>& before, TenantId taker) const;
  std::vector<PageCounts> TenantCounts() const;
  void Did(KvOp op) { ++done_[static_cast<size_t>(op)]; }
  // Whether a refusal that the model would not have made is a failure of the machine's.
  void Refused(bool expected, const Error& error);

  const KvWorld world_;
  KvCacheOptions options_;
  std::unique_ptr<KvCache> cache_;
  MockBackend* mock_ = nullptr;
  CudaDriver* device_ = nullptr;
  FakeTier* tier_ = nullptr;
  std::vector<Digest> roots_;  // by tenant
  int64_t limit_ = 0;          // pages
  bool may_fail_ = false;      // calls fail, or mappings are few
  bool given_up_ = false;      // a restore that nobody waits for may be on its way: whoever lacks pages waits for it
  std::vector<Running> running_;
  std::vector<Pinned> pinned_;
  std::vector<Coming> coming_;
  std::unique_ptr<Reader> reader_;
  std::array<int64_t, kKvOps> done_{};
  int64_t shared_trunks_ = 0;
  int64_t refusals_ = 0;
  int64_t failures_ = 0;
  int64_t step_ = 0;
};

}  // namespace causeway::memory
