"""The processes that a server consists of: how they are started, and what they say to each other."""
