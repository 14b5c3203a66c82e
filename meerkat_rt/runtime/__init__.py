"""The only room with tasks: one nursery a session, its lanes, and the session's surface."""
