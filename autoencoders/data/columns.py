"""A table's columns: their roles, what follows without one, and the request that settles a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from autoencoders.data.manifest import Column
from autoencoders.data.options import After, Group, ReadOptions, Role
from autoencoders.errors import DataRefused

_LISTED = 50


@dataclass(frozen=True)
class Plan:
    """What is read of each column; `columns` has all of them in file order."""

    columns: list[Column]
    group: str | None
    time: str | None

    def named(self, role: Role) -> list[str]:
        """The columns of a role, in file order."""
        return [column.name for column in self.columns if column.role == role]

    @property
    def needed(self) -> list[str]:
        """The columns that have to be read at all, in file order."""
        extra = {self.group, self.time}
        return [c.name for c in self.columns if c.role in ("use", "id") or c.name in extra]


def check_names(names: Sequence[str], options: ReadOptions) -> None:
    """Refuse columns that cannot be told apart, are too many, or lack one that a role was given to."""
    if not names:
        raise DataRefused("the table has no columns")
    if len(names) > options.limits.max_columns:
        raise DataRefused(
            f"the table has {len(names):,} columns; at most {options.limits.max_columns:,} are taken"
        )
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataRefused("two columns have this name: rename one of them", column=name)
        seen.add(name)
    asked = [*options.roles, *([options.holdout.group] if isinstance(options.holdout, Group) else [])]
    for name in asked:
        if name not in seen:
            raise DataRefused(f"there is no such column; the table has {_list(names)}", column=name)


def plan(names: Sequence[str], not_numbers: Mapping[str, str], options: ReadOptions) -> Plan:
    """Give every column its role.

    Args:
        names: all columns in file order.
        not_numbers: those that cannot be trained on as they are, with what they hold.
        options: the roles asked for, and the holdout.

    Raises:
        DataRefused: a column of text has no role (every such column is listed, with the request that ignores
            them), or one that needs numbers; or there is nothing left to train on.
    """
    check_names(names, options)
    group, time = _split_columns(options)
    roles: dict[str, Role] = dict(options.roles)
    if group is not None:
        roles.setdefault(group, "group")
    unsettled = [name for name in names if name in not_numbers and name not in roles]
    if unsettled:
        raise DataRefused(_settle(names, unsettled, not_numbers, options))
    for name in names:
        if roles.get(name) == "use" and name in not_numbers:
            raise DataRefused(f"it holds {not_numbers[name]}, which cannot be trained on", column=name)
    columns = [Column(name=name, role=roles.get(name, "use")) for name in names]
    if not any(column.role == "use" for column in columns):
        raise DataRefused(f"no column is left to train on; the table has {_list(names)}")
    return Plan(columns, group, time)


def _split_columns(options: ReadOptions) -> tuple[str | None, str | None]:
    groups = [name for name, role in options.roles.items() if role == "group"]
    times = [name for name, role in options.roles.items() if role == "time"]
    if isinstance(options.holdout, Group):
        groups = [options.holdout.group]
    for found, role in ((groups, "group"), (times, "time")):
        if len(found) > 1:
            raise DataRefused(f"two columns have the role `{role}`: {_list(found)}")
    if isinstance(options.holdout, After) and not times:
        raise DataRefused("a split by `after` needs a column with the role `time` (`?time=column`)")
    # The group decides only where no other holdout was asked for.
    by_group = options.holdout is None or isinstance(options.holdout, Group)
    by_time = isinstance(options.holdout, After)
    return (groups[0] if groups and by_group else None), (times[0] if by_time else None)


def _settle(
    names: Sequence[str], unsettled: Sequence[str], not_numbers: Mapping[str, str], options: ReadOptions
) -> str:
    asked: dict[str, list[str]] = {"ignore": [n for n, role in options.roles.items() if role == "ignore"]}
    asked["ignore"] += unsettled
    for name, role in options.roles.items():
        if role != "ignore":
            asked.setdefault(role, []).append(name)
    query = "&".join(f"{role}={','.join(quote(n, safe='') for n in named)}" for role, named in asked.items())
    kinds = ", ".join(f"{name!r} ({not_numbers[name]})" for name in unsettled[:_LISTED])
    return (
        f"these columns do not hold numbers: {kinds}. Say what they are; `?{query}` would ignore them "
        f"(`id=` keeps one beside the codes). The table has the columns {_list(names)}"
    )


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(repr(name) for name in names[:_LISTED]) + more
