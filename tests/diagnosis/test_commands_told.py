"""RUN and DATA in commands become what they are; a user's own words stay."""

from danlu.diagnosis.commands import told
from danlu.runs.findings import Evidence, Finding, Remedy


def test_names_are_written_in():
    finding = Finding(
        name="x",
        says="RUN",
        severity="note",
        confidence="low",
        evidence=(Evidence(says="x", command="danlu probe fit RUN --case 'RUN and DATA'"),),
        remedies=(Remedy(says="x", commands=("danlu data drop DATA --id RUNNER",)),),
    )
    [found] = told([finding], "runs/my run", "version:mine@2")
    assert found.evidence[0].command == "danlu probe fit 'runs/my run' --case 'RUN and DATA'"
    assert found.remedies[0].commands == ("danlu data drop version:mine@2 --id RUNNER",)
    [found] = told([finding], "r", None)
    assert found.remedies[0].commands == ("danlu data drop DATA --id RUNNER",)
