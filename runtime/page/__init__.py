"""The live page, /metrics and health, from one HTTP server on a thread of its own."""
