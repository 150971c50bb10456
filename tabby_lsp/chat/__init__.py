"""A conversation about a repository: its messages, what they refer to, how a model is asked and what it answers.

Knows neither LSP nor llama.cpp, and starts no model: `assistant` does.
"""
