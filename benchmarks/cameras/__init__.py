"""Streams of real RTSP cameras (tests/rtsp_server.py): how fresh, how many at once, and for how long."""
