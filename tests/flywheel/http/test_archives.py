import io
import zipfile
from pathlib import Path

from flywheel.http import archives


def written(folder: Path) -> Path:
    (folder / "sub").mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "sub" / "weights.safetensors").write_bytes(b"w" * 3_000_000)
    return folder


def test_a_directory_comes_back_whole(tmp_path: Path):
    raw = b"".join(archives.zipped(written(tmp_path), "line-v1"))

    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None
        assert archive.read("line-v1/config.json") == b"{}"
        assert len(archive.read("line-v1/sub/weights.safetensors")) == 3_000_000


def test_no_more_than_a_piece_is_held_at_a_time(tmp_path: Path):
    assert max(map(len, archives.zipped(written(tmp_path), "x"))) < 2 * archives.CHUNK_BYTES


def test_it_is_sent_as_an_attachment_that_no_browser_opens(tmp_path: Path):
    reply = archives.attachment(written(tmp_path), "line-v1")

    assert reply["Content-Disposition"] == 'attachment; filename="line-v1.zip"'
    assert reply["X-Content-Type-Options"] == "nosniff"
