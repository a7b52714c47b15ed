"""Ctrl-C while no Python runs: calls without a callback, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PRELUDE = """
import os, signal, sys, threading, time
import numpy as np, palijet
model = palijet.load(sys.argv[1], threads=1)
picture = np.zeros((9, 9, 3), np.uint8)
def ask(model=model, **options):
    return model.predict_batch([(picture, "caption en")], max_tokens=400, ignore_stop=True, **options)[0]
def ctrl_c_in(seconds):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
def longest_call():
    start = time.perf_counter()
    ask()
    return time.perf_counter() - start
"""


def run(script: str, bundle: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + script, str(bundle)], capture_output=True, text=True, timeout=60
    )


def test_ctrl_c_ends_a_call_in_which_no_python_runs(demo_bundle: Path) -> None:
    """The signal comes after a fifth of the call; without a watch no try would see it before the end.

    The best of several tries counts, so that a busy machine changes nothing.
    """
    done = run(
        """
whole = min(longest_call() for _ in range(3))
shares = []
for _ in range(8):
    ctrl_c_in(whole / 5)
    start = time.perf_counter()
    try:
        ask()
        time.sleep(5)
    except KeyboardInterrupt:
        shares.append((time.perf_counter() - start) / whole)
print(min(shares))
""",
        demo_bundle,
    )
    assert float(done.stdout) < 0.8, done.stderr


def test_a_call_that_waits_for_its_turn_is_interrupted_too(demo_bundle: Path) -> None:
    done = run(
        """
started, release = threading.Event(), threading.Event()
def hold(*token):
    started.set()
    release.wait(30)
holder = threading.Thread(target=ask, kwargs={"on_token": hold})
holder.start()
started.wait()
ctrl_c_in(0.1)
try:
    ask()
except KeyboardInterrupt:
    print("interrupted while another call holds the model:", not release.is_set())
release.set()
holder.join()
""",
        demo_bundle,
    )
    assert done.stdout.strip().endswith("True"), done.stderr


def test_sigint_kills_where_the_caller_chose_that(demo_bundle: Path) -> None:
    done = run("signal.signal(signal.SIGINT, signal.SIG_DFL); ctrl_c_in(0.02)\nwhile True: ask()", demo_bundle)
    assert done.returncode == -2


def test_ctrl_c_is_pythons_again_after_a_callback_asked_another_model(demo_bundle: Path) -> None:
    done = run(
        """
other = palijet.load(sys.argv[1], threads=1)
asked = []
def on_token(*token):
    if not asked:
        asked.append(other.predict(picture, "caption en"))
ask(on_token=on_token)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted")
""",
        demo_bundle,
    )
    assert done.stdout == "interrupted\n", done.stderr
