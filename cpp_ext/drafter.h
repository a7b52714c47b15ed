// Guesses the next tokens of an answer, from the answer to the frame before and from what answers look like. The
// decoder verifies every guess, so the answer is the greedy one whatever is guessed.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "step_costs.h"

namespace palijet {

// What a detection's answer is made of: four locations, sixteen segment tokens where a mask was asked for, the label,
// and what stands between one object and the next.
struct AnswerGrammar {
    int32_t first_location = -1;  // token ids
    int32_t locations = 0;        // how many, from the first on
    int32_t first_segment = -1;
    int32_t segments = 0;
    std::vector<std::vector<int32_t>> labels;  // that were asked for, as tokens

    bool is_location(int32_t token) const { return token >= first_location && token < first_location + locations; }
    bool is_segment(int32_t token) const { return token >= first_segment && token < first_segment + segments; }
};

// Why a token was guessed; each kind is as good as it turns out to be.
enum class DraftKind : uint8_t {
    kPrevious,     // the previous answer from its start
    kAligned,      // the previous answer went on so from here
    kSubstituted,  // the previous answer, past a token that is another now
    kGrammar,      // the label, and what stood between the last two objects
    kRepeated,     // the same few tokens were followed by this before, in this answer or in the prompt
};
constexpr size_t kDraftKinds = 5;

struct Draft {
    std::vector<int32_t> tokens;
    std::vector<DraftKind> kinds;  // of each token

    size_t size() const { return tokens.size(); }
    void clear() { resize(0); }
    void resize(size_t size) {
        tokens.resize(size);
        kinds.resize(size);
    }
    void add(int32_t token, DraftKind kind) {
        tokens.push_back(token);
        kinds.push_back(kind);
    }
};

struct DrafterOptions {
    // Whether guesses are weighed by what they cost and how often they hold; else every one is verified.
    bool adaptive = true;
};

// One camera's and one prompt's; not for several sequences at a time.
class Drafter {
  public:
    static constexpr int64_t kMostTokens = 15;  // of a guess while decoding

    explicit Drafter(AnswerGrammar grammar = {}, DrafterOptions options = {});

    // A new answer begins. Fills `draft` with what to verify within the prefill: the previous answer, as much of it as
    // pays.
    void begin(const std::vector<int32_t>& prompt, int64_t most, const StepCosts& costs, Draft& draft);

    // Fills `draft` with up to `most` guesses of what follows `answer`.
    void propose(const std::vector<int32_t>& answer, int64_t most, Draft& draft);

    // How many of the first `tokens` tokens of a guess will hold, as far as experience goes.
    double expected(const Draft& draft, int64_t tokens) const;

    // Whether a loss of so many milliseconds is within what guessing may cost: 2 % of the decoder's time at most.
    bool may_lose(double ms) const;

    bool is_adaptive() const { return options_.adaptive; }

    // `outputs` [kept + 1] are the model's own tokens, of which the first `kept` are the draft's.
    void learn(const Draft& draft, const int32_t* outputs, int64_t kept);

    // The decoder spent so long; it would have been `plain_ms` without guesses.
    void account(double ms, double plain_ms);

    // The answer is whole, and is what the next one is guessed from.
    void end(const std::vector<int32_t>& answer);

  private:
    void propose_previous(const std::vector<int32_t>& answer, int64_t most, Draft& draft);
    bool propose_gap(const std::vector<int32_t>& answer, int64_t most, Draft& draft) const;
    bool propose_repetition(const std::vector<int32_t>& answer, int64_t most, Draft& draft) const;

    AnswerGrammar grammar_;
    DrafterOptions options_;
    std::vector<int32_t> prompt_;
    std::vector<int32_t> previous_;              // the previous answer
    size_t place_ = 0;                           // in the previous answer: where this one is, most likely
    size_t placed_ = 0;                          // tokens of this answer that `place_` was found for
    std::deque<int64_t> matches_;                // how many first tokens the last answers shared with the ones before
    std::array<double, kDraftKinds> hit_rates_;  // by kind
    double plain_ms_ = 0;                        // what the decoder would have taken without guesses
    double saved_ms_ = 0;                        // by guesses; negative where they cost more than they saved
    int64_t answers_ = 0;
    Draft other_;  // a second guess, while one is chosen
};

}  // namespace palijet
