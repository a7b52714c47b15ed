#include <doctest/doctest.h>

#include <chrono>
#include <random>
#include <stdexcept>

#include "decoder.h"
#include "number_table.h"
#include "stand_in_engine.h"

using namespace palijet;
using palijet::tests::number_table;
using palijet::tests::StandInEngine;

namespace {

// The answer as the stand-in's language has it, without a cache.
Generation expected(const std::vector<float>& image, const std::vector<int32_t>& prompt,
                    const GenerateOptions& options) {
    Generation answer;
    std::vector<float> rows = image;
    rows.insert(rows.end(), prompt.begin(), prompt.end());
    while (static_cast<int64_t>(answer.tokens.size()) < options.max_tokens) {
        const int32_t token = StandInEngine::next_token(rows);
        for (const int32_t stop : options.stop_tokens) {
            if (token == stop) {
                answer.stop_reason = StopReason::kStop;
                return answer;
            }
        }
        answer.tokens.push_back(token);
        rows.push_back(static_cast<float>(token));
    }
    answer.stop_reason = StopReason::kMaxTokens;
    return answer;
}

struct Fixture {
    StandInEngine engine;
    std::shared_ptr<EmbeddingTable> table = number_table();
    Decoder decoder{engine, *table, 4, 200};
    std::vector<float> image{3, 0, 5, 0, 8, 0};  // [3, hidden]
    std::vector<float> image_numbers{3, 5, 8};
    DecodeTimings timings;

    Prefix prefix(const std::vector<int32_t>& prompt, Drafter* drafter = nullptr) {
        return {image.data(), 3, &prompt, drafter};
    }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "any number of prompts of any lengths are answered as each would be alone") {
    std::mt19937 random(7);
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    for (int round = 0; round < 200; ++round) {
        GenerateOptions options;
        options.max_tokens = pick(1, 100);
        options.stop_tokens = {pick(0, 96), pick(0, 96)};
        std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(pick(1, 9)));
        for (auto& prompt : prompts) {
            for (int i = pick(1, 50); i > 0; --i) prompt.push_back(pick(0, 96));
        }
        std::vector<Prefix> prefixes;
        for (const auto& prompt : prompts) prefixes.push_back(prefix(prompt));
        const auto answers = decoder.generate(prefixes, options, timings);
        for (size_t b = 0; b < prompts.size(); ++b) {
            const Generation alone = expected(image_numbers, prompts[b], options);
            REQUIRE(answers[b].tokens == alone.tokens);
            REQUIRE(answers[b].stop_reason == alone.stop_reason);
            REQUIRE(answers[b].logprobs.size() == alone.tokens.size());
        }
    }
}

TEST_CASE_FIXTURE(Fixture, "an answer of n tokens costs one prefill and n - 1 steps") {
    const std::vector<int32_t> prompt{1, 2};
    GenerateOptions options;
    options.max_tokens = 10;
    decoder.generate({prefix(prompt)}, options, timings);
    CHECK(timings.calls == 10);
    CHECK(engine.runs == 10);
}

TEST_CASE_FIXTURE(Fixture, "cancellation keeps what was decoded") {
    const std::vector<int32_t> prompt{1, 2};
    GenerateOptions options;
    options.max_tokens = 50;
    int asked = 0;
    options.is_cancelled = [&] { return ++asked > 7; };
    const auto answers = decoder.generate({prefix(prompt)}, options, timings);
    CHECK(answers[0].tokens.size() == 7);
    CHECK(answers[0].stop_reason == StopReason::kCancelled);
}

TEST_CASE_FIXTURE(Fixture, "what a callback throws comes through, and the decoder answers on") {
    const std::vector<int32_t> prompt{4};
    GenerateOptions options;
    options.max_tokens = 20;
    options.on_token = [](size_t, int32_t, float) { throw std::logic_error("from the callback"); };
    CHECK_THROWS_AS(decoder.generate({prefix(prompt)}, options, timings), std::logic_error);
    options.on_token = nullptr;
    CHECK(decoder.generate({prefix(prompt)}, options, timings)[0].tokens ==
          expected(image_numbers, prompt, options).tokens);
}

