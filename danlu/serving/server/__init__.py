"""An OpenAI-compatible server over runs and models: exact templates, several adapters, capture."""
