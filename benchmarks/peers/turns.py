"""Turns: an engine in a fresh process loads, warms up and answers once; between any two turns memory bandwidth is measured."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bandwidth import bandwidth
from .driver_process import DriverError, DriverProcess
from .engines import Engine

_WARM_UP_TOKENS = 4


@dataclass(frozen=True)
class Work:
    """What every engine is asked for."""

    prompt: tuple[int, ...]  # ids, the first one <bos>
    tokens: int  # of the answer, the first one included
    threads: int
    timeout_s: float  # for any one request


@dataclass(frozen=True)
class Runner:
    """An engine that is ready to be run."""

    engine: Engine
    command: tuple[str, ...]
    model: Path
    log: Path
    variables: dict[str, str] = field(default_factory=dict)

    def start(self, threads: int) -> DriverProcess:
        shared = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        return DriverProcess(self.command, self.log, shared | self.variables)

    def load_request(self, work: Work) -> dict[str, Any]:
        rows = len(work.prompt) + work.tokens
        limits = {"threads": work.threads, "rows": rows, "tokens": work.tokens}
        return {"do": "load", "model": str(self.model), **limits, **self.engine.options}


@dataclass(frozen=True)
class Turn:
    """What one turn showed."""

    engine: str
    round: int
    started_at: float  # seconds since 1970
    load_s: float
    first_ttft_ms: float  # of the warm-up: page faults, primitives compiled
    ttft_ms: float
    token_ms: list[float]  # [tokens - 1], or the mean of all of them
    vision_ms: float | None  # where there is a vision encoder; no part of ttft_ms
    tokens: list[int] | None
    peak_resident_bytes: int
    peak_anonymous_bytes: int
    weights_bytes: int
    bytes_per_token: int
    bandwidth_before: float  # bytes per second
    bandwidth_after: float
    load_average: float  # processes that wanted to run in the minute before: what else the machine did
    versions: dict[str, str]

    @property
    def bandwidth_share(self) -> float:
        """Of the bandwidth around this turn, how much the median decode step used."""
        return self.bytes_per_token / self.per_token_s / statistics.mean((self.bandwidth_before, self.bandwidth_after))

    @property
    def per_token_s(self) -> float:
        return statistics.median(self.token_ms) / 1000


def take_turns(
    runners: Sequence[Runner],
    rounds: int,
    work: Work,
    failed: dict[str, str],
    watch: Callable[[str], None] = lambda what: None,
    measure_bandwidth: Callable[[int], float] = bandwidth,
) -> Iterator[Turn]:
    """Every runner once a round, beginning with another one each round, so that none always follows the same.

    An engine that fails is left out from then on, with the reason in `failed`, by name. watch is told what happens.
    """
    before = measure_bandwidth(work.threads)
    for number in range(rounds):
        start = number % max(len(runners), 1)
        for runner in [*runners[start:], *runners[:start]]:
            if runner.engine.name in failed:
                continue
            watch(f"round {number + 1} of {rounds}: {runner.engine.name}")
            try:
                seen = _turn(runner, work)
            except DriverError as error:
                failed[runner.engine.name] = str(error)
                continue
            after = measure_bandwidth(work.threads)
            yield Turn(round=number, bandwidth_before=before, bandwidth_after=after, **seen)
            before = after


def _turn(runner: Runner, work: Work) -> dict[str, Any]:
    started_at, load_average = time.time(), os.getloadavg()[0]
    with runner.start(work.threads) as driver:
        loaded = driver.ask(runner.load_request(work), work.timeout_s)
        if "pid" in loaded:
            driver.watch_memory_of(loaded["pid"])
        request = {"do": "generate", "prompt": list(work.prompt)}
        warm_up = driver.ask({**request, "count": min(_WARM_UP_TOKENS, work.tokens)}, work.timeout_s)
        answer = driver.ask({**request, "count": work.tokens}, work.timeout_s)
        driver.memory.sample()
        memory = driver.memory
    if len(answer["token_ms"]) != work.tokens - 1 and not answer.get("mean_only"):
        raise DriverError(f"timed {len(answer['token_ms'])} later tokens; {work.tokens - 1} were asked for")
    return {
        "engine": runner.engine.name,
        "started_at": started_at,
        "load_s": loaded["load_s"],
        "first_ttft_ms": warm_up["ttft_ms"],
        "ttft_ms": answer["ttft_ms"],
        "token_ms": answer["token_ms"],
        "vision_ms": answer.get("vision_ms"),
        "tokens": answer["tokens"],
        "peak_resident_bytes": memory.resident_bytes,
        "peak_anonymous_bytes": memory.anonymous_bytes,
        "weights_bytes": loaded["weights_bytes"],
        "bytes_per_token": loaded["bytes_per_token"],
        "load_average": load_average,
        "versions": loaded["versions"],
    }
