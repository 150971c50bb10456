"""What a workspace contains: what its files define, use and import, and where that is found again.

Knows neither LSP nor the model.
"""
