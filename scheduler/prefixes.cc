// The part of Scheduler that begins sequences behind pages that others computed.
#include "memory/kv_cache.h"
#include "scheduler/scheduler.h"

namespace causeway::scheduler {

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
  if (!options_.prefix_caching || WantsPromptScores(sequence)) {
    return {};
  }
  kv_.AppendPrefixKeys(sequence.request->prefix_root, sequence.tokens, sequence.prefix_keys);
  return {sequence.prefix_keys, sequence.tokens, (sequence.size() - 1) / kv_.geometry().tokens_per_page};
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

}  // namespace causeway::scheduler
