"""The peer benchmark's own works: statistics, tables, drivers that answer, die or hang; engines are stand-ins unless named.

Stand-in drivers are real processes that speak the real protocol and make their figures up.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks.peers.agreement import Agreement, Reference, agreement, prompt_ids
from benchmarks.peers.child import ChildError, run_logged
from benchmarks.peers.driver_process import DriverError, DriverProcess
from benchmarks.peers.engines import ENGINES, Engine
from benchmarks.peers.environments import Environments, names
from benchmarks.peers.gemma_cpp import parse_gemma_cpp
from benchmarks.peers.models import RECIPES, Models, NoRoomError, Shape
from benchmarks.peers.spread import Spread
from benchmarks.peers.table import COLUMNS, Row, markdown
from benchmarks.peers.turns import Runner, Turn, Work, take_turns
from benchmarks.shaped_checkpoint import write_checkpoint

ROOT = Path(__file__).parent.parent
DRIVERS = ROOT / "benchmarks" / "peers" / "drivers"
WORK = Work(prompt=(2, 5, 6), tokens=4, threads=1, timeout_s=20)

STAND_IN = """
import sys, time
sys.path.insert(0, {drivers!r})
from protocol import serve

def load(model, threads, **options):
    if options.get("dies"): raise OSError("no such model")
    return {{"load_s": 0.5, "weights_bytes": 2000, "bytes_per_token": 1000, "versions": {{"stand-in": "1"}}}}

def generate(prompt, count):
    print("an engine's own talk")
    {trouble}
    return {{"ttft_ms": 10.0, "token_ms": [2.0] * (count - 1), "tokens": list(range(count))}}

def score(prompt, targets, count=0):
    return {{"logprobs": [-1.0] * len(targets)}}

serve({{"load": load, "generate": generate, "score": score}})
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., Runner]:
    """A runner of a stand-in driver; trouble: what it does in place of generating."""

    def make(name: str = "stand-in", trouble: str = "pass", **options: object) -> Runner:
        script = tmp_path / f"{name}.py"
        script.write_text(STAND_IN.format(drivers=str(DRIVERS), trouble=trouble))
        engine = Engine(name, "made up", 8, "", script.name, options=options)
        return Runner(engine, (sys.executable, str(script)), tmp_path, tmp_path / f"{name}.log")

    return make


def turns(runners: list[Runner], failed: dict[str, str], rounds: int = 1, work: Work = WORK) -> list[Turn]:
    return list(take_turns(runners, rounds, work, failed, measure_bandwidth=lambda threads: 1e6))


def test_spreads_are_numpys_percentiles() -> None:
    samples = list(np.random.default_rng(0).lognormal(size=41))
    spread = Spread.of(samples)
    assert spread is not None
    np.testing.assert_allclose(
        [spread.low, spread.median, spread.high], np.percentile(samples, [25, 50, 75]), rtol=1e-12
    )
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)
    assert Spread.of([]) is None
    assert Spread(0.5, 1.25, 2).text(1, factor=10) == "12.5 (5.0 - 20.0)"


def test_engines_take_turns_and_begin_with_another_each_round(stand_in: Callable[..., Runner]) -> None:
    failed: dict[str, str] = {}
    seen = turns([stand_in("a"), stand_in("b"), stand_in("c")], failed, rounds=2)
    assert [(turn.round, turn.engine[0]) for turn in seen] == [
        (0, "a"),
        (0, "b"),
        (0, "c"),
        (1, "b"),
        (1, "c"),
        (1, "a"),
    ]
    assert failed == {}
    first = seen[0]
    assert (first.ttft_ms, first.token_ms, first.tokens) == (10.0, [2.0] * 3, [0, 1, 2, 3])
    assert first.peak_resident_bytes > first.peak_anonymous_bytes > 1e6
    # 1000 bytes in 2 ms are 0.5 MB/s, of 1 MB/s
    assert first.bandwidth_share == pytest.approx(0.5)


