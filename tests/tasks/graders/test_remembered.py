import pytest

from tasks.graders import registry, remembered, templates
from tasks.graders.remembered import FEW, MANY, SMALL, of_the_last


def counted():
    made = []

    @remembered.remembered
    def make(given: str) -> int:
        made.append(given)
        return len(given)

    return make, made


def test_what_was_made_once_is_not_made_again():
    make, made = counted()

    assert [make("a"), make("a"), make("b" * 2 * SMALL), make("b" * 2 * SMALL)] == [1, 1, 2 * SMALL, 2 * SMALL]
    assert len(made) == 2


def test_few_large_ones_are_kept():
    make, made = counted()
    large = [str(number).rjust(SMALL + 1) for number in range(FEW + 1)]

    for given in [*large, large[0]]:
        make(given)

    assert len(made) == FEW + 2


def test_many_small_ones_are_kept_beside_them():
    make, made = counted()

    for given in [*map(str, range(MANY)), *(str(number).rjust(SMALL + 1) for number in range(FEW)), "0"]:
        make(given)

    assert len(made) == MANY + FEW


def test_a_configuration_with_much_text_is_parsed_as_any_other():
    config = {"type": "exact", "reference": "x" * 200_000}

    assert registry.grade(config, "x" * 200_000, {}).correct
    assert templates.parse("x" * 200_000).parts == ("x" * 200_000,)


def test_the_last_made_is_given_again_and_only_for_the_same_two_values():
    made: list[object] = []

    @of_the_last
    def make(config: object, item: object) -> int:
        made.append(item)
        return len(made)

    first, second = {"n": 1}, {"n": 1}

    assert [make("c", item) for item in (first, first, second, first)] == [1, 1, 2, 3]


def test_a_failure_is_not_remembered():
    @of_the_last
    def fail(config: object, item: object) -> int:
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):
            fail("c", {})
