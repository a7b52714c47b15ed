#!/usr/bin/env bash
# What the tests of streams meet: GStreamer and its RTSP server, mosquitto, Chromium, promtool, ffmpeg. A test whose program is not
# there says so and is skipped.
set -euo pipefail
packages=(python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 gstreamer1.0-tools
  gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav ffmpeg mosquitto mosquitto-clients chromium prometheus v4l-utils)
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "skipped: not Debian, or not root; install ${packages[*]}"
  exit 0
fi
if dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | grep -qv '^installed$' ||
  [ "$(dpkg-query -W -f 'x\n' "${packages[@]}" 2>/dev/null | wc -l)" -lt "${#packages[@]}" ]; then
  export DEBIAN_FRONTEND=noninteractive
  # No service is to start by itself: tests run their own.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
fi
echo "installed: ${#packages[@]} packages"
