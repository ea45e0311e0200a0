import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CAPABILITIES = (
    "realdata",
    "gpu",
    "browser",
    "cluster",
    "network",
    "prefect",
    "unar",
    "bsdtar",
    "ffmpeg",
    "s3",
    "postgres",
    "hadolint",
    "compose",
    "proof",
)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_what_is_absent_skips_with_its_reason_unless_it_is_required(monkeypatch, need, capability):
    monkeypatch.setenv("ARAFLOW_REQUIRE", "")
    with pytest.raises(pytest.skip.Exception, match=f"needs {capability}: broken"):
        need(capability, "broken")
    for value in (capability, "all", f"{'gpu' if capability != 'gpu' else 'prefect'}, {capability}"):
        monkeypatch.setenv("ARAFLOW_REQUIRE", value)
        with pytest.raises(pytest.fail.Exception, match=f"ARAFLOW_REQUIRE names {capability}, but broken"):
            need(capability, "broken")


def test_another_capability_does_not_turn_the_skip_into_a_failure(monkeypatch, need):
    monkeypatch.setenv("ARAFLOW_REQUIRE", "prefect")
    with pytest.raises(pytest.skip.Exception):
        need("gpu", "broken")


@pytest.mark.parametrize(("required", "exit_code"), [("", 0), ("realdata", 1), ("all", 1), ("gpus", 4)])
def test_markers_and_the_fixture_take_the_same_way(pytester, monkeypatch, tmp_path, required, exit_code):
    monkeypatch.setenv("ARAFLOW_REAL_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("ARAFLOW_REQUIRE", required)
    shutil.copy(Path(__file__).with_name("conftest.py"), pytester.path / "conftest.py")
    pytester.makeini("[pytest]\nmarkers =\n" + "".join(f"    {name}: of araflow\n" for name in CAPABILITIES))
    pytester.makepyfile(
        """
        import pytest

        def test_by_fixture(real_data): ...

        @pytest.mark.realdata
        def test_by_marker(): ...

        def test_plain(): ...
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.ret == exit_code
    if exit_code == 0:
        result.assert_outcomes(passed=1, skipped=2)
        assert pytester.runpytest_inprocess("-m", "not realdata").parseoutcomes() == {"passed": 1, "deselected": 2}
    elif exit_code == 1:
        assert result.parseoutcomes()["passed"] == 1
        assert "skipped" not in result.parseoutcomes()
        result.stdout.fnmatch_lines(["*ARAFLOW_REQUIRE names realdata, but *nowhere/clips is absent*"])
    else:
        result.stderr.fnmatch_lines(["*ARAFLOW_REQUIRE: unknown gpus; allowed: realdata,*"])
