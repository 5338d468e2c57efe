from __future__ import annotations

import json

import pytest

from runtime.engines.completion import SECONDS, Answer, completion_command, parse_completion

REAL = (
    '{"id":"807c7658754049389080f76c52510ba2","object":"text_completion","created":1795357739,"model":"tiny",'
    '"choices":[{"index":0,"text":"nnnnnnnn","logprobs":null,"finish_reason":"length","matched_stop":null,'
    '"hidden_states":null}],"usage":{"prompt_tokens":5,"total_tokens":13,"completion_tokens":8,'
    '"prompt_tokens_details":null}}\n200 3.514454'
)
"""Recorded: sglang-jax 0.0.2, one process on CPU."""


def test_a_real_answer_is_text_and_a_count_of_tokens() -> None:
    found = parse_completion(0, REAL)
    assert (found.answer, found.text, found.tokens) == (Answer.GENERATED, "nnnnnnnn", 8)
    assert found.seconds == pytest.approx(3.51, abs=0.01)


@pytest.mark.parametrize(
    ("exit_code", "output", "answer", "said"),
    [
        (28, "\n000 25.000", Answer.LATER, "compiling"),
        (7, "\n000 0.001", Answer.LATER, "does not answer"),
        (52, "\n000 0.001", Answer.LATER, "does not answer"),
        (3, "", Answer.REFUSED, "curl left with 3"),
        (0, "busy\n503 1.0", Answer.LATER, "HTTP 503"),
        (0, '{"object":"error","message":"boom"}\n500 1.0', Answer.REFUSED, "boom"),
        (0, "<html>hello</html>\n200 0.1", Answer.REFUSED, "not a completion"),
        (0, "[]\n200 0.1", Answer.REFUSED, "not a completion"),
        (0, REAL.replace("nnnnnnnn", ""), Answer.REFUSED, "empty"),
        (0, REAL.replace('"completion_tokens":8', '"completion_tokens":0'), Answer.REFUSED, "empty"),
    ],
)
def test_what_is_no_completion_is_pending_or_refused(exit_code: int, output: str, answer: Answer, said: str) -> None:
    found = parse_completion(exit_code, output)
    assert found.answer is answer
    assert said in found.detail


def test_the_command_is_short_lived_and_carries_its_body_as_one_argument() -> None:
    command = completion_command(30000, 'a "model"')
    assert SECONDS < 30
    assert command[command.index("--max-time") + 1] == str(SECONDS)
    body = json.loads(command[command.index("--data") + 1])
    assert body["model"] == 'a "model"'
    assert body["temperature"] == 0
