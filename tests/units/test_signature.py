"""Signatures of Standard Webhooks."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from instance_lookup.push.signature import TOLERANCE, NotSigned, sign, verify
from tests.support.webhook import KEY, NOW, OTHER, SECRET, event

SENT = event(timestamp=NOW, delivery_id="msg_1")
SIGNATURE = SENT.headers["webhook-signature"]


def check(now: float = NOW, secrets: tuple[str, ...] = (SECRET,), **changed: Any) -> str:
    """Verify a delivery of which some headers are others; ``None``: left out."""
    headers = {**SENT.headers, **{name.replace("_", "-"): changed[name] for name in changed}}
    return verify(
        {name: value for name, value in headers.items() if value is not None},
        SENT.body,
        secrets,
        now,
    )


def test_signature_of_the_reference() -> None:
    """What the reference implementation signs (standardwebhooks 1.1 on PyPI) is what we sign."""
    signed = sign(
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1731705121,
        b'{"event_type":"ping"}',
    )
    assert signed == "v1,iLrWodj6H2QrNRSvdASdRo1DzSXYKqa36og0kGXkcTs="


def test_good_signature() -> None:
    """A delivery that is signed with the secret is known by its id."""
    assert check() == "msg_1"


@pytest.mark.parametrize("secret", [b64encode(KEY).decode(), SECRET.rstrip("="), SECRET])
def test_forms_of_a_secret(secret: str) -> None:
    """A secret is Base64, with its prefix or without it, padded or not."""
    assert check(secrets=(secret,)) == "msg_1"


def test_rotation() -> None:
    """While secrets are changed the old one and the new one count, in any order."""
    assert check(secrets=(OTHER, SECRET)) == check(secrets=(SECRET, OTHER)) == "msg_1"


@pytest.mark.parametrize(
    "given",
    [
        f"v1,bm90IHRoaXM= {SIGNATURE}",
        f"{SIGNATURE} v1,bm90IHRoaXM=",
        f"v1a,{SIGNATURE[3:]} v2,x nonsense  , v1, {SIGNATURE}",
    ],
)
def test_one_of_several_signatures(given: str) -> None:
    """A sender that changes its secret signs with both; other versions are passed over."""
    assert check(webhook_signature=given) == "msg_1"


@pytest.mark.parametrize("off", [-TOLERANCE, 0, TOLERANCE])
def test_clocks_that_differ(off: int) -> None:
    """Clocks may differ by five minutes, to the second."""
    assert check(now=NOW + off) == "msg_1"


@pytest.mark.parametrize(
    ("off", "way"), [(-TOLERANCE - 0.001, "ahead of"), (TOLERANCE + 0.001, "behind")]
)
def test_too_old_or_too_new(off: float, way: str) -> None:
    """What was signed more than five minutes ago, or later than now by as much, is not taken."""
    with pytest.raises(NotSigned, match=f"300 s {way} our clock"):
        check(now=NOW + off)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook_id": None},
        {"webhook_id": ""},
        {"webhook_id": "msg_2"},
        {"webhook_id": "msg_1,msg_1"},
        {"webhook_id": "a b"},
        {"webhook_id": "m" * 257},
        {"webhook_id": "müsli"},
        {"webhook_timestamp": None},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": f"{NOW + 1}"},
        {"webhook_timestamp": f"{NOW}.0"},
        {"webhook_timestamp": f"+{NOW}"},
        {"webhook_timestamp": f" {NOW}"},
        {"webhook_timestamp": f"{NOW}\n"},
        {"webhook_timestamp": "1.8e9"},
        {"webhook_timestamp": "inf"},
        {"webhook_timestamp": "nan"},
        {"webhook_timestamp": "١٨٠٠٠٠٠٠٠٠"},
        {"webhook_timestamp": "9" * 5000},
        {"webhook_timestamp": f"{NOW},{NOW}"},
        {"webhook_signature": None},
        {"webhook_signature": ""},
        {"webhook_signature": "v1"},
        {"webhook_signature": "v1,"},
        {"webhook_signature": SIGNATURE[3:]},
        {"webhook_signature": f"v1a,{SIGNATURE[3:]}"},
        {"webhook_signature": f"{SIGNATURE},{SIGNATURE}"},
        {"webhook_signature": SIGNATURE.swapcase()},
        {"webhook_signature": SIGNATURE.rstrip("=")},
        {"webhook_signature": f"{SIGNATURE}\n"},
        {"webhook_signature": "v1,\udce4\udcff"},
        {"webhook_signature": f"{'v1,x ' * 1000}{SIGNATURE}"},
    ],
)
def test_not_signed(changed: dict[str, Any]) -> None:
    """A delivery that is not signed to the letter is refused, whatever its headers hold."""
    with pytest.raises(NotSigned):
        check(**changed)


def test_another_body() -> None:
    """One bit of the body that differs is noticed."""
    body = bytes([SENT.body[0] ^ 1]) + SENT.body[1:]
    with pytest.raises(NotSigned, match="matches none"):
        verify(SENT.headers, body, (SECRET,), NOW)


def test_another_secret() -> None:
    """The signature of somebody who has another secret is refused."""
    with pytest.raises(NotSigned, match="matches none"):
        check(secrets=(OTHER,))
