"""The engine: models, tokens and the KV cache, in a process of their own. Knows neither LSP nor the user's files.

`process` is the child, `client` its parent's side, `wire` what they say to each other.
"""
