"""The Gemini Live dialect; see README.md."""
