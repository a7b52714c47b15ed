"""cameras.toml: what it may say, and what is said of one that is wrong: line, column, what was meant."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stream_results import stream_result

from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.errors import InputError
from palijet.runtime.page.options import PageOptions
from palijet.runtime.sinks.json_lines import JsonLines
from palijet.runtime.sinks.open_sink import open_sink
from palijet.runtime.sinks.sink import AnsweredFrame
from palijet.runtime.watch.cameras_toml import ModelConfig, WatchConfig, read_cameras
from palijet.runtime.watch.condition import parse_condition
from palijet.runtime.watch.toml_positions import TomlPositions
from palijet.runtime.watch.watched import Changes, Prompt, WatchedCamera, differences
from palijet.runtime.zones import Line, Zone

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).parent.parent / "docs" / "cameras.md"
BELT = '[[camera]]\nname = "belt"\nsource = "rtsp://10.0.0.21/stream"\nprompts = ["detect part"]\n'  # four lines
Read = Callable[[str], WatchConfig]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_text(text: str) -> WatchConfig:
        path = tmp_path / "cameras.toml"
        path.write_text(text, encoding="utf-8")
        return read_cameras(path)

    return read_text


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The example of docs/cameras.md, as one would have it."""
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: pip install 'palijet[mqtt]'")
    monkeypatch.setenv("BELT_PASSWORD", "belt-secret")
    monkeypatch.setenv("MQTT_PASSWORD", "mqtt-secret")
    monkeypatch.chdir(tmp_path)
    found = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert found
    return found[1]


def test_a_camera_needs_a_name_a_source_and_a_prompt_and_the_rest_is_as_usual(read: Read) -> None:
    config = read(BELT)
    assert config == WatchConfig(cameras=(WatchedCamera("belt", "rtsp://10.0.0.21/stream", (Prompt("detect part"),)),))


def test_the_documented_example_says_what_the_page_says_it_does(read: Read, example: str) -> None:
    config = read(example)
    belt, door = config.cameras
    assert config.model == ModelConfig(bundle="bundles/belt")
    assert config.page == PageOptions(port=8080)
    assert belt == WatchedCamera(
        name="belt",
        source="rtsp://viewer:belt-secret@10.0.0.21/stream1",
        prompts=(
            Prompt("detect bolt ; washer", name="parts", track=True),
            Prompt("caption", every_s=10, when=parse_condition('count("parts") >= 3')),
        ),
        fps=10,
        priority=1,
        max_staleness=1.0,
        options=CameraOptions(crop=(160, 0, 1760, 1080), silence_s=3),
        zones=(Zone("tray", ((0, 0.2), (0.5, 0.2), (0.5, 0.9), (0, 0.9))),),
        lines=(Line("exit", (0.3, 0), (0.3, 1)),),
    )
    assert (door.fps, door.skip_unchanged, door.options.rotation) == (5, True, 180)
    assert door.prompts[1].choices == ("yes", "no")
    assert [sink.address.partition("@")[2] or sink.address for sink in config.sinks] == [
        "results.jsonl",
        "snapshots:pictures",
        "broker.local/factory",
    ]
    lines = open_sink(config.sinks[0].address, config.sinks[0].options)
    assert isinstance(lines, JsonLines)
    assert (lines.options.max_bytes, lines.options.keep) == (100_000_000, 7)
    assert "secret" not in repr(config.sinks)


def test_every_key_has_its_place_in_the_documentation() -> None:
    page = PAGE.read_text(encoding="utf-8")
    keys = {field.name for kind in (CameraOptions, PageOptions) for field in fields(kind)}
    keys |= {"fps", "priority", "every", "max_staleness_s", "skip_unchanged", "realtime", "enabled", "prompts", "name"}
    keys |= {"source", "text", "every_s", "when", "choices", "max_tokens", "track", "polygon", "anchor", "from", "to"}
    keys |= {"bundle", "backend", "threads", "max_batch", "drafts", "pipeline", "address"}
    for address in ("-", "a.mp4", "snapshots:a", "mqtt://a", "https://a"):
        with pytest.raises(InputError) as error:
            open_sink(address, {"no such option": 1})
        keys |= set(str(error.value).partition("; it has ")[2].split(", "))
    assert {key for key in keys if f"`{key}`" not in page} == set()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "line 1, column 1: there is no camera; add one"),
        (BELT + "promt = []", "line 5, column 1: camera has no key 'promt'; did you mean 'prompt'?"),
        (BELT + '  [[camera.prompt]]\n  txt = "a"', "line 6, column 3: prompt has no key 'txt'; did you mean 'text'?"),
        ("[[cameras]]", "line 1, column 3: the file has no key 'cameras'; did you mean 'camera'?"),
        (BELT + "[modle]", "line 5, column 2: the file has no key 'modle'; did you mean 'model'?"),
        (BELT + 'fps = "fast"', "line 5, column 1: fps must be a number, is 'fast'"),
        (BELT + "fps = true", "line 5, column 1: fps must be a number, is true"),
        (BELT + "fps = -1", "line 5, column 1: fps is -1.0; give frames per second above 0"),
        (BELT + "fps = nan", "line 5, column 1: fps is nan; give frames per second above 0"),
        (BELT + "width = 3.5", "line 5, column 1: width must be a whole number, is 3.5"),
        (BELT + "rotation = 45", "line 5, column 1: rotation is 45; give 0, 90, 180 or 270"),
        (BELT + "crop = [1, 2, 3]", "line 5, column 1: crop must have 4 values, has 3"),
        (BELT + "crop = [1, 2, 0, 0]", "line 5, column 1: crop is 1,2,0,0; give x0,y0,x1,y1 with x0 < x1"),
        (BELT + 'transport = "quic"', "line 5, column 1: transport is 'quic'; give tcp or udp"),
        (BELT + "silence_s = 0", "line 5, column 1: silence_s is 0.0; give seconds above 0"),
        ("[defaults]\nfps = 'x'\n" + BELT, "line 2, column 1: fps must be a number, is 'x'"),
        ("[defaults]\nrotation = 1\n" + BELT, "line 2, column 1: rotation is 1; give 0, 90, 180 or 270"),
        ("[defaults]\nname = 'x'\n" + BELT, "line 2, column 1: defaults has no key 'name'"),
        ('[[camera]]\nname = "belt"', "line 1, column 3: camera has no source; give one: source = …"),
        (BELT.replace("belt", ""), "line 2, column 1: a camera's name is empty"),
        (BELT.replace('["detect part"]', '"caption"'), "line 4, column 1: prompts must be a list, is 'caption'"),
        (BELT.replace("detect part", " "), "line 4, column 1: a prompt is empty"),
        (BELT.replace("detect part", 'a", "a'), "line 4, column 1: belt is asked 'a' twice"),
        (BELT.replace('"detect part"', ""), "line 1, column 3: nothing is asked about belt; give a prompt"),
        (
            BELT + BELT,
            "line 6, column 1: two cameras are called 'belt', the other at cameras.toml, line 2, column 1; rename one",
        ),
        (BELT + "enabled = false", "line 1, column 3: no camera is enabled"),
        (BELT.replace("rtsp", "rstp"), "line 3, column 1: rstp:// is no source; did you mean r"),
        (BELT + "[model]\nbackend = 'gpu'", "line 6, column 1: backend is 'gpu'; give auto, tensorrt, cuda, cpu"),
        (BELT + "[model]\nthreads = -1", "line 6, column 1: threads must be a whole number, >= 0, is -1"),
        (BELT + "[page]\nport = 99999", "line 6, column 1: the page's port is 99999; give 1 to 65535"),
        (BELT + "[page]\ntoken = 12345678", "line 6, column 1: token must be a text in quotes, is ***"),
        (BELT + "[[sink]]\nkeep = 1", "line 5, column 3: a sink has no address; give one"),
        (BELT + "[[sink]]\naddress = 'a.doc'", "line 5, column 3: a.doc is no sink; give -, FILE.jsonl"),
        (BELT + "[[sink]]\naddress = '-'\nkeeep = 1", "line 7, column 1: - has no option keeep; it has"),
        (BELT + "[[sink]]\naddress = '-'\nkeep = 'x'", "line 7, column 1: keep must be a whole number, is 'x'"),
        (
            BELT + "[[sink]]\naddress = '-'\nwhen = '\"a\" > 0'",
            "line 7, column 1: when names 'a', which no camera is asked",
        ),
        (
            BELT + "[[camera.zone]]\nname = 'z'\npolygon = [[0, 0], [1, 0], [640, 480]]",
            "line 7, column 1: polygon of zone z has the point 640, 480; give fractions of the picture, from 0 to 1",
        ),
        (
            BELT + "zone = [{name = 'z', polygon = [[0, 0], [1, 0], [1, 1]], anchor = 'foot'}]",
            "line 5, column 58: anchor is 'foot'; give center or bottom",
        ),
        (
            BELT + "line = [{name = 'l', from = [0, 0], two = [1, 1]}]",
            "line 5, column 37: line has no key 'two'; did you mean 'to'?",
        ),
        (
            BELT + "line = [{name = 'l', from = [0, 0], to = [1, 1]}]",
            "belt counts in l, but follows nothing; set track = true for a prompt of it",
        ),
    ],
)
def test_an_error_says_where_it_is_and_what_was_meant(read: Read, text: str, error: str) -> None:
    with pytest.raises(InputError) as raised:
        read(text)
    assert str(raised.value).startswith("cameras.toml, line ")
    assert error in str(raised.value)
    assert str(raised.value).count("cameras.toml") == 1 + error.count("cameras.toml")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a = ", "cameras.toml, line 1, column 5: invalid value; that is no TOML"),
        ("a = 1\nb = [1,\n\n", "cameras.toml, line 4, column 1: invalid value; that is no TOML"),
        ("a = 1\na = 2\n", "cameras.toml, line 2, column"),
        ("[[camera]\n", "cameras.toml, line 1, column"),
    ],
)
def test_what_is_no_toml_is_said_with_its_place(read: Read, text: str, error: str) -> None:
    with pytest.raises(InputError, match=re.escape(error)):
        read(text)


