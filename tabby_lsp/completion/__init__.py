"""What a completion is: the text around the cursor, the prompt made of it, where the answer ends, its clean-up.

Pure functions over `tabby_lsp.data`. Knows neither where the text came from nor how tokens are computed.
"""
