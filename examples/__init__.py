"""Applications to read, run and copy from; see README.md beside this file."""
