"""What a driver says to `python -m benchmarks.peers`: one line of JSON on standard output for each one on standard input.

    {"do": "load", "model": PATH, "threads": n, "rows": n, "tokens": n, ...}
        {"load_s": s, "weights_bytes": n, "bytes_per_token": n, "versions": {NAME: VERSION}}
    {"do": "generate", "prompt": [id, ...], "count": n}
        {"ttft_ms": ms, "token_ms": [ms, ...], "tokens": [id, ...]}
    {"do": "score", "prompt": [id, ...], "targets": [id, ...]}
        {"logprobs": [x, ...]}
    {"do": "answer", "frames": FILE.npy, "prompt": [id, ...], "count": n}
        {"answer_ms": [ms, ...], "tokens": [[id, ...], ...]}

load: rows and tokens are the longest sequence and answer that will come; weights_bytes are on the disk, bytes_per_token are
those that a decode step reads; "pid" where another process computes. generate: greedy, past end tokens; ttft_ms is from the
prompt to its first token, token_ms has the count - 1 later ones apart (or their mean, with "mean_only": true); tokens may be
null. score: natural logarithms of the probabilities of `targets`, each as the one token after the prompt. answer: from uint8
frames [n, height, width, 3] BGR to `count` tokens each. A driver answers what it can; the end of standard input ends it. What
goes wrong is {"error": SENTENCE} and exit code 1.

Only the standard library is imported here: every peer's environment runs it.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]


def serve(actions: dict[str, Callable[..., Answer]]) -> None:
    """Answer requests by `actions`, by name; a request's other members are the action's keyword arguments."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what engines print is no answer
    for line in sys.stdin:
        request = json.loads(line)
        what = request.pop("do")
        try:
            if what not in actions:
                raise ValueError(f"this driver cannot {what}, only {', '.join(actions)}")
            answer = actions[what](**request)
        except Exception as error:  # whatever an engine raises is for the parent to report
            traceback.print_exc()
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
            sys.exit(1)
        print(json.dumps(answer), file=answers, flush=True)
