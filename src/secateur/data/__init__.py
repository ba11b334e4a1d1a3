"""Data sets in and out, on Hugging Face `datasets`: readers, writers, fingerprints. No torch below `tensors`."""
