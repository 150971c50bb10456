"""Which suggestion serves which request, over one engine. Knows neither LSP nor how text is generated."""
