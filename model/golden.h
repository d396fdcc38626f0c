// What a model is to compute for some prompts: read from beside its weights, or computed by another table
// of kernels.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/token.h"
#include "model/sequence_runner.h"

namespace causeway::model {

struct GoldenPrompt {
  std::vector<Token> tokens;
  std::vector<float> logits;    // [tokens, vocab]
  std::vector<Token> greedy;    // the tokens that follow
  std::vector<double> margins;  // between the two best logits at each of them
};

struct Golden {
  std::vector<GoldenPrompt> prompts;
  // Of the first prompt, [tokens, hidden]: 0 is the scaled embedding, l the residual stream after block l,
  // the last one with the final norm applied (transformers' convention).
  std::map<int, std::vector<float>> hidden;
  // The inputs of its linear layers were rounded to 8 bits (golden.safetensors has an example, linear.xq).
  bool quantized_inputs = false;
};

// Reads golden.json and golden.safetensors of a folder. Errors name the field or tensor that is missing. `run`: of a
// folder that has several, the values of this one.
Result<Golden> ReadGolden(const std::string& folder, const std::string& run = {});

// Logits of every position of a prompt, run in slot 0. `hidden` receives its hidden states if not null.
Result<std::vector<float>> LogitsOf(SequenceRunner& runner, std::span<const Token> tokens,
                                    std::map<int, std::vector<float>>* hidden);

// What `runner` computes for these prompts, with `greedy_tokens` tokens after each.
Result<Golden> ComputeGolden(SequenceRunner& runner, const std::vector<std::vector<Token>>& prompts,
                             size_t greedy_tokens);

}  // namespace causeway::model
