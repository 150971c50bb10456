"""The language server: what editors say and hear. The only room that imports pygls and lsprotocol.

Handlers are a few lines each; how anything is done lies in the rooms below.
"""
