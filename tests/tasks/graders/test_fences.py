from time import perf_counter

import pytest

from tasks.graders import fences

DEFINES = "def f():\n    return 1\n"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (DEFINES, DEFINES),
        (f"Here:\n```python\n{DEFINES}```\nDone.", DEFINES),
        (f"```py\n{DEFINES}```", DEFINES),
        (f"```Python3\n{DEFINES}```", DEFINES),
        (f"```python title=a.py\n{DEFINES}```", DEFINES),
        (f"```\n{DEFINES}```", DEFINES),
        (f"   ```python\n{DEFINES}   ```", DEFINES),
        (f"````python\n{DEFINES}```\n````", f"{DEFINES}```\n"),
        (f"```python\n{DEFINES}", DEFINES),
        (f"```python\n{DEFINES}```\r\nDone.", DEFINES),
        ("```python\n```", ""),
        ("", ""),
        ("The answer is 5.", "The answer is 5."),
        ("Use `f()` and ```x```.", "Use `f()` and ```x```."),
    ],
)
def test_the_code_of_a_reply(reply, code):
    assert fences.code_of(reply) == code


def test_the_last_block_counts():
    assert fences.code_of(f"```python\ndef g(): pass\n```\nBetter:\n```python\n{DEFINES}```") == DEFINES


def test_example_calls_after_the_code_are_no_answer():
    assert fences.code_of(f"```python\n{DEFINES}```\nUse it:\n```python\nprint(f())\n```") == DEFINES


def test_a_list_of_candidates_is_its_last():
    listed = "\n".join(fences.fenced(f"def {name}(): pass") for name in "abc")

    assert fences.code_of(listed) == "def c(): pass\n"


@pytest.mark.parametrize("language", ["", "text", "bash", "json", "output"])
def test_blocks_of_python_come_before_all_others(language):
    assert fences.code_of(f"```python\n{DEFINES}```\nprints\n```{language}\n1\n```") == DEFINES


def test_a_block_of_another_language_is_no_code():
    reply = "```bash\nls\n```"

    assert fences.code_of(reply) == reply


@pytest.mark.parametrize("code", [DEFINES, '"""\n```\ntext\n```\n"""', "````", "x = '`'"])
def test_what_is_fenced_is_read_again(code):
    assert fences.code_of(fences.fenced(code)).rstrip() == code.rstrip()


@pytest.mark.parametrize("part", ["```\n", "`", "```python\n", "``` ", " ", "```a\n```\n", "def "])
def test_the_search_is_linear(part):
    started = perf_counter()
    fences.code_of(part * 50_000)
    short = perf_counter() - started

    started = perf_counter()
    fences.code_of(part * 200_000)

    assert perf_counter() - started < 20 * short + 0.5
