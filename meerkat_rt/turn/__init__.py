"""The rules of a live session: provider-neutral, pure, synchronous.  Time is an argument."""
