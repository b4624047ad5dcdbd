from datetime import UTC, datetime

import pytest

from danlu.errors import RunError
from danlu.runs.findings import (
    Evidence,
    Finding,
    ProbeReport,
    read_probes,
    worst_first,
    write_probe,
)

SEEN = Evidence(says="答案都是“北京”。", records=("r1",), steps=(3, 4))


def finding(name: str, severity: str, confidence: str) -> Finding:
    return Finding(name=name, says=name, severity=severity, confidence=confidence, evidence=(SEEN,))


def test_findings_are_kept_worst_first_and_read_as_they_were_written(tmp_path):
    findings = (
        finding("noted", "note", "high"),
        finding("doubtful", "serious", "low"),
        finding("sure", "serious", "high"),
        finding("warned", "warning", "high"),
    )
    report = ProbeReport(probe="curves", made_at=datetime.now(UTC), findings=findings)
    path = write_probe(tmp_path, report)
    assert "北京" in path.read_text("utf-8")
    (read,) = read_probes(tmp_path)
    assert [one.name for one in read.findings] == ["sure", "doubtful", "warned", "noted"]
    assert read.findings == tuple(worst_first(findings))
    assert read.made_at == report.made_at


def test_a_probe_replaces_its_own_file_only(tmp_path):
    for probe, name in (("curves", "old"), ("fit", "other"), ("curves", "new")):
        write_probe(
            tmp_path,
            ProbeReport(
                probe=probe,
                made_at=datetime.now(UTC),
                findings=(finding(name, "note", "low"),),
            ),
        )
    assert [one.findings[0].name for one in read_probes(tmp_path)] == ["new", "other"]


def test_a_broken_file_is_told_by_name(tmp_path):
    (tmp_path / "diagnosis").mkdir()
    (tmp_path / "diagnosis" / "fit.json").write_text("{")
    with pytest.raises(RunError, match=r"fit\.json"):
        read_probes(tmp_path)


def test_a_finding_without_evidence_is_none():
    with pytest.raises(ValueError, match="evidence"):
        Finding(name="x", says="x", severity="note", confidence="low", evidence=())
