"""What a run leaves on disk: recordings (zarr), scores and subsets (parquet), all written atomically."""
