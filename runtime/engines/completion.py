"""One real completion, asked for on worker 0: the last rung's evidence.

The request goes over the worker's own loopback by curl, in one short command. While the engine compiles it may
have no answer in time; that is pending, not failed, and the next try finds the compiled program.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

SECONDS = 25
"""For one request: below the 30 s that any remote command may take."""

PROMPT = "The capital of France is"
TOKENS = 8

CURL_NO_CONNECTION, CURL_TIMED_OUT, CURL_EMPTY_REPLY, CURL_RESET = 7, 28, 52, 56


class Answer(StrEnum):
    """What a request for a completion came to."""

    GENERATED = "generated"
    LATER = "later"
    REFUSED = "refused"


@dataclass(frozen=True)
class Completion:
    """The outcome of one request; ``seconds`` as curl measured it."""

    answer: Answer
    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    detail: str = ""


def completion_command(port: int, model: str) -> tuple[str, ...]:
    """The command that asks for ``TOKENS`` greedy tokens on the worker that it runs on; under 30 s."""
    body = {"model": model, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
    return (
        "curl",
        "--silent",
        "--max-time",
        str(SECONDS),
        "--header",
        "Content-Type: application/json",
        "--data",
        json.dumps(body),
        "--write-out",
        "\n%{http_code} %{time_total}",
        f"http://127.0.0.1:{port}/v1/completions",
    )


def parse_completion(exit_code: int, output: str) -> Completion:
    """What ``completion_command`` came to, from its exit code and standard output."""
    body, _, tail = output.rpartition("\n")
    status, _, measured = tail.partition(" ")
    seconds = float(measured) if measured else 0.0
    if exit_code == CURL_TIMED_OUT:
        return Completion(Answer.LATER, seconds=seconds, detail=f"no answer within {SECONDS} s: it may be compiling")
    if exit_code in (CURL_NO_CONNECTION, CURL_EMPTY_REPLY, CURL_RESET):
        return Completion(Answer.LATER, seconds=seconds, detail="the server does not answer")
    if exit_code:
        return Completion(Answer.REFUSED, detail=f"curl left with {exit_code}")
    if status != "200":
        said = " ".join(body.split())[:200]
        answer = Answer.LATER if status == "503" else Answer.REFUSED
        return Completion(answer, seconds=seconds, detail=f"HTTP {status}: {said}")
    return _generated(body, seconds)


def _generated(body: str, seconds: float) -> Completion:
    try:
        document = json.loads(body)
        text, tokens = document["choices"][0]["text"], document["usage"]["completion_tokens"]
    except (ValueError, KeyError, IndexError, TypeError):
        said = " ".join(body.split())[:200]
        return Completion(Answer.REFUSED, seconds=seconds, detail=f"not a completion: {said}")
    if not text or not tokens:
        return Completion(Answer.REFUSED, text, tokens, seconds, f"an empty completion: {tokens} tokens, {text!r}")
    return Completion(Answer.GENERATED, text, tokens, seconds, f"{tokens} tokens in {seconds:.1f} s: {text!r}")
