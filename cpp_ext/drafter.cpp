#include "drafter.h"

#include <algorithm>
#include <cmath>

namespace palijet {

namespace {

constexpr double kMostLoss = 0.02;    // of the decoder's time
constexpr double kForgetting = 0.99;  // of savings and time, by each answer: a video changes
constexpr int64_t kTrials = 2;        // answers whose previous one is verified before anything is known
constexpr size_t kRemembered = 16;    // matches
constexpr double kLearning = 0.1;     // of a hit rate, by each verdict
constexpr size_t kLocationsOfBox = 4;

// How many tokens before `end` of each are the same.
size_t common_suffix(const std::vector<int32_t>& a, size_t a_end, const std::vector<int32_t>& b, size_t b_end) {
    size_t length = 0;
    while (length < a_end && length < b_end && a[a_end - 1 - length] == b[b_end - 1 - length]) ++length;
    return length;
}

}  // namespace

Drafter::Drafter(AnswerGrammar grammar, DrafterOptions options)
    : grammar_(std::move(grammar)), options_(options), hit_rates_{0.8, 0.8, 0.5, 0.9, 0.4} {}

void Drafter::begin(const std::vector<int32_t>& prompt, int64_t most, const StepCosts& costs, Draft& draft) {
    prompt_ = prompt;
    place_ = placed_ = 0;
    draft.clear();
    const int64_t longest = std::min<int64_t>(most, static_cast<int64_t>(previous_.size()));
    int64_t length = longest;
    if (options_.adaptive && !matches_.empty()) {
        // A token that holds saves a step; until one was measured, it is what a few rows of a prefill cost.
        const double row_ms = costs.prefill_row_ms();
        const double step_ms = costs.step_ms(1).value_or(4 * row_ms);
        double best = 0;
        length = 0;
        for (int64_t tokens = 1; tokens <= longest; ++tokens) {
            double held = 0;
            for (const int64_t match : matches_) held += static_cast<double>(std::min(tokens, match));
            const double gain =
                held / static_cast<double>(matches_.size()) * step_ms - static_cast<double>(tokens) * row_ms;
            if (gain > best) {
                best = gain;
                length = tokens;
            }
        }
        if (answers_ > kTrials && !may_lose(static_cast<double>(length) * row_ms)) length = 0;
    }
    for (int64_t i = 0; i < length; ++i) draft.add(previous_[static_cast<size_t>(i)], DraftKind::kPrevious);
}

void Drafter::propose(const std::vector<int32_t>& answer, int64_t most, Draft& draft) {
    draft.clear();
    if (most < 1) return;
    propose_previous(answer, most, draft);
    const bool is_certain = draft.size() && draft.kinds[0] == DraftKind::kAligned;
    if (is_certain) return;
    other_.clear();
    if (propose_gap(answer, most, other_)) {
        // What the previous answer has here goes further where it agrees.
        const bool agrees = draft.size() >= other_.size() &&
                            std::equal(other_.tokens.begin(), other_.tokens.end(), draft.tokens.begin());
        if (agrees) {
            std::copy(other_.kinds.begin(), other_.kinds.end(), draft.kinds.begin());
        } else {
            std::swap(draft, other_);
        }
    } else if (propose_repetition(answer, most, other_)) {
        std::swap(draft, other_);
    }
}

// Where the previous answer is at the same place: behind the longest run of tokens that both end in, the nearest to
// where this answer was last; failing that, one token on, as if that one alone had changed.
void Drafter::propose_previous(const std::vector<int32_t>& answer, int64_t most, Draft& draft) {
    if (previous_.empty()) return;
    const size_t expected = place_ + (answer.size() - placed_);
    size_t longest = 0, place = expected;
    const auto distance = [&](size_t end) { return end > expected ? end - expected : expected - end; };
    for (size_t end = 1; end <= previous_.size(); ++end) {
        const size_t length = common_suffix(answer, answer.size(), previous_, end);
        if (length > longest || (length && length == longest && distance(end) < distance(place))) {
            longest = length;
            place = end;
        }
    }
    // A lone token that recurs elsewhere says little.
    const bool is_aligned = longest >= 2 || (longest == 1 && place == expected);
    place_ = is_aligned ? place : expected;
    placed_ = answer.size();
    const DraftKind kind = is_aligned ? DraftKind::kAligned : DraftKind::kSubstituted;
    for (size_t i = place_; i < previous_.size() && static_cast<int64_t>(draft.size()) < most; ++i) {
        draft.add(previous_[i], kind);
    }
}

// Behind a whole box: what stood between the last two boxes of this answer; else the label, where one alone was asked
// for.
bool Drafter::propose_gap(const std::vector<int32_t>& answer, int64_t most, Draft& draft) const {
    if (!grammar_.locations) return false;
    const auto is_place = [&](int32_t token) { return grammar_.is_location(token) || grammar_.is_segment(token); };
    size_t end = answer.size();
    while (end > 0 && grammar_.is_segment(answer[end - 1])) --end;
    size_t first = end;
    while (first > 0 && grammar_.is_location(answer[first - 1])) --first;
    if (first == end || (end - first) % kLocationsOfBox != 0) return false;
    size_t gap_start = first;
    while (gap_start > 0 && !is_place(answer[gap_start - 1])) --gap_start;
    const bool has_gap = gap_start > 0 && gap_start < first;
    if (has_gap && grammar_.labels.size() < 2) {
        for (size_t i = gap_start; i < first; ++i) draft.add(answer[i], DraftKind::kGrammar);
    } else if (grammar_.labels.size() == 1) {
        for (const int32_t token : grammar_.labels[0]) draft.add(token, DraftKind::kGrammar);
    }
    if (static_cast<int64_t>(draft.size()) > most) draft.resize(static_cast<size_t>(most));
    return draft.size() > 0;
}

// Prompt lookup decoding (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding): the last two tokens or more
// stood before in the answer or the prompt.
bool Drafter::propose_repetition(const std::vector<int32_t>& answer, int64_t most, Draft& draft) const {
    constexpr size_t kLeast = 2;
    for (const std::vector<int32_t>* text : {&answer, &prompt_}) {
        size_t longest = kLeast - 1, place = 0;
        const size_t last = text == &answer ? text->size() - std::min<size_t>(text->size(), 1) : text->size();
        for (size_t end = 1; end <= last; ++end) {
            const size_t length = common_suffix(answer, answer.size(), *text, end);
            if (length > longest) {
                longest = length;
                place = end;
            }
        }
        if (longest < kLeast) continue;
        for (size_t i = place; i < text->size() && static_cast<int64_t>(draft.size()) < most; ++i) {
            draft.add((*text)[i], DraftKind::kRepeated);
        }
        if (draft.size()) return true;
    }
    return false;
}

double Drafter::expected(const Draft& draft, int64_t tokens) const {
    double sum = 0, all_hold = 1;
    for (size_t i = 0; i < draft.size() && static_cast<int64_t>(i) < tokens; ++i) {
        all_hold *= hit_rates_[static_cast<size_t>(draft.kinds[i])];
        sum += all_hold;
    }
    return sum;
}

bool Drafter::may_lose(double ms) const { return saved_ms_ - ms >= -kMostLoss * plain_ms_; }

void Drafter::learn(const Draft& draft, const int32_t* outputs, int64_t kept) {
    for (int64_t i = 0; i <= kept && i < static_cast<int64_t>(draft.size()); ++i) {
        const auto index = static_cast<size_t>(i);
        double& rate = hit_rates_[static_cast<size_t>(draft.kinds[index])];
        rate += kLearning * ((draft.tokens[index] == outputs[i] ? 1.0 : 0.0) - rate);
    }
}

void Drafter::account(double ms, double plain_ms) {
    plain_ms_ += plain_ms;
    saved_ms_ += plain_ms - ms;
}

void Drafter::end(const std::vector<int32_t>& answer) {
    if (answers_) {
        const auto [mine, theirs] = std::mismatch(answer.begin(), answer.end(), previous_.begin(), previous_.end());
        matches_.push_back(mine - answer.begin());
        if (matches_.size() > kRemembered) matches_.pop_front();
    }
    previous_ = answer;
    plain_ms_ *= kForgetting;
    saved_ms_ *= kForgetting;
    ++answers_;
}

}  // namespace palijet
