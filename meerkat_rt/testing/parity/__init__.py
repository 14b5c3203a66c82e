"""One suite of conversations, run unchanged against every provider, and the table that it makes.

`python -m meerkat_rt.testing.parity README.md` puts the table where its marks are.
"""
