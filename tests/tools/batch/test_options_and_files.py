"""What is typed and what is read: limits, addresses of schedulers, cluster files, lists of cases."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tools.batch.cluster_file import Described, read_cluster_file
from tools.batch.options import BatchOptions, read_options
from tools.case_lists import listed_cases, read_rows
from tools.cli import app
from volumes.errors import InputError


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("1.5 GiB", 3 * 2**29), ("800m", 800 * 10**6), ("2000000000", 2 * 10**9), ("4g", 4 * 10**9)],
)
def test_sizes(text: str, size: int) -> None:
    assert read_options(memory_limit=text).memory == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15min", 900), ("1h30min", 5400), ("2 h", 7200), ("0.5s", 0.5), ("1d", 86400)]
)
def test_times(text: str, seconds: float) -> None:
    assert read_options(time_limit=text).seconds == seconds


@pytest.mark.parametrize(
    "options",
    [
        *({"memory_limit": text} for text in ("", "much", "8XB", "-1GB", "4", "1e9")),
        *({"time_limit": text} for text in ("", "10", "soon", "0s", "5min later", "-1s")),
        {"jobs": 0},
        {"cluster": "slurm"},
        {"cluster": "none.yaml"},
        {"cluster": "tcp://scheduler"},
        {"cluster": "http://scheduler:8786"},
        {"cluster": "tcp://user@scheduler:8786"},
        {"cluster": "tcp://scheduler:8786/x"},
        {"cluster": "tcp://scheduler:99999"},
        {"cluster": "tcp://scheduler:8786", "jobs": 2},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        read_options(**options)
    assert "\n" not in str(caught.value)


def test_what_runs_in_this_process() -> None:
    assert read_options().in_this_process and read_options(retry=True).in_this_process
    for spread in ({"jobs": 2}, {"cluster": "local"}, {"memory_limit": "4GB"}, {"time_limit": "1h"}):
        assert not read_options(**spread).in_this_process  # type: ignore[arg-type]
    assert read_options(cluster="tls://node1:8786") == BatchOptions(cluster="tls://node1:8786")


def cluster_file(folder: Path, content: object) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_cluster_file(tmp_path: Path) -> None:
    options = {"interface": "ib0", "queue": "gpu", "cores": 4, "memory": "16GB"}
    path = cluster_file(
        tmp_path, {"cluster": "slurm", "workers": {"minimum": 0, "maximum": 64}, "gpus": 1, "options": options}
    )
    found = read_cluster_file(path)
    assert found == Described(where=path, kind="slurm", minimum=0, maximum=64, gpus=1, options=options)


@pytest.mark.parametrize(
    "content",
    [
        "a: [",
        "just text",
        {"cluster": "cloud", "workers": 1},
        {"cluster": "shell"},
        {"cluster": "shell", "workers": 0},
        {"cluster": "shell", "workers": True},
        {"cluster": "shell", "workers": {"minimum": 3, "maximum": 2}},
        {"cluster": "shell", "workers": 1, "gpu": 1},
        {"cluster": "shell", "workers": 1, "gpus": -1},
        {"cluster": "shell", "workers": 1, "threads": 0},
        {"cluster": "shell", "workers": 1, "options": ["x"]},
        {"cluster": "slurm", "workers": 1, "options": {"cores": 1, "memory": "1GB"}},  # listens, but where?
    ],
)
def test_cluster_files_that_cannot_be(tmp_path: Path, content: object) -> None:
    with pytest.raises(InputError) as caught:
        read_cluster_file(cluster_file(tmp_path, content))
    assert "cluster.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_options_of_a_queue(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs keyslice[cluster]")
    from tools.batch.clusters import queue_options

    given = {"interface": "ib0", "cores": 8, "memory": "32GB", "worker_extra_args": ["--lifetime", "2h"]}
    described = Described(where=tmp_path, kind="slurm", minimum=1, maximum=1, gpus=1, options=given)
    found = queue_options(described, tmp_path)
    assert found["worker_extra_args"] == [
        *("--lifetime", "2h", "--nthreads", "1", "--dashboard-address", "127.0.0.1:0", "--resources", "GPU=1")
    ]
    assert found["scheduler_options"] == {"dashboard_address": "127.0.0.1:0"}
    assert found["protocol"] == "tls://" and found["security"].require_encryption
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    assert given == {**given, "worker_extra_args": ["--lifetime", "2h"]}, "what was read stays as it is"
    own = queue_options(
        Described(where=tmp_path, kind="slurm", minimum=1, maximum=1, options={**given, "protocol": "tcp://"}), tmp_path
    )
    assert "security" not in own and own["protocol"] == "tcp://"


def test_without_the_extra_one_line_says_what_to_install(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("distributed", "tools.batch.clusters"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "tools.batch.dask_workers", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    listed = case.folder / "list.csv"
    listed.write_text(f"input,keys\n{case.ct},{case.keys}\n")
    out = case.folder / "out"
    result = CliRunner().invoke(app, ["propagate", "-i", str(listed), "-o", str(out), "--cluster", "local"])
    assert result.exit_code == 2 and not out.exists()
    assert "pip install 'keyslice[cluster]'" in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_an_option_for_many_is_refused_for_one(case: Any) -> None:
    arguments = ["propagate", "-i", case.ct, "-k", case.keys, "-o", case.folder / "o.nii.gz", "--jobs", 2]
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == 2 and "option for runs over many" in result.stderr


def test_a_list_names_cases_anywhere(tmp_path: Path) -> None:
    listed = tmp_path / "lists" / "cases.csv"
    listed.parent.mkdir()
    listed.write_text(
        "\ufeffCase;Input;Keys;Extents;ward\n"
        f"b;../b_0000.nii.gz;../b.seg.nrrd;;7\n;{tmp_path}/a_0000.nii.gz;k/a.nii.gz;m.json;\n"
    )
    cases, unusable = listed_cases(listed, tmp_path / "out", keys=True)
    assert unusable == {}
    assert [(case.name, case.output.name) for case in cases] == [("a", "a.nii.gz"), ("b", "b.seg.nrrd")]
    assert cases[0].ct == tmp_path / "a_0000.nii.gz" and cases[0].extents == listed.parent / "m.json"
    assert cases[1].keys == listed.parent / ".." / "b.seg.nrrd"
    plain = tmp_path / "cases.json"
    plain.write_text(json.dumps({"cases": [{"input": "x.nii.gz", "age": 61, "keys": None}]}))
    (case,), _ = listed_cases(plain, tmp_path)
    assert (case.name, case.keys, case.output) == ("x", None, tmp_path / "x.nii.gz")


def test_rows_that_cannot_be_fail_alone(tmp_path: Path) -> None:
    listed = tmp_path / "cases.csv"
    listed.write_text("case,input\n../up,a.nii.gz\nok,b.nii.gz\n,c.nii.gz\ntwin,d.nii.gz\ntwin,e.nii.gz\nempty,\n")
    rows, unusable = read_rows(listed, ("input",))
    assert [row.name for row in rows] == ["c", "ok"]
    assert sorted(unusable) == ["../up", "empty", "twin"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.csv", None),
        ("x.csv", ""),
        ("x.csv", "case,image\na,b\n"),
        ("x.csv", "input,keys\na,b\n"),
        ("x.json", "{"),
        ("x.json", '{"input": "a"}'),
        ("x.json", "[1]"),
        ("x.csv", b"input\n\xff\xfe\n"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, text: str | bytes | None) -> None:
    path = tmp_path / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    elif text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_rows(path, ("input", "prediction"))
    assert name in str(caught.value) and "\n" not in str(caught.value)
