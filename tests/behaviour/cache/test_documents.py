"""What the client makes of each configuration of the table, fetched and cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from instance_lookup import InstanceConfig
from instance_lookup.cache.entry import Generation, Rejected, pack, read_document, unpack
from instance_lookup.cache.kinds import instance_kind
from tests.support.config_documents import ID, TABLE

if TYPE_CHECKING:
    from datetime import datetime

    from tests.support.config_documents import Row

KIND = instance_kind(InstanceConfig)


def dates_of(config: InstanceConfig) -> list[datetime]:
    """Return the dates that a configuration has."""
    metadata = config.metadata
    return [date for date in (metadata.created_at, metadata.updated_at) if date is not None]


used = pytest.mark.parametrize(
    "row", [row for row in TABLE if row.becomes is not None], ids=lambda row: ascii(row.name)
)
refused = pytest.mark.parametrize(
    "row", [row for row in TABLE if row.becomes is None], ids=lambda row: ascii(row.name)
)

dated = pytest.mark.parametrize(
    "row",
    [row for row in TABLE if row.becomes is not None and dates_of(row.config)],
    ids=lambda row: ascii(row.name),
)


def packed(row: Row) -> bytes:
    generation = Generation("all", "own")
    return pack(KIND, ID, row.body, generation=generation, cached_at=1.0, ttl=300, etag=None)


@used
def test_document_is_read_as_the_table_says(row: Row) -> None:
    """Each document of the table is read as its row says; bad decoration is left out."""
    accepted = read_document(KIND, ID, row.body)
    assert accepted.document == row.config
    assert {part.place for part in accepted.left_out} == set(row.left_out)


@used
def test_document_is_the_same_out_of_the_cache(row: Row) -> None:
    """The cache holds what the service wrote, and an entry is read by the same rules."""
    entry = unpack(KIND, ID, packed(row))
    assert entry.document == row.config
    assert bytes(entry.body) == row.body


@refused
def test_document_is_refused_as_the_table_says(row: Row) -> None:
    """Reading is strict where a mistake could let a user in or drop a limit."""
    with pytest.raises(Rejected):
        read_document(KIND, ID, row.body)


@refused
def test_document_is_refused_out_of_the_cache(row: Row) -> None:
    """A document in the cache is checked as strictly as one from the service."""
    with pytest.raises(Rejected):
        unpack(KIND, ID, packed(row))


@dated
def test_dates_can_be_compared_with_now(row: Row) -> None:
    """Each date that was read has an offset, so it can be compared with now."""
    metadata = read_document(KIND, ID, row.body).document.metadata
    for moment in (metadata.created_at, metadata.updated_at):
        assert moment is None or moment.utcoffset() is not None


@pytest.mark.parametrize(
    "number",
    [
        "-0",
        "-0.0",
        "1e-400",
        "1e2",
        "4503599627370497.7",
        "9007199254740993.5",
        "7.00000000000000001",
    ],
)
def test_number_that_would_round_is_no_id(number: str) -> None:
    """A number that a float would round is no id: it would be another user's."""
    body = f'{{"instance_id": "{ID}", "metadata": {{"owner": {number}}}}}'.encode()

    with pytest.raises(Rejected, match="owner"):
        read_document(KIND, ID, body)


@pytest.mark.parametrize("number", ["9007199254740993.0", "7.000"])
def test_whole_number_is_the_id_that_was_written(number: str) -> None:
    """A whole number of any length becomes the id with exactly its digits."""
    body = f'{{"instance_id": "{ID}", "metadata": {{"owner": {number}}}}}'.encode()

    document: Any = read_document(KIND, ID, body).document
    assert document.metadata.owner == number.partition(".")[0]
