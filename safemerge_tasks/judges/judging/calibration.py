"""How good a judge is by people's labels, kept so that its rates can be corrected."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from safemerge_tasks.common.atomic_write import write_file
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.metrics.confusion import Confusion, Estimate
from safemerge_tasks.metrics.rogan_gladen import corrected_rate
from safemerge_tasks.results import lasting
from safemerge_tasks.verdicts.labelled import Labelled
from safemerge_tasks.verdicts.verdict import Verdict

_log = logging.getLogger(__name__)

FORMAT = 1


@dataclass(frozen=True)
class Calibration:
    """A judge and its verdicts on labelled responses, by language."""

    judge: Mapping[str, Any]
    languages: Mapping[str, Confusion]

    @classmethod
    def of(cls, judge: Judge, labelled: Sequence[Labelled], verdicts: Sequence[Verdict]) -> Self:
        """Return what verdicts and labels say of a judge."""
        languages: dict[str, list[tuple[bool, bool | None]]] = {}
        for row, verdict in zip(labelled, verdicts, strict=True):
            languages.setdefault(row.language, []).append((row.harmful, verdict.harmful))
        counted = {name: Confusion.of(pairs) for name, pairs in languages.items()}
        return cls(lasting(judge.identity()), counted)

    @classmethod
    def read(cls, path: Path, judge: Judge) -> Self:
        """Read a file that `write` wrote, for the judge it was written for.

        Raises:
            SafemergeError: the file is missing or broken, or is another judge's.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}")
            languages = {name: Confusion(**c) for name, c in content["languages"].items()}
            found = cls(content["judge"], languages)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SafemergeError(
                f"judge_calibration={path} cannot be used ({type(error).__name__}: {error}); write "
                "it with `safemerge judge calibrate`."
            ) from error
        now = lasting(judge.identity())
        different = sorted(
            key for key in {*now, *found.judge} if now.get(key) != found.judge.get(key)
        )
        if different:
            raise SafemergeError(
                f"judge_calibration={path} is of another judge (different: "
                f"{', '.join(different)}); calibrate this one with `safemerge judge calibrate`."
            )
        return found

    @classmethod
    def named(cls, settings: JudgeSettings, judge: Judge) -> Self | None:
        """Return the calibration that a judge's settings name; None if they name none.

        Raises:
            SafemergeError: see `read`.
        """
        return cls.read(Path(settings.calibration), judge) if settings.calibration else None

    def write(self, path: Path) -> None:
        """Write the file that `judge_calibration` names.

        Raises:
            SafemergeError: it cannot be written there.
        """
        languages = {name: asdict(confusion) for name, confusion in self.languages.items()}
        content = {"format": FORMAT, "judge": dict(self.judge), "languages": languages}
        write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @property
    def overall(self) -> Confusion:
        """All languages together."""
        return sum(self.languages.values(), start=Confusion())

    def corrected(
        self, task: str, languages: Iterable[str], verdicts: Sequence[Verdict]
    ) -> Estimate | None:
        """Return the ASR behind some verdicts; None, with a warning, where it cannot be told.

        Labels in another language say nothing of how the judge does in this one, so only those of
        the verdicts' own languages count.
        """
        wanted = set(languages)
        missing = sorted(wanted - set(self.languages))
        if missing:
            _log.warning(
                "%s: no corrected ASR, because the judge was not calibrated for %s.",
                task,
                ", ".join(missing),
            )
            return None
        judge = sum((self.languages[name] for name in wanted), start=Confusion())
        scored = [verdict.harmful for verdict in verdicts if verdict.harmful is not None]
        found = corrected_rate(sum(scored), len(scored), judge)
        if found is None:
            _log.warning(
                "%s: no corrected ASR: it needs scored responses, and harmful and harmless labels "
                "on which the judge does better than chance.",
                task,
            )
        return found
