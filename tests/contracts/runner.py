"""`python -m tests.contracts.runner TOLD MAJOR`, in a client's environment: runs the AREA.NAME of each line it reads.

{"name", "ok", "skipped": why or null, "traceback", "seconds"}
"""

import importlib
import json
import sys
import time
import traceback
from typing import Any

from tests.contracts.scenario import Context, Skipped


def main(told: str, major: int) -> None:
    with open(told) as file:
        setting = json.load(file)
    context = Context(major, setting["base_url"], setting)
    for line in sys.stdin:
        print(json.dumps(_outcome(line.strip(), context)), flush=True)


def _outcome(name: str, context: Context) -> dict[str, Any]:
    area, _, sentence = name.rpartition(".")
    started, why, trace = time.monotonic(), None, ""
    try:
        getattr(importlib.import_module(f"tests.contracts.scenarios.{area}"), sentence)(context)
    except Skipped as skipped:
        why = str(skipped)
    except Exception:
        trace = traceback.format_exc()
    seconds = round(time.monotonic() - started, 2)
    return {"name": name, "ok": not trace, "skipped": why, "traceback": trace, "seconds": seconds}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
