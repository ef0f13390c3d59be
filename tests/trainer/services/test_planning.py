"""What an evaluation takes, from what earlier ones showed."""

from typing import Any

import pytest

from tests.trainer.services.crediting import Promotions  # noqa: F401
