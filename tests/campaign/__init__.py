"""The campaigns: runs that are killed anywhere, and commands that are given everything but what they expect."""
