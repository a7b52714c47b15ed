"""What is plugged in is listed by the address that reads it, with its modes as v4l2-ctl words them."""

from __future__ import annotations

from pathlib import Path

from palijet.runtime.cameras.listing import CameraMode, LocalCamera, list_cameras, parse_modes

# As v4l2-ctl 1.22 prints it for a USB camera.
USB_MODES = """ioctl: VIDIOC_ENUM_FMT
	Type: Video Capture

	[0]: 'MJPG' (Motion-JPEG, compressed)
		Size: Discrete 1920x1080
			Interval: Discrete 0.033s (30.000 fps)
			Interval: Discrete 0.200s (5.000 fps)
	[1]: 'YUYV' (YUYV 4:2:2)
		Size: Discrete 640x480
			Interval: Discrete 0.033s (30.000 fps)
"""
CSI_MODES = """ioctl: VIDIOC_ENUM_FMT
	Type: Video Capture

	[0]: 'RG10' (10-bit Bayer RGRG/GBGB)
		Size: Discrete 3280x2464
			Interval: Discrete 0.048s (21.000 fps)
"""


def node(root: Path, number: int, name: str, index: str) -> None:
    folder = root / f"sys/class/video4linux/video{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(name + "\n")
    (folder / "index").write_text(index + "\n")


def test_usb_and_csi_cameras_are_listed_with_modes_and_without_metadata_nodes(tmp_path: Path) -> None:
    node(tmp_path, 0, "vi-output, imx219 9-0010", "0")
    node(tmp_path, 1, "vi-output, imx219 10-0010", "0")
    node(tmp_path, 2, "HD Pro Webcam C920", "0")
    node(tmp_path, 3, "HD Pro Webcam C920", "1")
    node(tmp_path, 10, "USB 2.0 Camera", "0")
    told = {"/dev/video0": CSI_MODES, "/dev/video2": USB_MODES}
    webcam = (CameraMode(1920, 1080, 30, "MJPG"), CameraMode(1920, 1080, 5, "MJPG"), CameraMode(640, 480, 30, "YUYV"))
    assert list_cameras(tmp_path, lambda device: told.get(device, "")) == [
        LocalCamera("imx219 9-0010", "csi://0", (CameraMode(3280, 2464, 21, "RG10"),)),
        LocalCamera("imx219 10-0010", "csi://1"),
        LocalCamera("HD Pro Webcam C920", "v4l2:///dev/video2", webcam),
        LocalCamera("USB 2.0 Camera", "v4l2:///dev/video10"),
    ]


def test_a_mode_is_shown_as_people_write_it() -> None:
    assert str(CameraMode(1920, 1080, 30.0, "MJPG")) == "1920x1080 30 fps MJPG"
    assert str(CameraMode(640, 480, 7.5, "YUYV")) == "640x480 7.5 fps YUYV"


def test_a_machine_without_cameras_lists_none(tmp_path: Path) -> None:
    assert list_cameras(tmp_path) == []
    assert parse_modes("Cannot open device /dev/video0, exiting.") == ()
