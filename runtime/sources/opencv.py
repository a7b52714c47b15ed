"""OpenCV, quiet: FFmpeg inside it talks to the terminal by itself; what matters is said by PaliJet."""

from __future__ import annotations

import os

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import cv2

__all__ = ["cv2"]
