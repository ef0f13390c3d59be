import msgspec
import pytest

from flywheel.openai_compat.reading import Body, Metadata, read
from tasks.errors import Invalid


class Part(Body):
    size: int


class Ask(Body):
    model: str
    parts: list[Part] = []
    metadata: Metadata | None = None


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "model"),
        ({"model": 3}, "invalid_value", "model"),
        ({"model": "m", "colour": 1}, "unknown_parameter", "colour"),
        ({"model": "m", "parts": [{"size": "x"}]}, "invalid_value", "parts[0].size"),
        ({"model": "m", "parts": [{}]}, "missing_required_parameter", "parts[0].size"),
        ({"model": "m", "metadata": {"k" * 65: "v"}}, "invalid_value", "metadata"),
        ({"model": "m", "metadata": {str(n): "v" for n in range(17)}}, "invalid_value", "metadata"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(body: dict, code: str, param: str):
    with pytest.raises(Invalid) as caught:
        read(body, Ask)

    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_part_of_a_larger_body_is_named_from_the_top():
    with pytest.raises(Invalid) as caught:
        read({"size": None}, Part, within="method.part")

    assert caught.value.param == "method.part.size"


def test_what_fits_becomes_the_struct():
    assert read({"model": "m", "parts": [{"size": 2}]}, Ask) == Ask("m", [Part(2)])
    assert msgspec.structs.asdict(read({"model": "m"}, Ask))["metadata"] is None
