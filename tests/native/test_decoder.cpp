#include <doctest/doctest.h>

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

    Prefix prefix(const std::vector<int32_t>& prompt) { return {image.data(), 3, &prompt}; }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "batches of prompts of any lengths are answered as each would be alone") {
    std::mt19937 random(7);
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    for (int round = 0; round < 200; ++round) {
        GenerateOptions options;
        options.max_tokens = pick(1, 120);
        options.stop_tokens = {pick(0, 96), pick(0, 96)};
        std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(pick(1, 4)));
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
