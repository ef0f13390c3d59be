from flywheel.http import archives


def test_it_is_sent_as_an_attachment_that_no_browser_opens():
    reply = archives.attachment([b"PK"], "line-v1")

    assert reply["Content-Disposition"] == 'attachment; filename="line-v1.zip"'
    assert reply["X-Content-Type-Options"] == "nosniff"


def test_its_pieces_are_sent_as_they_come():
    reply = archives.attachment(iter([b"P", b"K"]), "line-v1")

    assert list(reply.streaming_content) == [b"P", b"K"]
