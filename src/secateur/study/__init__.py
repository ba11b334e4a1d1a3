"""The jobs, one file each, all of which can be resumed: record, score, select, prune, train, compare."""
