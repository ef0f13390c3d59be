"""The command of the training bench."""

import pytest

from flywheel.bench.training import __main__ as bench


def test_an_unknown_arm_is_refused_by_name():
    with pytest.raises(SystemExit, match="no sped"):
        bench.main(["sped"])