def test_what_an_engine_prints_is_no_answer_but_in_the_log(stand_in: Callable[..., Runner]) -> None:
    runner = stand_in()
    assert len(turns([runner], {})) == 1
    assert "an engine's own talk" in runner.log.read_text()


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("raise MemoryError('9 GB are not there')", "generate: MemoryError: 9 GB are not there"),
        (
            "import os; print('torn apart', flush=True); os.kill(os.getpid(), 9)",
            "ended with code -9 instead of an answer",
        ),
        ("time.sleep(60)", "no answer to generate within 2 s"),
        ("count -= 1", "timed 2 later tokens; 3 were asked for"),
    ],
)
def test_a_driver_that_fails_is_left_out_and_the_others_go_on(
    trouble: str, reason: str, stand_in: Callable[..., Runner]
) -> None:
    failed: dict[str, str] = {}
    work = Work(WORK.prompt, WORK.tokens, WORK.threads, timeout_s=2)
    seen = turns([stand_in("bad", trouble), stand_in("good")], failed, rounds=2, work=work)
    assert [turn.engine for turn in seen] == ["good made up"] * 2
    assert list(failed) == ["bad made up"]
    assert reason in failed["bad made up"]
    assert no_children()


def no_children() -> bool:
    time.sleep(0.1)
    return not [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_a_driver_that_cannot_load_tells_why(stand_in: Callable[..., Runner]) -> None:
    failed: dict[str, str] = {}
    assert turns([stand_in(dies=True)], failed) == []
    assert "load: OSError: no such model" in failed["stand-in made up"]


def test_a_driver_that_babbles_is_an_error(tmp_path: Path) -> None:
    with (
        DriverProcess([sys.executable, "-c", "input(); print('hello')"], tmp_path / "log") as driver,
        pytest.raises(DriverError, match="no JSON: 'hello"),
    ):
        driver.ask({"do": "load"}, 20)


def test_what_a_driver_cannot_do_is_said(stand_in: Callable[..., Runner]) -> None:
    with stand_in().start(1) as driver, pytest.raises(DriverError, match="cannot answer"):
        driver.ask({"do": "answer"}, 20)


def test_ending_a_driver_ends_what_it_started(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '99']); print(1, flush=True); input()"
    with DriverProcess([sys.executable, "-c", code], tmp_path / "log") as driver:
        driver._answers.get(timeout=20)
        (grandchild,) = psutil.Process(driver._child.pid).children()
    psutil.wait_procs([grandchild], timeout=5)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_a_command_that_fails_is_told_by_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match=r"no matching distribution \(exit code 3"):
        run_logged([sys.executable, "-c", "print('no matching distribution\\n'); exit(3)"], tmp_path / "log")


def turn(engine: str, number: int, token_ms: list[float], vision_ms: float | None = None) -> Turn:
    return Turn(
        engine=engine, round=number, started_at=0, load_s=2, first_ttft_ms=900, ttft_ms=400 + number, token_ms=token_ms,
        vision_ms=vision_ms, tokens=[1, 2], peak_resident_bytes=3_000_000_000 + number, peak_anonymous_bytes=1_000_000_000,
        weights_bytes=2_000_000_000, bytes_per_token=1_500_000_000, bandwidth_before=3e10, bandwidth_after=2e10,
        load_average=0.1, versions={},
    )  # fmt: skip


def test_a_table_has_medians_and_quartiles_of_all_rounds() -> None:
    row = Row(Engine("palijet", "int4", 4, "", ""), [turn("", 0, [60, 70]), turn("", 1, [80, 90])])
    row.agreement = Agreement(0.0123, 2)
    cells = dict(zip(COLUMNS, markdown([row], tokens=2).splitlines()[2].strip("| ").split(" | "), strict=True))
    assert cells == {
        "engine": "palijet",
        "precision": "int4",
        "first token ms": "400 (400 - 401)",
        "ms per token": "75.0 (67.5 - 82.5)",
        "bandwidth GB/s": "25.0",
        "share of it": "81 %",  # 1.5 GB in 65 and in 85 ms, of 25 GB/s: 92 % and 71 %
        "load s": "2.0",
        "peak memory GB": "3.00",
        "anonymous GB": "1.00",
        "weights GB": "2.00",
        "read per token GB": "1.50",
        "log-probability error": "0.012",
        "tokens as float32's": "2 of 2",
    }


def test_an_engine_without_figures_has_its_reason_in_the_table() -> None:
    absent = Row(Engine("openvino", "int4", 4, "", ""), failure="pip says | no\nroom")
    stopped = Row(Engine("palijet", "int4", 4, "", ""), [turn("", 0, [1.0], vision_ms=90)], failure="hung")
    stopped.agreement_failure = "no reference"
    table = markdown([absent, stopped], tokens=2)
    lines = table.splitlines()
    assert "no figures: pip says \\| no room" in lines[2]
    assert all(line.replace("\\|", "").count("|") == len(COLUMNS) + 1 for line in lines[:4])
    assert "palijet int4: vision encoder 90 (90 - 90) ms" in table
    assert "palijet int4 stopped after 1 rounds: hung" in table
    assert "palijet int4 was not compared: no reference" in table


