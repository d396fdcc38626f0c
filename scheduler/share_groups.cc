#include "scheduler/share_groups.h"

#include <algorithm>

namespace causeway::scheduler {
namespace {

// A sealed page is in one chain, at one place: who has it there has all that lie in front of it, too.
bool SameAt(const memory::Span& a, const memory::Span& b, int64_t place) {
  return a.sealed_page(place) == b.sealed_page(place);
}

bool Before(const memory::Span& a, const memory::Span& b) {
  const int64_t common = CommonPages(a, b);
  if (common == std::min(a.sealed_pages(), b.sealed_pages())) {
    return a.sealed_pages() < b.sealed_pages();
  }
  return a.sealed_page(common) < b.sealed_page(common);
}

// What is not read again when `count` sequences read `common` pages once.
int64_t Saved(size_t count, int64_t common) { return (static_cast<int64_t>(count) - 1) * common; }

}  // namespace

int64_t CommonPages(const memory::Span& a, const memory::Span& b) {
  int64_t same = 0;
  int64_t end = std::min(a.sealed_pages(), b.sealed_pages());
  while (same < end) {
    const int64_t middle = same + (end - same) / 2;
    SameAt(a, b, middle) ? same = middle + 1 : end = middle;
  }
  return same;
}

// The rows of a branch become one group, unless those within it save more.
void ShareGroups::Form(const Branch& branch, size_t end, int64_t tokens_per_page, std::span<PlanRow> rows) const {
  const auto members = std::span(order_).subspan(branch.begin, end - branch.begin);
  const auto first = std::ranges::min_element(members, {}, &Member::row);
  for (const Member& member : members) {
    rows[member.row].share_group = static_cast<int32_t>(first->row);
    rows[member.row].shared_positions = branch.common * tokens_per_page;
  }
}

void ShareGroups::Assign(std::span<const memory::Span* const> spans, int64_t tokens_per_page, std::span<PlanRow> rows) {
  order_.clear();
  for (size_t i = 0; i < spans.size(); ++i) {
    rows[i].share_group = -1;
    rows[i].shared_positions = 0;
    if (spans[i]->sealed_pages() > 0) {
      order_.push_back({spans[i], i});
    }
  }
  std::ranges::sort(order_, [](const Member& a, const Member& b) { return Before(*a.span, *b.span); });

  // From left to right: a branch ends where neighbours have less in common than its members do.
  open_.clear();
  for (size_t i = 1; i <= order_.size(); ++i) {
    const int64_t common = i < order_.size() ? CommonPages(*order_[i - 1].span, *order_[i].span) : 0;
    Branch next{.begin = i - 1, .common = common, .saved = 0};
    while (!open_.empty() && open_.back().common > common) {
      Branch ended = open_.back();
      open_.pop_back();
      if (const int64_t saved = Saved(i - ended.begin, ended.common); saved >= ended.saved) {
        Form(ended, i, tokens_per_page, rows);
        ended.saved = saved;
      }
      next.begin = ended.begin;
      if (!open_.empty() && open_.back().common >= common) {
        open_.back().saved += ended.saved;
      } else {
        next.saved = ended.saved;
      }
    }
    if (common > 0 && (open_.empty() || open_.back().common < common)) {
      open_.push_back(next);
    }
  }
}

}  // namespace causeway::scheduler
