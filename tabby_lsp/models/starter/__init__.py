"""The bundled starter model: a small GGUF file, its card, and where they lie. Loads nothing."""

from pathlib import Path

MODEL = Path(__file__).with_name("tabby-starter-q8_0.gguf")
