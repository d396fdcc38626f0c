// Which rows of a plan begin with the same pages, so that attention may read those once for all.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "memory/span.h"
#include "scheduler/plan.h"

namespace causeway::scheduler {

// Owner: the scheduler. Keeps its memory from step to step: allocates only for more rows than it has seen before.
class ShareGroups {
 public:
  // Sets share_group and shared_positions of each row; spans[i] is the KV of rows[i], whose sealed pages it has
  // computed. A row is in one group at most, and sequences may share a tree of beginnings: a document behind a system
  // prompt. Of the groups that are possible those are formed that save the most reads of pages. A group's name is its
  // first row's index. The same pages give the same groups.
  //
  // Cost: O(rows * log(rows) * log(pages)), and O(rows) for each level of the tree.
  void Assign(std::span<const memory::Span* const> spans, int64_t tokens_per_page, std::span<PlanRow> rows);

 private:
  struct Member {
    const memory::Span* span;
    size_t row;
  };
  // Neighbours in order_ that have `common` pages in common, from `begin` up to where the next one is looked at.
  struct Branch {
    size_t begin;
    int64_t common;
    int64_t saved;  // reads of pages, by the groups that were formed within it
  };
  void Form(const Branch& branch, size_t end, int64_t tokens_per_page, std::span<PlanRow> rows) const;

  std::vector<Member> order_;  // by pages: those that begin alike are neighbours
  std::vector<Branch> open_;   // each within the one before
};

// Pages at the front of both that are the same.
int64_t CommonPages(const memory::Span& a, const memory::Span& b);

}  // namespace causeway::scheduler
