"""Live sources that never die: each is captured in a process of its own, watched, and connected anew when it fails."""
