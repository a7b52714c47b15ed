"""Where OpenCV cannot load a desktop library (libGL on a headless box), installs opencv-python-headless of the same version."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version


def main() -> int:
    probe = subprocess.run([sys.executable, "-c", "import cv2"], capture_output=True, text=True)
    if probe.returncode == 0:
        return 0
    reason = probe.stderr.strip().splitlines()[-1]
    try:
        wanted = version("opencv-python")
    except PackageNotFoundError:
        print(f"OpenCV does not load: {reason}", file=sys.stderr)
        return 1
    print(f"{reason}: installing opencv-python-headless {wanted} in place of opencv-python", file=sys.stderr)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "opencv-python", "opencv-python-headless"], check=True)
    subprocess.run([*pip, "install", "--quiet", "--no-deps", f"opencv-python-headless=={wanted}"], check=True)
    return subprocess.run([sys.executable, "-c", "import cv2"]).returncode


if __name__ == "__main__":
    sys.exit(main())
