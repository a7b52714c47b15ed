"""PaliJet beside the engines that a user would take instead: the same weights, prompt, threads and minute.

python -m benchmarks.peers [--only llama.cpp,palijet] [--bits 16,8,4] [--rounds 5] [--layers N] [--output out/peers]

Random weights in the shape of PaliGemma 3B's text decoder are made once and converted for every engine; each engine has a
virtual environment of its own, from PyPI, with pinned versions (requirements/). Environments and models stay in --cache.
Engines of one group of bits take turns, round by round, each in a fresh process that loads, warms up, answers once and ends:
what slows the machine slows all of them, and none is in memory beside another. Memory bandwidth is measured between any two
turns. How to run it, and what the columns mean: docs/performance.md.
"""
