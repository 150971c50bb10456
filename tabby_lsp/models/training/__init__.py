"""Trains the bundled starter model: `python -m tabby_lsp.models.training --minutes 48 --work DIR`.

Owns everything between permissively licensed Python sources and a GGUF file with its card. Knows nothing
of the server; the server knows nothing of it, and it is not part of the wheel.
"""
