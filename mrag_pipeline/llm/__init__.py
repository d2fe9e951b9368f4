"""A chat model behind an OpenAI-compatible address, where one is configured."""
