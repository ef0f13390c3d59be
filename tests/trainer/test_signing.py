"""Signatures, against the test vector that the libraries of Standard Webhooks share."""

import base64
import hashlib
import hmac

from trainer import signing

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}'


def test_the_published_vector_comes_out():
    assert signing.signature(SECRET, MESSAGE, TIMESTAMP, BODY) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_headers_carry_id_time_and_a_signature_for_each_secret():
    other = signing.secret_of("platform", "salt")

    headers = signing.headers(MESSAGE, TIMESTAMP, BODY, [SECRET, other])

    first, second = headers["webhook-signature"].split(" ")
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (MESSAGE, "1614265330")
    assert (first, second) == (
        signing.signature(SECRET, MESSAGE, TIMESTAMP, BODY),
        signing.signature(other, MESSAGE, TIMESTAMP, BODY),
    )


def test_letters_beyond_ascii_are_signed_as_they_are_sent():
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = hmac.new(key, f"{MESSAGE}.{TIMESTAMP}.ä→".encode(), hashlib.sha256).digest()

    assert signing.signature(SECRET, MESSAGE, TIMESTAMP, "ä→") == f"v1,{base64.b64encode(expected).decode()}"


def test_a_secret_is_of_its_salt_and_of_the_platforms_key():
    secrets = {signing.secret_of(key, salt) for key in ("one", "two") for salt in ("a", "b")}

    assert len(secrets) == 4
    assert signing.secret_of("one", "a") in secrets
    assert {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in secrets} == {32}


def test_a_fingerprint_does_not_give_the_secret_away():
    assert signing.fingerprint(SECRET) not in SECRET
    assert len(signing.fingerprint(SECRET)) == 16
