"""The agent's side of the Agent Client Protocol, version 1: a chat window for editors that have one of their own."""
