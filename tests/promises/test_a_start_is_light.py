"""Every command and every process begins with Django's own start: what a page needs later is imported by that page."""

import subprocess
import sys
from pathlib import Path

HEAVY = "numpy pandas scipy statsmodels sklearn sympy torch transformers datasets"
SCRIPT = f"""
import sys
import django
django.setup()
print(*sorted(set("{HEAVY}".split()) & set(sys.modules)))
"""


def test_starting_django_imports_no_library_of_numbers():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).resolve().parents[2],
        env={"DJANGO_SETTINGS_MODULE": "flywheel.settings", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == []
