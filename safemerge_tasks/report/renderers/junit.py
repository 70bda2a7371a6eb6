"""A document's cases as JUnit XML, which CI servers show as tests."""

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from safemerge_tasks.report.document import Case, Document
from safemerge_tasks.report.printable import printable

RESULTS = {"bad": Failure, "unsure": Error}


def as_junit(document: Document) -> str:
    """Return one test case a case: a bad one is a failure, an unsure one an error."""
    xml = JUnitXml("safemerge check")
    suites: dict[str, TestSuite] = {}
    for one in document.cases:
        suite = suites.setdefault(one.task, TestSuite(printable(one.task)))
        suite.add_testcase(_case(one))
    for suite in suites.values():
        xml.add_testsuite(suite)
    text: bytes = xml.tostring()  # type: ignore[no-untyped-call]
    return text.decode("utf-8")


def _case(one: Case) -> TestCase:
    case = TestCase(name=printable(one.name), classname=printable(f"safemerge.{one.task}"), time=0)
    if one.mark.tone in RESULTS:
        case.result = [RESULTS[one.mark.tone](printable(one.reason), one.mark.text)]
    case.system_out = "\n".join(map(printable, one.log))
    return case
