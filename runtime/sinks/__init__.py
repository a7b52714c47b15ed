"""Where results go: JSON Lines, video, snapshots, MQTT, a webhook, a function. Each has a bounded queue and a thread of its own."""
