"""`[llm]`: the chat model, if there is one."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Amount, Count


@dataclass(frozen=True, slots=True)
class LlmSpec:
    """How to reach the chat model. The API key is only read from the environment."""

    url: str = ""  # of an OpenAI-compatible API, up to /v1; empty: no chat model
    model: str = ""  # its name in that API
    key_env: str = "MRAG_LLM_API_KEY"  # environment variable that holds the API key
    timeout_s: Amount = 60.0  # for one answer
    sub_queries: Count = 5  # how many the fusion strategies request
