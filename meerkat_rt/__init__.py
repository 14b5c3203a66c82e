"""A Trio structured-concurrency runtime for realtime (speech-to-speech) model sessions."""
