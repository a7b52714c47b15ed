"""Pipelines as text: NVIDIA's elements where they are, decodebin elsewhere; those for a desktop are parsed by GStreamer itself."""

from __future__ import annotations

import json
import subprocess

import pytest
from rtsp_server import PYTHON, why_not

from palijet.runtime.cameras.options import CameraOptions
from palijet.runtime.capture.gst_errors import GstError, failure_of, without_elements
from palijet.runtime.capture.gst_pipelines import PACKAGES, gst_pipeline
from palijet.runtime.sources import parse_uri

JETSON = frozenset(PACKAGES)
DESKTOP = frozenset(name for name in PACKAGES if not name.startswith("nv"))
ADDRESSES = (
    "rtsp://ann:pw@cam/s",
    "rtsps://cam/s",
    "rtp://:5004?encoding=H264",
    "rtp://239.0.0.1:5004?encoding=H265",
    "rtp://:5004?encoding=JPEG",
    "http://ann:pw@cam/video.mjpg",
    "https://cam/live.m3u8",
    "/dev/video0",
    "gst://videotestsrc is-live=true",
)


def test_a_csi_camera_is_read_by_argus_and_turned_by_the_video_engine() -> None:
    options = CameraOptions(width=1920, height=1080, capture_fps=30, rotation=90, crop=(100, 50, 900, 650))
    text = gst_pipeline(parse_uri("csi://1"), options, JETSON).description
    assert "nvarguscamerasrc name=source sensor-id=1" in text
    assert "video/x-raw(memory:NVMM),format=NV12,width=1920,height=1080,framerate=30000/1000" in text
    assert "nvvidconv name=convert left=100 right=900 top=50 bottom=650 flip-method=3" in text
    assert text.index("nvvidconv") < text.index("format=BGRx") < text.index("videoconvert") < text.index("format=BGR !")


def test_a_jetson_scales_a_network_stream_on_its_way_from_the_decoder() -> None:
    plan = gst_pipeline(parse_uri("rtsp://cam/s"), CameraOptions(width=640, height=360), JETSON)
    assert plan.converted
    assert "nvvidconv name=convert ! video/x-raw,format=BGRx,width=640,height=360" in plan.description
    assert not gst_pipeline(parse_uri("rtsp://cam/s"), CameraOptions(), DESKTOP).converted


def test_the_options_of_a_network_stream_reach_the_pipeline() -> None:
    text = gst_pipeline(
        parse_uri("rtsp://cam/s"), CameraOptions(latency_ms=40, transport="udp", connect_s=4), DESKTOP
    ).description
    assert "latency=40" in text
    assert "protocols=udp" in text
    assert "tcp-timeout=4000000" in text


def test_only_what_is_downloaded_ahead_waits_for_its_time() -> None:
    paced = {address: gst_pipeline(parse_uri(address), CameraOptions(), DESKTOP).paced for address in ADDRESSES}
    assert {address for address, waits in paced.items() if waits} == {"https://cam/live.m3u8", ADDRESSES[-1]}


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_secret_is_part_of_a_description(address: str) -> None:
    for elements in (JETSON, DESKTOP):
        text = gst_pipeline(parse_uri(address), CameraOptions(), elements).description
        assert "ann" not in text
        assert "pw" not in text


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_gstreamer_parses_the_pipelines_of_a_desktop() -> None:
    texts = [
        gst_pipeline(parse_uri(address), options, DESKTOP).description
        for address in ADDRESSES
        for options in (CameraOptions(), CameraOptions(width=640, height=480, capture_fps=12.5, transport="udp"))
    ]
    check = (
        "import gi, json, sys; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.init(None)\n"
        "for text in json.load(sys.stdin): assert Gst.parse_launch(text).get_by_name('frames'), text\n"
    )
    subprocess.run([PYTHON, "-c", check], input=json.dumps(texts), text=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("address", "error", "kind", "sentence"),
    [
        (
            "rtsp://a:b@c/s",
            GstError("gst-resource-error-quark", 15, "Unauthorized"),
            "credentials",
            "password is wrong",
        ),
        ("rtsp://c/s", GstError("gst-resource-error-quark", 15, "Unauthorized"), "credentials", "wants a user"),
        ("http://c/s", GstError("gst-resource-error-quark", 3, "Not Found"), "unreachable", "404"),
        (
            "http://c/s",
            GstError("gst-stream-error-quark", 4, "Could not determine type"),
            "no-video",
            "no video stream",
        ),
        ("rtsp://c/s", GstError("gst-stream-error-quark", 6, "no decoder"), "codec", "gstreamer1.0-libav"),
        ("rtsp://c/s", GstError("gst-stream-error-quark", 7, "Failed to decode"), "decode", "cannot be decoded"),
        ("0", GstError("gst-resource-error-quark", 4, "Device is busy"), "device", "in use by another program"),
        ("0", GstError("gst-resource-error-quark", 3, "Cannot identify device"), "device", "is it plugged in"),
        ("0", GstError("gst-resource-error-quark", 7, "Permission denied"), "device", "usermod -aG video"),
        (
            "0",
            GstError("gst-stream-error-quark", 1, "Internal", "reason not-negotiated (-4)"),
            "device",
            "size or rate",
        ),
        ("csi://0", GstError("gst-resource-error-quark", 5, "No cameras available"), "device", "nvargus-daemon"),
        ("gst://x", GstError("gst-library-error-quark", 1, "rtsp://a:pw@c failed"), "other", "failed: rtsp://c failed"),
    ],
)
def test_gstreamers_errors_are_told_by_what_mends_them(address: str, error: GstError, kind: str, sentence: str) -> None:
    failure = failure_of(error, parse_uri(address))
    assert failure.kind == kind
    assert sentence in failure.reason
    assert "pw" not in failure.reason


def test_a_missing_element_is_named_with_its_package() -> None:
    failure = without_elements(parse_uri("csi://0"), ["nvarguscamerasrc", "videoconvert"])
    assert failure.kind == "plugin"
    assert "nvarguscamerasrc, videoconvert" in failure.reason
    assert "apt install gstreamer1.0-plugins-base nvidia-l4t-gstreamer" in failure.reason
