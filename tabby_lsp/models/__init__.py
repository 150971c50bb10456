"""Model files: where they are on this machine. Knows neither LSP nor llama.cpp."""