TEST_CASE_FIXTURE(Fixture, "an engine that fails in mid-answer leaves a decoder that answers on") {
    const std::vector<int32_t> prompt{4};
    GenerateOptions options;
    options.max_tokens = 20;
    engine.before_run = [this] {
        if (engine.runs == 5) throw EngineError("the device is gone");
    };
    CHECK_THROWS_AS(decoder.generate({prefix(prompt)}, options, timings), EngineError);
    engine.before_run = nullptr;
    CHECK(decoder.generate({prefix(prompt)}, options, timings)[0].tokens ==
          expected(image_numbers, prompt, options).tokens);
}

TEST_CASE_FIXTURE(Fixture, "a sequence longer than the cache is refused before anything runs") {
    const std::vector<int32_t> prompt(150, 1);
    GenerateOptions options;
    options.max_tokens = 100;
    CHECK_THROWS_AS(decoder.generate({prefix(prompt)}, options, timings), InputError);
    CHECK(engine.runs == 0);
}

TEST_CASE_FIXTURE(Fixture, "a sequence that ends makes room for the next without waiting for the others") {
    GenerateOptions options;
    options.max_tokens = 60;
    options.stop_tokens.push_back(5);
    // One prompt whose answer is long, and others that end early: their steps hide behind its own.
    std::vector<std::vector<int32_t>> prompts;
    for (int32_t i = 0; prompts.size() < 9; ++i) {
        const std::vector<int32_t> prompt{i, i + 1};
        const size_t length = expected(image_numbers, prompt, options).tokens.size();
        if (prompts.empty() ? length == 60 : length >= 3 && length <= 12) prompts.push_back(prompt);
    }
    std::vector<Prefix> prefixes;
    for (const auto& prompt : prompts) prefixes.push_back(prefix(prompt));
    decoder.generate(prefixes, options, timings);
    CHECK(timings.calls == 9 + 59);  // nine prefills, and the steps of the longest
}

namespace {

// A drafter that has seen any answer: the true one with some tokens changed, lost or put in, or quite another.
Drafter drafter_after(std::vector<int32_t> answer, std::mt19937& random, bool adaptive) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    for (int change = pick(0, 4); change > 0 && !answer.empty(); --change) {
        const auto place = answer.begin() + pick(0, static_cast<int>(answer.size()) - 1);
        const int what = pick(0, 3);
        if (what == 0) {
            answer.erase(place);
        } else if (what == 1) {
            answer.insert(place, pick(0, 96));
        } else {
            *place = pick(0, 96);
        }
    }
    if (pick(0, 5) == 0) answer.resize(static_cast<size_t>(pick(0, static_cast<int>(answer.size()))));
    if (pick(0, 5) == 0) {
        for (int32_t& token : answer) token = pick(0, 96);
    }
    AnswerGrammar grammar;
    grammar.first_location = pick(0, 60);
    grammar.locations = pick(0, 40);
    if (pick(0, 1)) grammar.labels = {{pick(0, 96), pick(0, 96)}};
    Drafter drafter(grammar, {adaptive});
    drafter.end(answer);
    return drafter;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "whatever is guessed, the answers are the greedy ones") {
    std::mt19937 random(20261124);
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    int64_t drafted = 0, accepted = 0, tokens = 0, calls = 0;
    for (int round = 0; round < 500; ++round) {
        GenerateOptions options;
        options.max_tokens = pick(1, 100);
        options.stop_tokens.push_back(pick(0, 96));
        const bool adaptive = pick(0, 1) == 1;
        std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(pick(1, 6)));
        std::vector<Drafter> drafters;
        std::vector<Generation> alone;
        for (auto& prompt : prompts) {
            for (int i = pick(1, 50); i > 0; --i) prompt.push_back(pick(0, 96));
            alone.push_back(expected(image_numbers, prompt, options));
            drafters.push_back(drafter_after(alone.back().tokens, random, adaptive));
        }
        std::vector<Prefix> prefixes;
        for (size_t i = 0; i < prompts.size(); ++i) {
            prefixes.push_back(prefix(prompts[i], pick(0, 4) ? &drafters[i] : nullptr));
        }
        std::vector<std::vector<int32_t>> told(prompts.size());
        options.on_token = [&](size_t sequence, int32_t token, float) { told.at(sequence).push_back(token); };
        for (int frame = 0; frame < 2; ++frame) {  // the second time each has seen its own answer
            const auto answers = decoder.generate(prefixes, options, timings);
            for (size_t b = 0; b < prompts.size(); ++b) {
                REQUIRE(answers[b].tokens == alone[b].tokens);
                REQUIRE(answers[b].stop_reason == alone[b].stop_reason);
                REQUIRE(answers[b].logprobs.size() == alone[b].tokens.size());
                REQUIRE(told[b] == alone[b].tokens);
                told[b].clear();
                if (frame == 1 && !adaptive && prefixes[b].drafter) REQUIRE(answers[b].calls == 1);
                drafted += answers[b].drafted;
                accepted += answers[b].accepted;
                tokens += static_cast<int64_t>(answers[b].tokens.size());
                calls += answers[b].calls;
            }
        }
    }
    CHECK(accepted > drafted / 4);
    MESSAGE(tokens << " tokens in " << calls << " calls; " << accepted << " of " << drafted << " guesses held");
}

