"""How good suggestions are on a folder of code: holes are cut into its files, and filled.

Knows the index and the engine; nothing of LSP. Only reads.
"""
