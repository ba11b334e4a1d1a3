"""Probes: what a score needs and a training run does not log, measured on a net batch by batch."""
