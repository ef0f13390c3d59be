"""Where the embedded servers keep what under one DATA_DIR, and the secrets that are made there on the first start."""

import hashlib
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# A socket's path has at most 107 bytes; the longest name of ours in the folder is 19 (".s.PGSQL.5432.lock").
LONGEST_RUN_DIRECTORY = 107 - 20


@dataclass(frozen=True, slots=True)
class Places:
    data: Path

    @property
    def postgres(self) -> Path:
        return self.data / "postgres"

    @property
    def broker(self) -> Path:
        return self.data / "broker"

    @property
    def stack(self) -> Path:
        """state.json, memory.json and the lock of the supervisor."""
        return self.data / "stack"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def run(self) -> Path:
        """The sockets' folder: inside DATA_DIR where the path is short enough, else in the temporary directory."""
        inside = self.data / "run"
        if len(os.fsencode(inside)) <= LONGEST_RUN_DIRECTORY:
            return inside
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"flywheel-{os.getuid()}-{digest}"


def places() -> Places:
    """Of this process: DATA_DIR, else var/data beside the code."""
    return Places(Path(os.environ.get("DATA_DIR") or REPOSITORY / "var" / "data").resolve())


def make_private(directory: Path) -> None:
    """Create a folder that is ours alone, or refuse one that somebody else has put there."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), 65534):
        raise PermissionError(f"{directory} belongs to another account: remove it or choose another DATA_DIR.")
    directory.chmod(0o700)


def make_secrets(data: Path) -> None:
    """secret_key and model_server_token, random, readable by the owner only; existing ones are kept."""
    for name in ("secret_key", "model_server_token"):
        _make_secret(data / name)


def _make_secret(path: Path) -> None:
    """Written aside and linked into place, so that two starts at once agree on one value and no reader sees half."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.touch(mode=0o600)
    try:
        aside.write_text(secrets.token_urlsafe(48))
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
