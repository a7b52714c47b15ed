"""A bundle's decoder graph over plain text, causal and greedy: what other engines compute, so that numbers can be compared.

Rows see only earlier rows (prefix_length 0) and there is no picture. Not timed: the cache is copied for every token.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from protocol import Answer

from palijet.runtime import _native
from palijet.runtime.bundle import Bundle


class CausalDecoder:
    """One sequence; `engine` runs the bundle's decoder graph."""

    def __init__(self, bundle: Bundle, engine: _native.Engine) -> None:
        table = bundle.manifest.embeddings
        self._embeddings = _native.EmbeddingTable(
            str(bundle.embeddings), rows=table.rows, width=table.width, dtype=table.dtype, scale=table.scale
        )
        self._engine = engine
        decoder = bundle.manifest.decoder
        types = {name: element for name, element, _ in engine.inputs}
        self._real = np.dtype(types["inputs_embeds"])
        self._row = (decoder.kv_heads, decoder.head_dim)
        self._cached = [name for name in types if name.startswith(("past_key.", "past_value."))]
        self._rows = 0
        self._past = {
            name: np.zeros((1, 1, *self._row), self._real) for name in self._cached
        }  # a graph wants one at least

    def score(self, prompt: Sequence[int], targets: Sequence[int], count: int) -> Answer:
        """Log-probabilities of `targets`, each as the one token after the prompt, and `count` greedy tokens."""
        last = len(prompt) - 1
        outputs = self._run(prompt, [last] * len(targets), targets)
        tokens = [int(outputs["token"][0])]
        while len(tokens) < count:
            tokens.append(int(self._run(tokens[-1:], [0], [0])["token"][0]))
        return {"logprobs": [float(x) for x in outputs["target_logprob"]], "tokens": tokens}

    def _run(self, tokens: Sequence[int], wanted: Sequence[int], targets: Sequence[int]) -> dict[str, Any]:
        """Run the rows of `tokens` and keep their keys and values. wanted: rows [N] whose next token is asked for."""
        rows = np.stack([self._embeddings.gather(token) for token in tokens])[None]  # [1, T, H]
        feeds = {
            "inputs_embeds": rows.astype(self._real),
            "past_length": np.array([self._rows], np.int32),
            "prefix_length": np.zeros(1, np.int32),
            "logits_index": np.array(wanted, np.int32),
            "target": np.array(targets, np.int32),
            **self._past,
        }
        fresh = (1, len(tokens), *self._row)
        shapes: dict[str, Sequence[int]] = {name.replace("past_", "new_"): fresh for name in self._cached}
        chosen = dict.fromkeys(("token", "logprob", "target_logprob"), (len(wanted),))
        outputs = self._engine.run(feeds, shapes | chosen)
        for name in self._cached:
            kept = self._past[name][:, : self._rows]
            self._past[name] = np.concatenate([kept, outputs[name.replace("past_", "new_")]], axis=1)
        self._rows += len(tokens)
        return outputs