def test_agreement_is_the_error_of_log_probabilities_and_the_tokens_before_the_first_other(
    stand_in: Callable[..., Runner],
) -> None:
    expected = Reference(targets=[7, 8], logprobs=[-1.0, -4.0], tokens=[0, 1, 9, 3])
    found = agreement(stand_in(), expected, WORK, [0, 1, 2, 3])
    assert found.logprob_error == pytest.approx(3 / np.sqrt(2))
    assert found.tokens_alike == 2


def test_prompts_are_the_same_words_every_time() -> None:
    prompt = prompt_ids(272, 257216)
    assert prompt == prompt_ids(272, 257216)
    assert prompt[0] == 2
    assert min(prompt[1:]) >= 300
    assert max(prompt) < 257216 - 1024 - 128 - 64
    assert len(set(prompt)) > 250


def test_every_engine_has_its_driver_its_recipe_and_its_environment() -> None:
    for engine in ENGINES:
        assert (DRIVERS / engine.driver).is_file()
        assert engine.model == "checkpoint" or engine.model in RECIPES
        assert engine.peer in {*names(), "palijet"}
    for recipe in RECIPES.values():
        assert recipe.environment in {*names(), "palijet"}
        assert set(recipe.needs) <= {*RECIPES, "checkpoint"}
    assert len({engine.name for engine in ENGINES}) == len(ENGINES)


def test_requirements_are_pinned() -> None:
    for file in (ROOT / "benchmarks/peers/requirements").glob("*.txt"):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        assert lines
        assert all("==" in line for line in lines), file


def environments(tmp_path: Path, **given: Path) -> Environments:
    return Environments(tmp_path, given, lambda what: None)


def test_a_python_of_the_users_own_is_taken_as_it_is(tmp_path: Path) -> None:
    assert environments(tmp_path, transformers=Path("/own/python")).python("transformers") == Path("/own/python")
    assert environments(tmp_path).python("palijet") == Path(sys.executable)
    with pytest.raises(ValueError, match="no environment pytorch"):
        environments(tmp_path, pytorch=Path("/own/python"))


def test_an_environment_is_made_once_and_removed_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    (requirements / "nothing.txt").write_text("# no packages: this test is offline\n")
    monkeypatch.setattr("benchmarks.peers.environments._REQUIREMENTS", requirements)
    said: list[str] = []
    kept = Environments(tmp_path / "cache", {}, said.append)
    python = kept.python("nothing")
    assert subprocess.run([python, "-c", "print(1)"], capture_output=True, text=True).stdout == "1\n"
    assert kept.python("nothing") == python
    assert len(said) == 1
    (requirements / "nothing.txt").write_text("# other requirements\n")
    kept.python("nothing")
    assert len(said) == 2
    assert kept.remove("nothing")
    assert not python.exists()
    assert not kept.remove("nothing")


def test_an_environment_that_cannot_be_made_is_not_left_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    (requirements / "broken.txt").write_text("./no-such-package\n")
    monkeypatch.setattr("benchmarks.peers.environments._REQUIREMENTS", requirements)
    with pytest.raises(ChildError, match="environment-broken"):
        environments(tmp_path).python("broken")
    assert not (tmp_path / "environments" / "broken").exists()


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """One layer of full width and a small vocabulary."""
    folder = tmp_path_factory.mktemp("peers")
    return Models(folder, Shape(1, 4096), environments(folder), None, lambda what: None)


@pytest.mark.slow
def test_a_bundle_of_the_shaped_checkpoint_is_driven_and_is_transformers_own(
    small_models: Models, tmp_path: Path
) -> None:
    """Export, driver, clock and comparison with nothing pretended; int4's tokens are not asked to be float32's."""
    pytest.importorskip("transformers", reason="the oracle extra is not installed: pip install -e '.[oracle]'")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", "--only", "palijet,transformers", "--bits", "16", "--rounds", "1",
         "--layers", "1", "--vocabulary", "4096", "--tokens", "6", "--cache", str(tmp_path / "cache"),
         "--output", str(tmp_path / "out"), "--python", f"transformers={sys.executable}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    group = record["groups"]["16 bits"]
    for name in ("transformers bf16", "palijet fp16"):
        assert group[name]["failure"] is None
        assert len(group[name]["turns"][0]["token_ms"]) == 5
        assert group[name]["agreement"]["logprob_error"] < 0.05
    assert group["palijet fp16"]["agreement"]["tokens_alike"] == 6
    assert "| palijet | fp16 |" in done.stdout
    assert (tmp_path / "out" / "16-bits.png").stat().st_size > 1000


