#include "memory/page_ledger.h"

#include "base/check.h"

namespace causeway::memory {

PageLedger::Class PageLedger::ClassOf(PageId page) const {
  const Use& use = uses_[page];
  if (use.live > 0) {
    return Class::kLive;
  }
  if (use.indexed) {
    return Class::kCached;
  }
  return pool_.References(page) > 0 ? Class::kParked : Class::kFree;
}

void PageLedger::AddLive(PageId page) {
  const Class before = ClassOf(page);
  ++uses_[page].live;
  Moved(page, before);
}

void PageLedger::DropLive(PageId page) {
  CHECK(uses_[page].live > 0);
  --uses_[page].live;
  Moved(page, Class::kLive);
}

void PageLedger::SetIndexed(PageId page, bool indexed) {
  const Class before = ClassOf(page);
  uses_[page].indexed = indexed;
  Moved(page, before);
}

void PageLedger::Moved(PageId page, Class before) {
  const Class now = ClassOf(page);
  if (now == before) {
    return;
  }
  const auto change = [&](Class one) { return (now == one ? 1 : 0) - (before == one ? 1 : 0); };
  budget_.Change(change(Class::kLive), change(Class::kParked), change(Class::kCached));
}

void PageLedger::CheckInvariants() const {
  BudgetPages counted{.total = pool_.max_pages()};
  for (int64_t id = 0; id < counted.total; ++id) {
    const auto page = static_cast<PageId>(id);
    switch (ClassOf(page)) {
      case Class::kFree: ++counted.free; break;
      case Class::kParked: ++counted.parked; break;
      case Class::kCached: ++counted.cached; break;
      case Class::kLive: ++counted.live; break;
    }
    CHECK(uses_[page].live + (uses_[page].indexed ? 1 : 0) <= pool_.References(page));
  }
  const BudgetPages kept = Read();
  CHECK(counted.live == kept.live && counted.parked == kept.parked && counted.cached == kept.cached &&
        counted.free == kept.free);
}

}  // namespace causeway::memory
