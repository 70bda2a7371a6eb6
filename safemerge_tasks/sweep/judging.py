"""Judging saved results, each published as it is finished."""

import shutil
from collections.abc import Sequence

from safemerge_tasks.sweep.graph import RESULTS
from safemerge_tasks.sweep.session import Session
from safemerge_tasks.sweep.steps import Step
from safemerge_tasks.sweep.store import SCRATCH


def judge(session: Session, judged_now: Sequence[Step]) -> None:
    """Judge many results with one judge, loaded once.

    Raises:
        SafemergeError: the judge cannot work.
    """
    from safemerge_tasks.judges import JudgeSettings
    from safemerge_tasks.judges.judging.saved_results import BACKUP_SUFFIX, judge_folder
    from safemerge_tasks.results import Run
    from safemerge_tasks.results.rewriting import LOCK

    steps = {step.key: step for step in judged_now}
    with session.store.staging(f"{SCRATCH}{judged_now[0].key}") as root:
        for step in judged_now:
            shutil.copytree(session.work(step)["results"], root / step.key / RESULTS)

        def judged(run: Run, pending: int) -> None:
            key = run.path.relative_to(root).parts[0]
            if pending:
                reason = f"the judge gave no verdict on {pending} responses"
                session.failed(steps[key], reason)
                return
            with session.store.staging(key) as staged:
                # The step before keeps what there was before judging.
                for name in (f"*{BACKUP_SUFFIX}", LOCK):
                    for left in (root / key / RESULTS).rglob(name):
                        left.unlink()
                (root / key / RESULTS).rename(staged / RESULTS)
                session.publish(steps[key], staged)

        settings = JudgeSettings.from_metadata(judged_now[0].work["judge"])
        judge_folder(root, settings, on_judged=judged)
