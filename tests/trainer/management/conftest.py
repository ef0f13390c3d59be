from tests.trainer.services.conftest import fill, knobs, line, operator, team, unbuilt_line

__all__ = ["fill", "knobs", "line", "operator", "team", "unbuilt_line"]
