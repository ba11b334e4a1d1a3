"""Adapters for other people's trainers: `integrations.lightning`, `integrations.transformers`; each has its extra."""
