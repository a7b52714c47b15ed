"""google/gemma.cpp's own program, kept running and fed prompts; the times are those that it prints.

What is read (gemma/gemma.h, TimingInfo, and gemma/run.cc at commit 3ed403e):
    Enter an instruction and press enter                            standard output, once the weights are loaded
    [ Timing info ] Prefill: 812 ms for 271 prompt tokens (333.74 tokens / sec); Time to first token: 871 ms
    [ Timing info ] Generate: 1860 ms for 32 tokens (17.20 tokens / sec)
It tells the mean of all tokens and not each one, and it takes text: the prompt is as many words as it has rows.
"""

import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from protocol import Answer, serve

_LOADED = re.compile(r"Enter an instruction")
_FIRST = re.compile(r"Prefill: \d+ ms for (\d+) prompt tokens .*Time to first token: (\d+) ms")
_ALL = re.compile(r"Generate: (\d+) ms for (\d+) tokens")
_WORD = " a"  # a token in Gemma's vocabulary


class GemmaCpp:
    def load(
        self, threads: int, rows: int, tokens: int, binary: str, weights: str, tokenizer: str | None, **_: object
    ) -> Answer:
        started = time.perf_counter()
        command = [binary, "--weights", weights, "--num_threads", str(threads), "--seq_len", str(rows + 64)]
        command += ["--max_generated_tokens", str(tokens), "--verbosity", "1"]
        command += ["--tokenizer", tokenizer] if tokenizer else []
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._program = subprocess.Popen(command, text=True, **pipes)
        self._said: queue.Queue[str] = queue.Queue()
        for stream in (self._program.stdout, self._program.stderr):
            threading.Thread(target=self._listen, args=(stream,), daemon=True).start()
        self._await(_LOADED)
        size = Path(weights).stat().st_size
        return {
            "load_s": time.perf_counter() - started,
            "weights_bytes": size,
            "bytes_per_token": size,
            "versions": {"gemma.cpp": binary},
            "pid": self._program.pid,
        }

    def generate(self, prompt: list[int], count: int) -> Answer:
        assert self._program.stdin is not None
        self._program.stdin.write(_WORD * len(prompt) + "\n")
        self._program.stdin.flush()
        first = self._await(_FIRST)
        total_ms, generated = map(int, self._await(_ALL).groups())
        return {
            "ttft_ms": float(first[2]),
            "token_ms": [total_ms / generated],
            "mean_only": True,
            "tokens": None,
            "rows": int(first[1]),
        }

    def _await(self, pattern: re.Pattern[str]) -> re.Match[str]:
        while line := self._said.get():
            print(line, end="", file=sys.stderr)
            if found := pattern.search(line):
                return found
        raise RuntimeError(f"gemma.cpp ended with code {self._program.wait()} before it said {pattern.pattern!r}")

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            self._said.put(line)
        self._said.put("")


if __name__ == "__main__":
    gemma = GemmaCpp()
    serve({"load": gemma.load, "generate": gemma.generate})
