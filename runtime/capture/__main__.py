"""The capture process: `python -m palijet.runtime.capture SOCKET_FD MEMORY_FD`, started by `CaptureProcess` and by nobody else."""

import sys

from .process import capture

if len(sys.argv) != 3:
    sys.exit("this is started by PaliJet itself; to capture a camera, run: palijet run BUNDLE --source URI")
capture(int(sys.argv[1]), int(sys.argv[2]))
