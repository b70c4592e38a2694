"""Other systems' actors under the same load, beside Holdfast's, in one run.

`python -m bench.peers` (or `make bench-peers`, which installs them) writes a table and
charts into docs. How each is set up, and why so, is in README.md beside this file.
"""