def test_the_text_decoders_checkpoint_has_its_tensors_bit_for_bit(tmp_path: Path) -> None:
    from safetensors import safe_open

    write_checkpoint("paligemma-3b", 224, tmp_path / "whole", layers=1, vocabulary=2048)
    script = ROOT / "benchmarks/peers/converters/text_checkpoint.py"
    subprocess.run([sys.executable, script, tmp_path / "whole", tmp_path / "text"], check=True)
    index = json.loads((tmp_path / "whole" / "model.safetensors.index.json").read_text())["weight_map"]
    expected = {name.removeprefix("language_model.") for name in index if name.startswith("language_model.")}
    torch = pytest.importorskip("torch")
    with safe_open(tmp_path / "text" / "model.safetensors", "pt") as text:
        assert set(text.keys()) == expected
        for name in text.keys():  # noqa: SIM118 (not a dict)
            with safe_open(tmp_path / "whole" / index[f"language_model.{name}"], "pt") as shard:
                assert torch.equal(text.get_tensor(name), shard.get_tensor(f"language_model.{name}"))


def test_what_takes_too_much_memory_to_make_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models/paligemma-3b-224/checkpoint").mkdir(parents=True)
    shard = tmp_path / "models/paligemma-3b-224/checkpoint/model.safetensors"
    with shard.open("wb") as file:
        file.truncate(5_000_000_000)
    models = Models(tmp_path, Shape(), environments(tmp_path), 10_000_000_000, lambda what: None)
    with pytest.raises(NoRoomError, match=r"onnxruntime-genai-int8 takes about 21 GB of memory; 10 GB may be used"):
        models.get("onnxruntime-genai-int8")


GEMMA_STAND_IN = """#!{python}
import sys
print("  Enter an instruction and press enter (%C resets conversation, %Q quits).", flush=True)
for line in sys.stdin:
    words = len(line.split())
    print("\\n[ Reading prompt ] ", file=sys.stderr, end="")
    prefill = f"Prefill: 812 ms for {{words}} prompt tokens (333.74 tokens / sec); Time to first token: 871 ms"
    print(f"\\n\\n[ Timing info ] {{prefill}}", file=sys.stderr)
    print("an answer", flush=True)
    print("\\n[ Timing info ] Generate: 1860 ms for 31 tokens (17.20 tokens / sec)", file=sys.stderr, flush=True)
"""


def test_gemma_cpp_is_read_as_its_source_prints(tmp_path: Path) -> None:
    """Over a stand-in program, which prints what gemma/gemma.h and gemma/run.cc print."""
    program, weights = tmp_path / "gemma", tmp_path / "3b.sbs"
    program.write_text(GEMMA_STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    weights.write_bytes(bytes(1000))
    engine = parse_gemma_cpp(f"8,{program},{weights}")
    runner = Runner(engine, (sys.executable, str(DRIVERS / engine.driver)), Path(), tmp_path / "log")
    failed: dict[str, str] = {}
    (seen,) = turns([runner], failed)
    assert failed == {}
    assert (seen.ttft_ms, seen.token_ms, seen.tokens) == (871.0, [60.0], None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "vllm"], "there is no peer vllm"),
        (["--bits", "2"], "there is no group of 2 bits"),
        (["--vocabulary", "2048"], "less than 4096 has no room"),
        (["--python", "transformers=/none"], "/none is not a Python"),
        (["--rounds", "0"], "give 1 or more"),
        (["--gemma-cpp", "8,/none,/none"], "/none is not there"),
    ],
)
def test_options_that_are_wrong_are_said_before_anything_is_made(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "benchmarks.peers", "--cache", str(tmp_path / "cache"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_children(number: signal.Signals, tmp_path: Path) -> None:
    """A Python that hangs stands in for transformers' environment."""
    (tmp_path / "hangs").write_text("#!/bin/sh\nsleep 99\n")
    (tmp_path / "hangs").chmod(0o755)
    folder = tmp_path / "cache/models/paligemma-3b-224-1-layers-4096-words/checkpoint"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.peers", "--only", "transformers", "--bits", "16", "--layers", "1"]
    command += ["--vocabulary", "4096", "--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "out")]
    command += ["--python", f"transformers={tmp_path / 'hangs'}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    parent = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while not (sleeping := [child for child in parent.children(recursive=True) if child.name() == "sleep"]):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in sleeping)
