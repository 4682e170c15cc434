"""Labels: `{key: value}` on datasets, jobs and models, and how lists filter by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from store.errors import BadName
from store.tables import LabelRow

MAX_LABELS = 64
_MAX_KEY, _MAX_VALUE = 64, 256


def check(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels themselves, or `BadName`: what one database would refuse, the other does not take either."""
    if len(labels) > MAX_LABELS:
        raise BadName("label", str(len(labels)), f"at most {MAX_LABELS} of them")
    for key, value in labels.items():
        if not key or not _is_text(key, _MAX_KEY):
            raise BadName("label's key", key, f"1 to {_MAX_KEY} characters of text")
        if not _is_text(value, _MAX_VALUE):
            raise BadName("label's value", str(value), f"at most {_MAX_VALUE} characters of text")
    return dict(labels)


def _is_text(value: object, longest: int) -> bool:
    if not isinstance(value, str) or len(value) > longest or "\x00" in value:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def write(session: Session, subject: str, labels: Mapping[str, str]) -> None:
    """Note the labels of a new row."""
    session.add_all(LabelRow(subject=subject, key=key, value=value) for key, value in labels.items())


def remove(session: Session, subject: str) -> None:
    """Forget the labels of a row that is removed."""
    session.execute(delete(LabelRow).where(LabelRow.subject == subject))


def matching(subject: InstrumentedAttribute[str], labels: Mapping[str, str]) -> Sequence[ColumnElement[bool]]:
    """Conditions for a list: every one of these labels, with just this value."""
    return [
        subject.in_(select(LabelRow.subject).where(LabelRow.key == key, LabelRow.value == value))
        for key, value in check(labels).items()
    ]
