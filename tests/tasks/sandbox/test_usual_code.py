"""What honest graders do works at every level: confinement that breaks them would be switched off."""

import pytest

from tests.tasks.sandbox.conftest import Try

USUAL = {
    "asyncio": """
import asyncio
async def wait():
    await asyncio.sleep(0.001)
    return 1.0
def grade(sample, item):
    return asyncio.run(wait())
""",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
def grade(sample, item):
    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(float, ["0.5", "0.5"]))
""",
    "alarm": """
import signal
def out(*_): raise TimeoutError
def grade(sample, item):
    signal.signal(signal.SIGALRM, out)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while True: pass
    except TimeoutError:
        return 1.0
""",
    "database in memory": """
import sqlite3
def grade(sample, item):
    base = sqlite3.connect(":memory:")
    base.execute("create table t (a)")
    base.execute("insert into t values (1.0)")
    return base.execute("select sum(a) from t").fetchone()[0]
""",
    "dates": """
from datetime import datetime, timezone
import time, calendar, locale
def grade(sample, item):
    time.localtime()
    return float(datetime.now(timezone.utc).year > 2020)
""",
    "chance and hashes": """
import hashlib, random, secrets, uuid
def grade(sample, item):
    random.shuffle([1, 2]); secrets.token_hex(4); uuid.uuid4()
    return float(len(hashlib.sha256(b"a").hexdigest()) == 64)
""",
    "late imports": """
def grade(sample, item):
    import argparse, configparser, email.message, http, logging, pickle, shlex, unittest, xml.etree.ElementTree, zipfile
    import rapidfuzz, yaml, jsonschema, sqlparse, deepdiff, pydantic, rouge_score.rouge_scorer, nltk
    return rapidfuzz.fuzz.ratio("a", "a") / 100
""",
    "recursion": """
import sys
def deep(n): return 0 if n == 0 else 1 + deep(n - 1)
def grade(sample, item):
    sys.setrecursionlimit(20000)
    return deep(10000) / 10000
""",
    "linear algebra": """
import numpy
def grade(sample, item):
    a = numpy.eye(300)
    return float(numpy.linalg.det(a @ a))
""",
}


@pytest.mark.parametrize("name", USUAL)
def test_it_works(attempt: Try, name: str):
    assert attempt(USUAL[name], seconds=60) == {"ok": 1.0}
