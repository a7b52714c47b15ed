"""An address is parsed into what it names; what it must not tell is told nowhere; what is wrong with it is said with the mend."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from until import until

from palijet import SourceError
from palijet.runtime.cameras.camera import Camera
from palijet.runtime.cameras.status import CameraState
from palijet.runtime.sources import SourceKind, WatchedFolder, open_source, parse_uri, redact, register


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("clip.mp4", SourceKind.PATH, "clip.mp4"),
        ("/data/a b#c.mp4", SourceKind.PATH, "/data/a b#c.mp4"),
        ("file:///data/clip.mp4", SourceKind.PATH, "/data/clip.mp4"),
        ("dir:///data/parts?watch=1", SourceKind.FOLDER, "dir:///data/parts?watch=1"),
        ("0", SourceKind.DEVICE, "/dev/video0"),
        ("/dev/video3", SourceKind.DEVICE, "/dev/video3"),
        ("v4l2:///dev/video3", SourceKind.DEVICE, "/dev/video3"),
        ("v4l2:///dev/v4l/by-id/usb-cam-index0", SourceKind.DEVICE, "/dev/v4l/by-id/usb-cam-index0"),
        ("csi://1", SourceKind.CSI, "csi://1"),
        ("rtsp://cam.local/stream", SourceKind.RTSP, "rtsp://cam.local/stream"),
        ("RTSP://ann:pw@cam:8554/s?channel=1", SourceKind.RTSP, "rtsp://cam:8554/s?channel=1"),
        ("rtsps://[fe80::1]:322/s", SourceKind.RTSP, "rtsps://[fe80::1]:322/s"),
        ("rtsp://ann:p@ss@cam/s", SourceKind.RTSP, "rtsp://cam/s"),
        ("rtsp://cam/s?user=ann&password=pw&stream=0", SourceKind.RTSP, "rtsp://cam/s?user=***&password=***&stream=0"),
        ("rtsp://cam/user=ann_password=pw_channel=1.sdp", SourceKind.RTSP, "rtsp://cam/user=***"),
        ("rtp://239.0.0.1:5004?encoding=h265", SourceKind.RTP, "rtp://239.0.0.1:5004?encoding=h265"),
        ("https://cam/live.m3u8?access_token=abc", SourceKind.HTTP, "https://cam/live.m3u8?access_token=***"),
        ("gst://videotestsrc ! queue", SourceKind.PIPELINE, "gst://videotestsrc ! queue"),
        (
            'gst://rtspsrc location=rtsp://ann:pw@cam user-pw="a b" ! decodebin',
            SourceKind.PIPELINE,
            "gst://rtspsrc location=rtsp://cam user-pw=*** ! decodebin",
        ),
        ("gst://rtspsrc user-pw=pw!2;'& user-id=ann", SourceKind.PIPELINE, "gst://rtspsrc user-pw=***"),
        ("gst://rtspsrc user-pw=p/w!?2 ! fakesink", SourceKind.PIPELINE, "gst://rtspsrc user-pw=*** ! fakesink"),
        (r"gst://rtspsrc user-pw = p\ w ! fakesink", SourceKind.PIPELINE, "gst://rtspsrc user-pw = *** ! fakesink"),
        (
            'gst://souphttpsrc extra-headers="x,Authorization=Basic abc" ! decodebin',
            SourceKind.PIPELINE,
            'gst://souphttpsrc extra-headers="x,Authorization=*** ! decodebin',
        ),
    ],
)
def test_an_address_names_a_kind_and_is_shown_without_its_secrets(text: str, kind: SourceKind, shown: str) -> None:
    uri = parse_uri(text)
    assert (uri.kind, uri.shown) == (kind, shown)


def test_the_parts_of_an_address_are_those_that_it_was_written_with() -> None:
    uri = parse_uri("rtsp://ann:p%40s%2Fs@cam:8554/live?channel=1&token=abc")
    assert (uri.user, uri.password, uri.host, uri.port) == ("ann", "p@s/s", "cam", 8554)
    assert uri.address == "rtsp://cam:8554/live?channel=1&token=abc"
    assert parse_uri("dir://parts?watch=1").watch
    assert not parse_uri("dir://parts").watch
    rtp = parse_uri("rtp://:5004")
    assert (rtp.host, rtp.port, rtp.encoding) == ("0.0.0.0", 5004, "H264")
    assert parse_uri("7").path == "/dev/video7"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the source is empty"),
        ("rstp://cam/s", r"rstp:// is no source; did you mean rtsp://\?"),
        ("htps://cam/s", r"did you mean https?://\?"),
        ("smoke://signal", "smoke:// is no source; give a picture"),
        ("rtsp:cam/s", "rtsp: lacks its slashes"),
        ("rtsp:///s", r"rtsp:// has no host; give rtsp://HOST/PATH"),
        ("rtsp://cam:port/s", "a port or a host that is none"),
        ("rtsp://cam:99999/s", "a port or a host that is none"),
        ("rtsp://[cam/s", "a port or a host that is none"),
        ("rtsp://ann:a/b@cam/s", "write / as %2F and @ as %40"),
        ("rtp://239.0.0.1", "rtp:// has no port"),
        ("rtp://:5004?encoding=vp8", "cannot carry VP8; give .encoding=H264, H265, JPEG"),
        ("csi://front", r"give its number: csi://0"),
        ("v4l2://front", "names no device"),
        ("gst://  ", "gst:// has no pipeline"),
        ("file://", "file:// has no path"),
        ("a\nb", "a character that cannot be printed"),
    ],
)
def test_what_is_no_address_is_said_with_the_mend(text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        parse_uri(text)


awkward = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: f"S3CRET{text}T41L")


@given(
    awkward,
    st.sampled_from(["rtsp", "rtsps", "http", "https", "rtp", "rstp", "ftp"]),
    st.booleans(),
    st.sampled_from(["://", ":", ":/"]),
)
def test_a_password_is_never_told(password: str, scheme: str, quoted: bool, separator: str) -> None:
    text = f"{scheme}{separator}ann:{quote(password, safe='') if quoted else password}@cam.local:554/stream"
    try:
        uri = parse_uri(text)
        told = f"{uri!r} {uri.shown} {uri}"
        if quoted and separator == "://":
            assert uri.password == password
    except SourceError as error:
        told = str(error)
    assert "S3CRET" not in told
    assert "T41L" not in told


@given(
    st.sampled_from(["password", "pwd", "user-pw", "token", "api_key", "auth"]),
    st.text("abcXYZ019-_.%!;'\"()*+,/?:$=[]", max_size=9),
)
def test_a_secret_of_a_query_is_never_told(name: str, rest: str) -> None:
    shown = parse_uri(f"rtsp://cam.local/live?channel=2&{name}=S3CRET{rest}T41L&stream=1").shown
    assert "S3CRET" not in shown
    assert "T41L" not in shown
    assert shown.endswith("&stream=1")


@given(st.text())
def test_any_text_is_parsed_or_refused_in_a_sentence(text: str) -> None:
    with suppress(SourceError):
        parse_uri(text)


def test_what_a_library_says_is_told_without_logins() -> None:
    said = "could not open rtsp://ann:pw@cam/s?token=abc (user-pw=pw): refused, see http://cam/help"
    assert redact(said) == "could not open rtsp://cam/s?token=*** (user-pw=*** refused, see http://cam/help"
    assert redact("source='gst://rtspsrc user-pw=p/w ! x' is none") == "source='gst://rtspsrc user-pw=*** ! x' is none"


@given(st.text(st.characters(codec="utf-8", exclude_characters="@/", exclude_categories=["Z", "C"]), max_size=9))
def test_a_login_is_never_told_whatever_its_password_holds(password: str) -> None:
    assert redact(f"open location=rtsp://ann:S3CRET{password}T41L@cam/s now") == "open location=rtsp://cam/s now"


def test_schemes_are_registered_once_and_by_an_importable_name() -> None:
    register("madeup", "somewhere:open_it")
    uri = parse_uri("madeup://7")
    assert (uri.kind, uri.factory, uri.address) == (SourceKind.REGISTERED, "somewhere:open_it", "madeup://7")
    for scheme, factory in (("rtsp", "a:b"), ("Not One", "a:b"), ("other", "no_function")):
        with pytest.raises(SourceError, match="cannot be registered"):
            register(scheme, factory)


def test_a_folder_by_its_own_scheme_must_be_one(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    with open_source(f"dir://{tmp_path}") as frames:
        assert [frame.source for frame in frames] == [str(picture)]
    with pytest.raises(SourceError, match="is no folder"):
        open_source(f"dir://{picture}")
    with pytest.raises(SourceError, match="is no folder; check"):
        open_source(f"dir://{picture}", realtime=True)
    with pytest.raises(SourceError, match="is no folder to watch"):
        open_source(f"dir://{tmp_path}/none?watch=1")


def test_a_folder_in_real_time_ends_after_its_last_picture_and_one_that_is_watched_does_not(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    with open_source(f"dir://{tmp_path}", realtime=True) as camera:
        assert isinstance(camera, Camera)
        camera.start()
        until(lambda: camera.status().state is CameraState.ENDED)
        assert camera.status().frames == 2
    assert isinstance(open_source(f"dir://{tmp_path}?watch=1", realtime=True), WatchedFolder)
    assert not parse_uri(f"dir://{tmp_path}?watch=1").has_end
    assert parse_uri(f"dir://{tmp_path}").has_end


def test_a_mistyped_setting_of_a_folder_is_refused() -> None:
    with pytest.raises(SourceError, match=r"has a setting wach, and there is only watch: dir://FOLDER\?watch=1"):
        parse_uri("dir://pictures?wach=1")
