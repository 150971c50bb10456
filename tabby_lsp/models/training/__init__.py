"""Trains the bundled starter model in sittings: `python -m tabby_lsp.models.training --work DIR --until 18:20`.

Each call goes on from whatever is there (the checkpoint in DIR, else the last weights kept as a GGUF file, else
random ones) and ends with a finished model in DIR; killed, it is called again. `DIR/pid` names the process while it
trains: stopped (SIGSTOP) and continued, it has lost nothing and still ends on time. `--stage export` makes a model
of a sitting that has not ended, too, from the average of its weights.

Owns everything between permissively licensed Python sources and a GGUF file with its card. Knows nothing
of the server; the server knows nothing of it, and it is not part of the wheel.
"""
