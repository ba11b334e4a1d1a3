"""The jobs, one file each, all resumable: record, score, select, prune, train, compare."""
