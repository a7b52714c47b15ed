"""Captures one live source in a process of its own: a driver that hangs or crashes is killed with it, and nothing is left behind.

`python -m palijet.runtime.capture FD FD` is that process; `CaptureProcess` is its parent's side.
"""
