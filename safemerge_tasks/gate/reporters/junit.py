"""The report as JUnit XML, which CI servers show as tests."""

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from safemerge_tasks.gate.comparison import Comparison, GateReport
from safemerge_tasks.gate.reporters.wording import change, printable, questions, side
from safemerge_tasks.statistics.verdict import Outcome


def as_junit(report: GateReport) -> str:
    """Return one test case a check: a regression is a failure, an undecided one an error."""
    xml = JUnitXml("safemerge check")
    suites: dict[str, TestSuite] = {}
    for one in report.comparisons:
        suite = suites.setdefault(one.check.task, TestSuite(printable(one.check.task)))
        suite.add_testcase(_case(one))
    for suite in suites.values():
        xml.add_testsuite(suite)
    text: bytes = xml.tostring()  # type: ignore[no-untyped-call]
    return text.decode("utf-8")


def _case(one: Comparison) -> TestCase:
    case = TestCase(
        name=printable(f"{one.check.name} by {one.check.judge}"),
        classname=printable(f"safemerge.{one.check.task}"),
        time=0,
    )
    reason = printable(one.reason)
    if one.outcome is Outcome.REGRESSION:
        case.result = [Failure(reason, "regression")]
    elif one.outcome is Outcome.UNDECIDED:
        case.result = [Error(reason, "undecided")]
    case.system_out = printable_lines(one)
    return case


def printable_lines(one: Comparison) -> str:
    """Return the numbers and the flips, a line each."""
    lines = [
        f"{one.outcome}: {one.reason}",
        f"baseline {side(one.baseline)}, candidate {side(one.candidate)}",
        f"change for the worse {change(one)}, {questions(one)} questions, smallest detectable "
        f"{one.detectable:.1%}",
        *(f"worse: {'  '.join(filter(None, flip[1:4]))}" for flip in one.flips),
    ]
    return "\n".join(printable(line) for line in lines)
