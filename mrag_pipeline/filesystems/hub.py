"""Whether the model hub answers: asked once, with a limit that no proxy or resolver can stretch."""

from __future__ import annotations

import threading

PATIENCE_S = 3.0


def hub_problem(seconds: float = PATIENCE_S) -> str:
    """Why the hub cannot be used from here; empty if it answers within the seconds."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    outcome: list[str] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=seconds)  # any status is an answer
            outcome.append("")
        except Exception as error:  # of whatever library sends it
            reason = (str(error).strip() or "no answer").splitlines()[0]
            outcome.append(f"{type(error).__name__}: {reason}")

    # A name that does not resolve can take a resolver longer than any timeout of the request.
    thread = threading.Thread(target=ask, name="ask-hub", daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else f"no answer within {seconds:g} s"
