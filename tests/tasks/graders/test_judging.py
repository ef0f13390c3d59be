"""How a judge is asked, over real sockets: what is repeated, what is given up, and whose fault it is."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.graders import judges, judging
from tasks.graders.judges import Endpoint, Judges
from tests.fakes.judge import FakeJudge, Reply, error, running

SCHEMA = {"type": "object"}
YES = Reply({"result": 1})


@pytest.fixture
def judge() -> Iterator[FakeJudge]:
    judging._without_format.clear()
    with running() as fake, judges.using(fake.judges()):
        yield fake


def ask(times: int = 1, body: dict[str, Any] | None = None) -> list[Any]:
    """Verdicts, or the NoVerdict in place of one."""

    def request(put: judging.Ask) -> Any:
        try:
            return put(body or {"messages": []})
        except judging.NoVerdict as fault:
            return fault

    return judging.ask_all("gpt-judge", SCHEMA, [request] * times)


def fault(judge: FakeJudge, *answers: Reply) -> judging.NoVerdict:
    judge.answers = list(answers)
    found = ask()[0]
    assert isinstance(found, judging.NoVerdict)
    return found


def test_a_verdict_is_the_object_that_the_judge_answers(judge: FakeJudge):
    judge.answers = [Reply({"result": 7, "more": "said"})]

    assert ask()[0].answer == {"result": 7, "more": "said"}


def test_the_judge_is_asked_for_the_schema_under_its_own_name_and_with_the_key(judge: FakeJudge):
    judge.answers = [YES]

    ask(body={"messages": [{"role": "user", "content": "?"}], "temperature": 0})

    assert judge.tokens == ["Bearer the key"]
    assert judge.asked == [
        {
            "model": "gpt-judge",
            "messages": [{"role": "user", "content": "?"}],
            "temperature": 0,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
            },
        }
    ]


def test_a_server_may_know_the_model_by_another_name(judge: FakeJudge):
    judge.answers = [YES]

    with judges.using(Judges({"gpt-*": Endpoint(f"{judge.url}/v1", model="local-7b")})):
        ask()

    assert judge.asked[0]["model"] == "local-7b"


def test_the_tokens_are_counted_under_the_graders_name_for_the_model(judge: FakeJudge):
    judge.answers = [YES]

    assert ask()[0].usage == {"gpt-judge/prompt_tokens": 11, "gpt-judge/completion_tokens": 7}


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "9"}, {"prompt_tokens": -1}, {"prompt_tokens": True}])
def test_tokens_that_are_no_numbers_are_not_counted(judge: FakeJudge, usage: Any):
    judge.answers = [Reply({"result": 1}, usage=usage)]

    assert ask()[0].usage == {}


# What is repeated


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_a_server_in_trouble_is_asked_again(judge: FakeJudge, status: int):
    judge.answers = [error(status), error(status), YES]

    assert ask()[0].answer == {"result": 1}
    assert len(judge.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refusal_of_the_request_is_not_repeated(judge: FakeJudge, status: int):
    assert fault(judge, error(status)).flag == "model_grader_server_error"
    assert len(judge.asked) == 1


def test_a_server_that_stays_in_trouble_is_given_up(judge: FakeJudge):
    found = fault(judge, error(503, message="Overloaded."))

    assert (found.flag, len(judge.asked)) == ("model_grader_server_error", judging.ATTEMPTS)
    assert found.reason == "The judge 'gpt-judge' answered 503: Overloaded."


def test_a_quota_that_is_used_up_is_not_waited_for(judge: FakeJudge):
    fault(judge, error(429, code="insufficient_quota"))

    assert len(judge.asked) == 1


def test_the_server_says_how_long_it_wants_to_be_left_alone(judge: FakeJudge):
    slow = Judges(judges.current().endpoints, pause_seconds=3_600)
    judge.answers = [error(429, headers={"Retry-After": "0"}), YES]

    with judges.using(slow):
        assert ask()[0].answer == {"result": 1}


def test_a_wait_beyond_the_deadline_is_not_begun(judge: FakeJudge):
    fault(judge, error(429, headers={"Retry-After": "86400"}))

    assert len(judge.asked) == 1


def test_a_judge_that_is_too_slow_is_cut_off(judge: FakeJudge):
    judge.answers = [Reply({"result": 1}, after_seconds=1.5)]

    with judges.using(judge.judges(seconds=0.3)):
        found = ask()[0]

    assert found.flag == "model_grader_server_error"
    assert "in time" in found.reason


def test_a_judge_that_is_not_there_is_named():
    with judges.using(Judges({"*": Endpoint("http://127.0.0.1:1/v1")}, pause_seconds=0.001)):
        found = ask()[0]

    assert found.reason.startswith("The judge 'gpt-judge' gave no answer: http://127.0.0.1:1 cannot be reached")


def test_when_the_judge_is_down_the_rest_of_the_batch_is_not_sent(judge: FakeJudge):
    judge.answers = [error(500)]

    with judges.using(judge.judges(at_once=1)):
        found = ask(20)

    assert len(judge.asked) == judging.PATIENCE * judging.ATTEMPTS
    assert found[-1].reason.startswith("The judge did not answer the requests before this one: ")


def test_one_answer_that_fails_does_not_stop_the_batch(judge: FakeJudge):
    judge.answers = lambda body: error(400) if len(judge.asked) % 2 else YES

    with judges.using(judge.judges(at_once=1)):
        found = ask(20)

    assert sum(isinstance(one, judging.Verdict) for one in found) == 10


# What the server may not know


def test_a_server_without_schemas_is_asked_without_one(judge: FakeJudge):
    judge.answers = lambda body: (
        error(400, "unsupported_value", "not supported here", "response_format") if "response_format" in body else YES
    )

    assert ask()[0].answer == {"result": 1}
    assert ["response_format" in body for body in judge.asked] == [True, False]


def test_that_a_server_has_no_schemas_is_remembered(judge: FakeJudge):
    judge.answers = lambda body: error(422, message="json_schema is unknown") if "response_format" in body else YES

    ask()
    ask()

    assert ["response_format" in body for body in judge.asked] == [True, False, False]


def test_a_server_without_schemas_is_asked_with_one_again_after_a_while(
    judge: FakeJudge, monkeypatch: pytest.MonkeyPatch
):
    judge.answers = lambda body: error(422, message="json_schema is unknown") if "response_format" in body else YES
    ask()
    monkeypatch.setattr(judging, "WITHOUT_FORMAT_SECONDS", 0.0)
    judge.answers = [YES]

    ask()

    assert ["response_format" in body for body in judge.asked] == [True, False, True]


def test_our_own_model_server_judges_although_it_knows_no_schemas():
    from tests.fakes import model_server

    judging._without_format.clear()
    with model_server.running() as own, judges.using(Judges({"*": Endpoint(f"{own.url}/v1", model_server.TOKEN)})):
        found = ask(body={"messages": [{"role": "user", "content": '{"result": 1}'}]})[0]

    assert found.answer == {"result": 1}


# Side by side


def test_the_answers_come_in_the_order_of_the_questions(judge: FakeJudge):
    judge.answers = lambda body: Reply({"result": body["n"]}, after_seconds=0.02 if body["n"] % 2 else 0)

    def request(n: int) -> Any:
        return lambda put: put({"n": n}).answer["result"]

    assert judging.ask_all("gpt-judge", SCHEMA, [request(n) for n in range(20)]) == list(range(20))


def test_requests_are_under_way_together_up_to_the_limit(judge: FakeJudge):
    both = threading.Barrier(4, timeout=20)

    def meet(body: Any) -> Reply:
        both.wait()
        return YES

    judge.answers = meet

    with judges.using(judge.judges(at_once=4)):
        ask(12)

    assert judge.most_at_once == 4


def test_waiting_for_the_others_is_part_of_a_verdicts_time(judge: FakeJudge):
    judge.answers = [YES]
    bench = judge.judges(at_once=2, seconds=0.05)
    others = judging._semaphore(2)

    with others, others, judges.using(bench):
        found = ask()[0]

    assert (found.flag, judge.asked) == ("model_grader_server_error", [])
    assert found.reason == (
        "The judge 'gpt-judge' was not asked: 2 other requests of this process were under way all the time."
    )


def test_what_waiting_took_is_missing_from_the_time_to_answer(judge: FakeJudge, monkeypatch: pytest.MonkeyPatch):
    ends: list[float] = []
    wire = judging._wire

    def noted(endpoint: Endpoint, until: float) -> Any:
        ends.append(until)
        return wire(endpoint, until)

    monkeypatch.setattr(judging, "_wire", noted)
    judge.answers = [YES]
    others = judging._semaphore(1)
    others.acquire()
    threading.Timer(0.5, others.release).start()
    began = time.monotonic()

    with judges.using(judge.judges(at_once=1, seconds=30)):
        ask()

    assert ends[0] - began < 30.4


def test_two_batches_share_the_limit(judge: FakeJudge):
    judge.answers = lambda body: Reply({"result": 1}, after_seconds=0.02)
    bench = judge.judges(at_once=3)

    def batch() -> None:
        with judges.using(bench):
            ask(6)

    threads = [threading.Thread(target=batch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert judge.most_at_once <= 3


# Reading the reply


@pytest.mark.parametrize(
    "content",
    [
        '{"result": 1}',
        '  {"result": 1}\n',
        '```json\n{"result": 1}\n```',
        '```\n{"result": 1}\n```',
        '<think>{"result": 0}</think>{"result": 1}',
    ],
)
def test_the_whole_reply_is_the_object(judge: FakeJudge, content: str):
    judge.answers = [Reply(content)]

    assert ask()[0].answer == {"result": 1}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "7",
        "7/10",
        "[1]",
        "null",
        'The reply says {"result": 1}.',
        '{"result": 1} {"result": 0}',
        '{"result": 1',
        '{"result": NaN}',
        '{"result": 1e999}',
        '<think>{"result": 1}',
        '<think>{"result": 1}</think>',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_what_the_judge_merely_quotes_is_no_verdict(judge: FakeJudge, content: str):
    found = fault(judge, Reply(content))

    assert found.flag == "model_grader_parse_error"
    assert found.usage == {"gpt-judge/prompt_tokens": 11, "gpt-judge/completion_tokens": 7}


def test_an_answer_that_was_cut_off_says_what_to_raise(judge: FakeJudge):
    found = fault(judge, Reply('{"steps": [', finish_reason="length"))

    assert found.reason.endswith("It was cut off: raise `max_completions_tokens`.")


@pytest.mark.parametrize("reply", [Reply(refusal="I can't help."), Reply("…", finish_reason="content_filter")])
def test_a_judge_that_refuses_is_flagged(judge: FakeJudge, reply: Reply):
    assert fault(judge, reply).flag == "model_grader_refusal_error"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw=b""),
        Reply(raw=b"<html>Bad gateway</html>"),
        Reply(raw=b"\xff\xfe"),
        Reply(raw=b"[" * 100_000),
        Reply(body=[]),
        Reply(body={}),
        Reply(body={"choices": []}),
        Reply(body={"choices": [None]}),
        Reply(body={"choices": [{"message": "hello"}]}),
        Reply(body={"choices": {"0": 1}}),
        Reply(raw=b'{"a": "' + b"x" * (2 << 20) + b'"}'),
        Reply(status=302, headers={"Location": "http://169.254.169.254/"}),
        Reply(raw=b"{}", headers={"Content-Encoding": "gzip"}),
        Reply(status=500, raw=b"\xff" * 1_000),
    ],
    ids=lambda reply: f"{reply.status} {reply.bytes()[:12]!r}",
)
def test_what_is_no_completion_is_the_servers_fault(judge: FakeJudge, reply: Reply):
    assert fault(judge, reply).flag == "model_grader_server_error"


def test_a_redirect_is_not_followed(judge: FakeJudge):
    with running() as elsewhere:
        elsewhere.answers = [YES]

        fault(judge, Reply(status=307, headers={"Location": f"{elsewhere.url}/v1/chat/completions"}))

        assert elsewhere.asked == []


@pytest.mark.parametrize("status", [401, 403])
def test_what_a_server_says_of_the_key_is_not_repeated(judge: FakeJudge, status: int):
    assert "the key" not in fault(judge, error(status, message="Incorrect API key provided: the key")).reason


def test_a_key_that_a_server_echoes_is_taken_out(judge: FakeJudge):
    assert "the key" not in fault(judge, error(400, message="Bad header: Bearer the key")).reason
