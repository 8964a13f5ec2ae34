"""The recorded results: one copy of each number for prose, rules and downloads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from book.pipeline.chapters import BookError
from book.pipeline.language.catalogues import say

FIELDS = ("value", "low", "high", "n", "unit")


class Results:
    """Records by chapter key, cited as `ch4.search_ms` or `ch4.search_ms.low`.

    The key `run` holds facts about the run itself, such as `run.cpu`.

    Args:
        records: chapter key -> record name -> record.
        facts: Facts about the run. `absent` lists the chapter keys left out of this
            build; their records show as a dash. `dataset` names the reader's data,
            `models` the reader's models, `recorded` a run of `book/results`, and
            `not_installed` packages of encoders: with each, records may be missing.
    """

    def __init__(
        self,
        records: Mapping[str, Mapping[str, Mapping[str, Any]]],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.records = records
        self.facts = facts or {}

    def get(self, reference: str) -> Any:
        """Return a record's value, or the named field of it; None if left out.

        Raises:
            BookError: If there is no such record or field.
        """
        key, name, field = (*reference.split("."), "", "value")[:3]
        field = field or "value"
        if key in self.facts.get("absent", ()):
            return None
        if key == "run" and name in self.facts:
            return self.facts[name]
        found = self.records.get(key, {}).get(name)
        if found is None and self.may_lack_records:
            return None
        if found is None:
            raise BookError(f"no record {reference!r}{self._near(key, name)}")
        if field in FIELDS and found.get(field) is None and self.may_lack_records:
            return None
        if field not in FIELDS or found.get(field) is None:
            raise BookError(f"record {key}.{name} has no {field!r}")
        return found[field]

    @property
    def may_lack_records(self) -> bool:
        """Whether it is a reader's, of other code, or made without all encoders."""
        other = not {"dataset", "models", "recorded"}.isdisjoint(self.facts)
        return other or bool(self.facts.get("not_installed"))

    def is_timed(self, reference: str) -> bool:
        """Whether a citation names a record that is a time, or computed from times."""
        key, name = reference.split(".")[:2]
        return bool(self.records.get(key, {}).get(name, {}).get("timed"))

    def has_interval(self, reference: str) -> bool:
        """Whether the run holds a record of that name with both ends, from n > 1."""
        key, name = reference.split(".")[:2]
        found = self.records.get(key, {}).get(name, {})
        return found.get("low") is not None and found.get("n") != 1

    def text(self, citation: str) -> str:
        """Format a citation such as `ch4.search_ms:.2f`.

        Raises:
            BookError: For an unknown record or a format that does not fit its value.
        """
        reference, _, form = citation.partition(":")
        value = self.get(reference)
        if value is None:
            return "–"
        try:
            return format(value, form)
        except ValueError as error:
            raise BookError(f"{citation!r}: {error}") from error

    def interval(self, citation: str) -> str:
        """Format a value with its interval: `12.3 [11.9, 12.8]`."""
        reference, _, form = citation.partition(":")
        value, low, high = (
            self.text(f"{reference}{field}:{form}") for field in ("", ".low", ".high")
        )
        return f"{value} [{low}, {high}]"

    def describe(self, reference: str) -> str:
        """Say all of a record in one line; of a fact or a missing record, its name.

        >>> made = {"value": 5.0, "low": 4.0, "high": 6.0, "n": 9, "unit": "ms"}
        >>> Results({"ch4": {"rt": made | {"timed": True}}}).describe("ch4.rt.low")
        'ch4.rt = 5 ms, interval [4, 6], n = 9, timed'
        """
        key, name = reference.split(".")[:2]
        found = self.records.get(key, {}).get(name)
        if found is None:
            return f"{key}.{name}"
        said = f"{key}.{name} = {found['value']:.6g} {found.get('unit', '')}".strip()
        if found.get("low") is not None:
            ends = f"[{found['low']:.4g}, {found['high']:.4g}]"
            said += say(", interval {ends}", ends=ends)
        if found.get("n") is not None:
            said += f", n = {found['n']:,}"
        return said + say(", ") + (say("timed") if found.get("timed") else say("exact"))

    def save(self, folder: Path) -> None:
        """Write JSON: `run.json` for the facts, one file for each chapter key."""
        folder.mkdir(parents=True, exist_ok=True)
        for key, content in {**self.records, "run": self.facts}.items():
            text = json.dumps(content, indent=1, ensure_ascii=False)
            (folder / f"{key}.json").write_text(text + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Results":
        """Read what `save` wrote."""
        files = {path.stem: _content(path) for path in folder.glob("*.json")}
        facts = files.pop("run", {})
        return cls(files, facts)

    def _near(self, key: str, name: str) -> str:
        known = sorted(self.facts if key == "run" else self.records.get(key, {}))
        close = [k for k in known if k[:4] == name[:4]] or known[:8]
        return f"; {key} has {', '.join(close)}" if close else f"; {key} has none"


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        content = error
    if not isinstance(content, dict):
        raise BookError(f"{path} must hold JSON as a build writes it; got {content}")
    return content
