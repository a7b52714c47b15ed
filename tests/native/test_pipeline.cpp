#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "number_table.h"
#include "pipeline.h"
#include "stand_in_vision.h"

using namespace palijet;
using namespace palijet::tests;

namespace {

struct Fixture {
    static constexpr int64_t kMaxRows = 60;
    static constexpr int64_t kMaxBatch = 3;

    std::shared_ptr<StandInVision> vision = std::make_shared<StandInVision>();
    std::shared_ptr<StandInEngine> engine = std::make_shared<StandInEngine>();
    Pipeline pipeline{vision, engine, number_table(), {StandInVision::kSize, kMaxRows, kMaxBatch}};
    std::vector<std::vector<uint8_t>> pixels;
    std::vector<ImageView> images;

    // Images of one grey level each, of unlike sizes.
    explicit Fixture(const std::vector<uint8_t>& greys = {10, 200}) {
        for (const uint8_t grey : greys) {
            const int64_t height = 3 + grey % 5, width = 2 + grey % 7;
            pixels.emplace_back(static_cast<size_t>(height * width), grey);
            ImageView view;
            view.data = pixels.back().data();
            view.height = height;
            view.width = width;
            view.channels = 1;
            view.row_stride = width;
            view.column_stride = 1;
            view.channel_stride = 0;
            view.format = PixelFormat::kRgb;
            images.push_back(view);
        }
    }

    std::vector<Generation> ask(const std::vector<Request>& requests, const GenerateOptions& options) {
        Timings timings;
        return pipeline.generate(images, requests, options, timings);
    }
};

GenerateOptions up_to(int64_t max_tokens) {
    GenerateOptions options;
    options.max_tokens = max_tokens;
    return options;
}

// The tokens as the stand-ins' language has them, with no cache and no batch.
std::vector<int32_t> expected(int grey, const std::vector<int32_t>& prompt, int64_t max_tokens) {
    std::vector<float> rows;
    for (int n = 0; n < StandInVision::kRows; ++n) rows.push_back(static_cast<float>(grey + n));
    rows.insert(rows.end(), prompt.begin(), prompt.end());
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < max_tokens; ++i) {
        tokens.push_back(StandInEngine::next_token(rows));
        rows.push_back(static_cast<float>(tokens.back()));
    }
    return tokens;
}

}  // namespace

TEST_CASE("any number of prompts on any images are answered in their order, each image encoded once") {
    std::mt19937 random(11);
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    for (int round = 0; round < 100; ++round) {
        std::vector<uint8_t> greys;
        for (int i = pick(1, 4); i > 0; --i) greys.push_back(static_cast<uint8_t>(pick(0, 255)));
        Fixture fixture(greys);
        std::vector<Request> requests;
        for (int i = pick(1, 9); i > 0; --i) {
            requests.push_back({static_cast<size_t>(pick(0, static_cast<int>(greys.size()) - 1)), {}, nullptr});
            for (int n = pick(1, 20); n > 0; --n) requests.back().prompt.push_back(pick(0, 96));
        }
        const int64_t max_tokens = pick(1, 30);
        const auto answers = fixture.ask(requests, up_to(max_tokens));
        REQUIRE(answers.size() == requests.size());
        for (size_t i = 0; i < requests.size(); ++i) {
            REQUIRE(answers[i].tokens == expected(greys[requests[i].image], requests[i].prompt, max_tokens));
        }
        REQUIRE(fixture.vision->runs == 1);
    }
}

TEST_CASE_FIXTURE(Fixture, "a callback is told the place of the prompt among all, not in its batch") {
    std::vector<std::vector<int32_t>> told(7);
    GenerateOptions options = up_to(4);
    options.on_token = [&](size_t sequence, int32_t token, float) { told.at(sequence).push_back(token); };
    const std::vector<Request> requests(7, Request{1, {5, 6}, nullptr});
    const auto answers = ask(requests, options);
    for (size_t i = 0; i < answers.size(); ++i) CHECK(told[i] == answers[i].tokens);
}

