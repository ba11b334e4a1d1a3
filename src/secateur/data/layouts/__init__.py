"""What the files below a folder are: which split, which class, and what is set aside. The rules are in `rules`."""