def test_a_file_that_is_not_there_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml cannot be read: No such file"):
        read_cameras(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_cameras(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(InputError, match=r"latin\.toml is not UTF-8"):
        read_cameras(tmp_path / "latin.toml")


def prompt(text: str, when: str | None = None, name: str | None = None) -> str:
    lines = ["[[camera.prompt]]", f"text = '{text}'"]
    lines += [f"when = '{when}'"] if when else []
    lines += [f"name = '{name}'"] if name else []
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("prompts", "error"),
    [
        (
            prompt("caption", '"detect prat" > 0'),
            "line 7, column 1: when names 'detect prat', which belt is not asked; it is asked detect part, caption",
        ),
        (
            prompt("caption", '"detect part" >'),
            "line 7, column 1: when is no condition: column 16: expected a number, but",
        ),
        (
            prompt("caption", '"caption" == "a"'),
            "the conditions hang on one another: 'caption' on 'caption'; free one of them",
        ),
        (
            prompt("a", '"two" > 0', "one") + prompt("b", '"three" > 0', "two") + prompt("c", '"one" > 0', "three"),
            "line 7, column 1: the conditions hang on one another: 'one' on 'two' on 'three' on 'one'; free one of them",
        ),
    ],
)
def test_a_condition_that_cannot_be_is_said(read: Read, prompts: str, error: str) -> None:
    with pytest.raises(InputError, match=re.escape(error)):
        read(BELT + prompts)


def test_conditions_may_hang_on_conditions(read: Read) -> None:
    text = (
        BELT + prompt("c", '"b" > 0 or "a" > 0') + prompt("b", '"a" > 0') + prompt("a", '"detect part" contains "bolt"')
    )
    assert [one.text for one in read(text).cameras[0].prompts] == ["detect part", "c", "b", "a"]


def test_a_cameras_own_keys_go_before_the_defaults_and_its_prompts_replace_all_of_them(read: Read) -> None:
    defaults = "[defaults]\nfps = 2\nrotation = 90\nprompts = ['caption']\n[[defaults.prompt]]\ntext = 'ocr'\n"
    cameras = (
        "[[camera]]\nname = 'a'\nsource = '0'\nfps = 3\n[[camera]]\nname = 'b'\nsource = '1'\nprompts = ['count']\n"
    )
    a, b = read(defaults + cameras).cameras
    assert (a.fps, a.options.rotation, [one.text for one in a.prompts]) == (3, 90, ["caption", "ocr"])
    assert (b.fps, b.options.rotation, [one.text for one in b.prompts]) == (2, 90, ["count"])


def test_variables_of_the_environment_are_put_in_and_a_missing_one_is_named(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "se$cret")
    text = BELT.replace("10.0.0.21", "ann:${CAMERA_PASSWORD}@10.0.0.21").replace("detect part", "$${x} ${} $5")
    (camera,) = read(text).cameras
    assert camera.source == "rtsp://ann:se$cret@10.0.0.21/stream"
    assert camera.prompts[0].text == "${x} ${} $5"
    monkeypatch.delenv("CAMERA_PASSWORD")
    with pytest.raises(InputError, match="line 3, column 1: CAMERA_PASSWORD is not set in the environment"):
        read(text)


def test_no_error_holds_a_password(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "tell-nobody")
    for source in (
        "rstp://ann:tell-nobody@h/x",
        "rtsp://ann:${PASSWORD}@h:x/",
        "rtsp://a:tell-nobody/@h",
        "rtp://a:${PASSWORD}@h",
    ):
        with pytest.raises(InputError) as error:
            read(BELT.replace("rtsp://10.0.0.21/stream", source))
        assert "tell-nobody" not in str(error.value)
    for line in ("fps = 'rtsp://a:tell-nobody@h'", "[page]\ntoken = ['tell-nobody']", "[page]\ntoken = '${PASSWORD}!'"):
        with pytest.raises(InputError) as error:
            read(BELT + line)
        assert "tell-nobody" not in str(error.value)


def test_a_reload_tells_added_removed_changed_and_kept_cameras_apart(read: Read) -> None:
    def cameras(*names: str, extra: str = "") -> tuple[WatchedCamera, ...]:
        return read("".join(BELT.replace("belt", name) for name in names) + extra).cameras

    old = cameras("a", "b", "c", extra="fps = 5\n[[camera.prompt]]\ntext = 'x'\nwhen = '\"detect part\" > 0'")
    assert differences(old, old) == Changes(added=(), removed=(), changed=(), kept=("a", "b", "c"))
    again = cameras(
        "a", "b", "c", extra="fps = 5.0  # the same\n[[camera.prompt]]\nwhen = '(\"detect part\">0)'\ntext = 'x'"
    )
    assert differences(old, again).kept == ("a", "b", "c")
    new = cameras("d", "c", "b")
    assert differences(old, new) == Changes(added=("d",), removed=("a",), changed=("c",), kept=("b",))
    assert str(differences(old, new)) == "d added; a removed; c changed; b kept"


def test_a_snapshots_condition_is_about_an_answered_frame(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    text = BELT + prompt("how many people", name="people")
    sink = f"[[sink]]\naddress = 'snapshots:{folder}'\nwhen = '\"people\" > 1'\n"
    (snapshots,) = read(text + sink).sinks
    assert not folder.exists()
    open_sink(snapshots.address, snapshots.options)
    when = snapshots.options["when"]
    frame: Any = None
    for count, holds in (("0", False), ("2", True), ("many", False)):
        result = stream_result(count, prompt="how many people")
        assert when(AnsweredFrame("belt", frame, (result,), keys=("people",))) is holds
        assert when(AnsweredFrame("a camera of a reload", frame, (result,), keys=("people",))) is holds
    assert not when(AnsweredFrame("belt", frame, ()))


@pytest.mark.parametrize("size", [1, 50, 400])
def test_the_first_error_of_a_long_file_is_found_in_it(read: Read, size: int) -> None:
    text = "".join(BELT.replace("belt", f"camera-{number}") for number in range(size))
    with pytest.raises(InputError, match=f"line {size * 4 + 2}, column 3: zone has no key 'nme'"):
        read(text + "[[camera.zone]]\n  nme = 1\n")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_a_file_is_read_or_said(read: Read, example: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(example)))
    length = data.draw(st.integers(0, 40))
    put = data.draw(
        st.one_of(
            st.just(""), st.text(max_size=5), st.sampled_from(['"', "[", "]]", "\n", "= 1\n", "${X}", "[[camera]]"])
        )
    )
    said = None
    try:
        read(example[:start] + put.replace("\r", "") + example[start + length :])
    except InputError as error:
        said = str(error)
    assert said is None or re.match(r"cameras\.toml, line \d+, column \d+: .", said)


KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
BLANKS = st.sampled_from(["", "# a = 1", "  # [x]", "\t"])
VALUES = st.sampled_from(
    ['"x"', "'a = 1'", "[\n 1,\n 2 # b = 2\n]", '"""\n[[t]]\nk = 1\n"""', "{ }", "1e3", "1979-05-27", "[[1], [2]]"]
)


LINES = st.lists(st.tuples(KEYS, st.integers(0, 3), VALUES, BLANKS), max_size=4, unique_by=lambda line: line[0])


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, BLANKS, LINES), max_size=5))
def test_every_key_of_a_sound_file_is_found_where_it_was_written(
    tables: list[tuple[str, str, list[tuple[str, int, str, str]]]],
) -> None:
    lines: list[str] = []
    written: dict[tuple[str | int, ...], tuple[int, int]] = {}
    seen: dict[str, int] = {}
    for name, blank, keys in tables:
        number = seen[name] = seen.get(name, -1) + 1
        lines += [blank, f"[[{name}]]"]
        written[name, number] = (len(lines), 3)
        for key, indent, value, after in keys:
            written[name, number, key] = (len(lines) + 1, indent + 1)
            lines += [*f"{' ' * indent}{key} = {value}".split("\n"), after]
    text = "\n".join(lines)
    positions = TomlPositions(text, tomllib.loads)
    assert {path: positions.of(path) for path in written} == written


def test_keys_in_quotes_with_dots_and_in_inline_tables_have_places_too() -> None:
    text = '[a."b c".d]\n"e f" = 1\ng.h = { i = { j = 1 }, k = [{ l = 2 }] }\n'
    positions = TomlPositions(text, tomllib.loads)
    table = ("a", "b c", "d")
    assert positions.of(("a", "b c")) == (1, 4)
    assert positions.of((*table, "e f")) == (2, 1)
    assert positions.of((*table, "g", "h")) == (3, 3)
    assert positions.of((*table, "g", "h", "i", "j")) == (3, 15)
    assert positions.of((*table, "g", "h", "k", 0, "l")) == (3, 31)
    assert positions.of((*table, "nowhere", 3)) == positions.of(table)


def test_a_configuration_can_be_compared_and_changed_but_not_written_to(read: Read) -> None:
    config = read(BELT)
    assert replace(config, cameras=()) != config
    with pytest.raises(AttributeError):
        config.cameras = ()  # type: ignore[misc]