TEST_CASE_FIXTURE(Fixture, "a cancelled call runs no engine, and no sequence that had not begun") {
    GenerateOptions options = up_to(9);
    options.is_cancelled = [] { return true; };
    const std::vector<Request> requests(8, Request{0, {1}, nullptr});
    for (const Generation& answer : ask(requests, options)) {
        CHECK(answer.tokens.empty());
        CHECK(answer.stop_reason == StopReason::kCancelled);
    }
    CHECK(vision->runs == 0);
    CHECK(engine->runs == 0);

    bool cancelled = false;
    options.on_token = [&](size_t, int32_t, float) { cancelled = true; };
    options.is_cancelled = [&] { return cancelled; };
    const auto answers = ask(requests, options);
    CHECK(answers.size() == 8);
    CHECK(engine->runs == 1);
    CHECK(answers[0].tokens.size() == 1);
    CHECK(answers[1].tokens.empty());
}

TEST_CASE_FIXTURE(Fixture, "a call that is cancelled while it waits for its turn leaves the queue") {
    std::atomic<bool> answering{false}, release{false};
    GenerateOptions slow = up_to(2);
    slow.on_token = [&](size_t, int32_t, float) {
        answering = true;
        while (!release) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    std::thread first([&] { ask({{0, {1}}}, slow); });
    while (!answering) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    GenerateOptions waiting = up_to(2);
    int asked = 0;
    waiting.is_cancelled = [&] { return ++asked > 2; };
    const auto answers = ask({{0, {1}}}, waiting);  // returns though the first call still holds the turn
    CHECK(answers[0].stop_reason == StopReason::kCancelled);
    release = true;
    first.join();
}

TEST_CASE_FIXTURE(Fixture, "a callback that asks its own model is refused rather than left to wait for itself") {
    GenerateOptions options = up_to(3);
    options.on_token = [&](size_t, int32_t, float) { ask({{0, {1}}}, up_to(1)); };
    CHECK_THROWS_WITH_AS(ask({{0, {1}}}, options), doctest::Contains("a callback cannot ask"), InputError);
    CHECK(ask({{0, {1}}}, up_to(5))[0].tokens == expected(10, {1}, 5));
}

TEST_CASE_FIXTURE(Fixture, "calls from several threads queue and never mix") {
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (int32_t t = 0; t < 4; ++t) {
        threads.emplace_back([this, t, &wrong] {
            for (int32_t i = 0; i < 50; ++i) {
                const std::vector<int32_t> prompt{t, i};
                if (ask({{1, prompt}}, up_to(6))[0].tokens != expected(200, prompt, 6)) ++wrong;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}

TEST_CASE_FIXTURE(Fixture, "the cache is filled to its last row and no further") {
    const std::vector<int32_t> prompt(static_cast<size_t>(kMaxRows - StandInVision::kRows - 10), 7);
    CHECK(ask({{0, prompt}}, up_to(11))[0].tokens == expected(10, prompt, 11));
    CHECK_THROWS_WITH_AS(ask({{0, prompt}}, up_to(12)), doctest::Contains("room for 11"), InputError);
    const std::vector<int32_t> long_prompt(static_cast<size_t>(kMaxRows), 7);
    CHECK_THROWS_WITH_AS(ask({{0, long_prompt}}, up_to(1)), doctest::Contains("shorten it"), InputError);
}

TEST_CASE_FIXTURE(Fixture, "what cannot be answered is refused before an engine runs") {
    CHECK_THROWS_AS(ask({}, up_to(1)), InputError);
    CHECK_THROWS_AS(ask({{2, {1}}}, up_to(1)), InputError);
    CHECK_THROWS_AS(ask({{0, {}}}, up_to(1)), InputError);
    CHECK_THROWS_AS(ask({{0, {1}}}, up_to(0)), InputError);
    CHECK(vision->runs == 0);
}
