"""A Jetson as an appliance: what the machine is."""
