"""`[llm]`: which chat model is asked, if any."""

from __future__ import annotations

from dataclasses import dataclass

from mrag_pipeline.settings.bounds import Amount, Count


@dataclass(frozen=True, slots=True)
class LlmSpec:
    """The `[llm]` part of the config file. The key is only ever in the environment."""

    url: str = ""  # of an OpenAI-compatible API, up to /v1; empty: no model is asked
    model: str = ""  # the name it is known by there
    key_env: str = "MRAG_LLM_API_KEY"  # the variable that holds the API key
    timeout_s: Amount = 60.0  # of one answer
    sub_queries: Count = 5  # asked for, for the fusion strategies