TEST_CASE_FIXTURE(Fixture, "an answer that changed in one place is verified up to there and behind it") {
    const std::vector<int32_t> prompt{1, 2};
    GenerateOptions options;
    options.max_tokens = 14;
    const Generation alone = expected(image_numbers, prompt, options);
    std::vector<int32_t> before = alone.tokens;
    before[6] = before[6] == 0 ? 1 : 0;
    Drafter drafter({}, {false});
    drafter.end(before);
    const auto answers = decoder.generate({prefix(prompt, &drafter)}, options, timings);
    CHECK(answers[0].tokens == alone.tokens);
    CHECK(answers[0].calls == 2);
    CHECK(answers[0].accepted == 6 + 6);
}

TEST_CASE_FIXTURE(Fixture, "guesses that never hold cost less than 3 % of the time, by the engine's own clock") {
    // A device on which every row costs as much as a step: the worst to guess on.
    engine.before_run = [this] {
        const auto rows = engine.rows_of_call();
        const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(20 * rows);
        while (std::chrono::steady_clock::now() < until) {
        }
    };
    std::mt19937 random(3);
    GenerateOptions options;
    options.max_tokens = 12;
    Drafter drafter;
    int64_t rows = 0, plain = 0;
    for (int frame = 0; frame < 300; ++frame) {
        std::vector<int32_t> prompt(20);
        for (int32_t& token : prompt) token = static_cast<int32_t>(random() % 97);
        const int64_t before = engine.rows;
        decoder.generate({prefix(prompt, &drafter)}, options, timings);
        rows += engine.rows - before;
        plain += 23 + 11;
    }
    MESSAGE("rows " << rows << " of " << plain);
    CHECK(static_cast<double>(rows) <= 1.03 * static_cast<double>(plain));
}

TEST_CASE_FIXTURE(Fixture, "choices are scored by the tokens they are made of") {
    std::vector<int32_t> prompt{4, 5};
    const std::vector<std::vector<int32_t>> choices{{7}, {9, 3, 1}, {12}, std::vector<int32_t>(40, 6)};
    const auto scores = decoder.score(prefix(prompt), choices, {}, timings);
    REQUIRE(scores.size() == choices.size());
    for (size_t i = 0; i < choices.size(); ++i) {
        std::vector<float> rows = image_numbers;
        rows.insert(rows.end(), prompt.begin(), prompt.end());
        REQUIRE(scores[i].size() == choices[i].size());
        for (size_t place = 0; place < choices[i].size(); ++place) {
            CHECK(scores[i][place] == StandInEngine::logprob(rows, choices[i][place]));
            rows.push_back(static_cast<float>(choices[i][place]));
        }
    }
    CHECK(timings.calls == 5);  // the prefill, and one more for each choice of several tokens and 16 more of them
    GenerateOptions options;
    options.max_tokens = 20;
    CHECK(decoder.generate({prefix(prompt)}, options, timings)[0].tokens ==
          expected(image_numbers, prompt, options).tokens);
}
