"""The writer's and the fleet's workflows: their scripts under bash, with a real registry, skopeo
and warmup-ci. Where `actions/attest` would run, the test signs in its form."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import ROOT, write_workflow
from tests.github.actions_yaml import ACTIONS, get_step, start_script, write_program
from tests.packs.fleet import Machine
from tests.packs.registries import serve_registry
from tests.packs.signers import GITHUB, ORG, PROVENANCE, SigstoreSigners, make_statement, sign
from warmup.packs import oci
from warmup.packs.api import NoPack
from warmup.packs.attach import Attachment, attach
from warmup.packs.keyless import BUNDLE_TYPE
from warmup.packs.registry import RegistryStore

pytestmark = pytest.mark.needs("docker-registry", "skopeo", "jq", "python:sigstore", "openssl")
WORKFLOWS = ROOT / ".github" / "workflows"
PUBLISH, WARMUP = WORKFLOWS / "publish.yml", WORKFLOWS / "warmup.yml"
FLEET = WORKFLOWS / "fleet-example.yml"
CALLED = f"lab/warmup-ci/.github/workflows/publish.yml@{'7' * 40}"
IDENTITY = {
    "identity": f"https://github.com/{CALLED}",
    "issuer": GITHUB,
    "repository": f"{ORG}/ci",
    "ref": "refs/heads/main",
}


class Job:
    """One job's runner: a folder, and the environment of its steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        write_program(self.folder / "bin", "warmup-ci", f'exec "{sys.executable}" -m warmup "$@"')
        self.environ = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.folder),
            "CI": "true",
        }

    def run(self, file: Path, name: str, **env: str) -> tuple[int, dict[str, str], str]:
        """A step's exit status, outputs and output."""
        output = self.folder / "output"
        output.write_text("")
        environ = {**self.environ, "GITHUB_OUTPUT": str(output), **env}
        child = start_script(get_step(file, name)["run"], self.folder, environ)
        told, _ = child.communicate(timeout=150)
        pairs = (line.partition("=") for line in output.read_text().splitlines())
        return child.returncode, {name: value for name, _, value in pairs}, told


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture
def publisher(tmp_path: Path, host: str) -> Job:
    """skopeo speaks plain HTTP to this registry: containers-registries.conf(5)."""
    job = Job(tmp_path / "publisher")
    conf = job.folder / ".config" / "containers" / "registries.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
    return job


def publish(job: Job, layout: Path, pack: str, signers: SigstoreSigners) -> dict[str, str]:
    """All steps of publish.yml. Returns what it hands on."""
    status, sent, told = job.run(PUBLISH, "Send it", INPUT_PACK=pack, LAYOUT=str(layout))
    assert status == 0, told
    attest(sent["place"], sent["digest"], signers)
    env = {name: sent[name.lower()] for name in ("PLACE", "KEY", "DIGEST")}
    status, named, told = job.run(PUBLISH, "Name it", **env)
    assert status == 0, told
    return named


def attest(place: str, digest: str, signers: SigstoreSigners) -> None:
    """As `actions/attest` with `push-to-registry`: provenance, by the called workflow."""
    before = signers.service.claims
    signers.service.claims = {**before, "job_workflow_ref": CALLED}
    try:
        data = sign(signers, make_statement(digest))
    finally:
        signers.service.claims = before
    store = RegistryStore(place, (place.partition("/")[0],))
    found = store.read_manifest(digest)
    assert found is not None
    annotations = {"dev.sigstore.bundle.predicateType": PROVENANCE}
    attachment = Attachment(
        artifact_type=BUNDLE_TYPE, parts={BUNDLE_TYPE: data}, annotations=annotations
    )
    attach(store, oci.describe(oci.MANIFEST_TYPE, found[1]), attachment)
    store.close()


def test_readers_find_a_pack_once_it_is_signed(
    tmp_path: Path, writer: Machine, reader: Machine, keyless: SigstoreSigners, publisher: Job,
    host: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pack = f"oci://{host}/org/jit"
    assert writer.push(f"dir:{tmp_path}/pack") == 0
    root = keyless.policy["trust_root"]
    reader.packs = {
        "identities": [IDENTITY], "trust_root": root, "insecure_registries": [host]
    }  # fmt: skip
    env = {"INPUT_PACK": pack, "LAYOUT": f"{tmp_path}/pack"}
    status, sent, told = publisher.run(PUBLISH, "Send it", **env)
    assert status == 0, told
    with pytest.raises(NoPack):
        reader.pull(pack)
    named = publish(publisher, tmp_path / "pack", pack, keyless)
    assert sent["key"] == writer.vector.key
    assert named["reference"] == f"{pack}@{sent['digest']}"
    assert reader.pull(pack) == 0
    assert reader.session.check(reader.launches[0]).is_warm


@pytest.mark.parametrize(
    ("pack", "index"),
    [
        ("oci://{host}/org/jit:main", None),
        ("oci://{host}/org/jit@sha256:0", None),
        ("oci://{host}", None),
        ("dir:/tmp", None),
        ("oci://{host}/x; touch hacked", None),
        ("oci://{host}/org/none", {"manifests": []}),
        ("oci://{host}/org/none", {"manifests": [{"digest": "sha256:0"}]}),
        ("oci://{host}/org/none", "twice"),
        ("oci://{host}/org/none", "$(touch hacked)"),
    ],
)
def test_what_is_not_one_pack_is_not_sent(
    tmp_path: Path, writer: Machine, publisher: Job, host: str, pack: str, index: Any
) -> None:
    assert writer.push(f"dir:{tmp_path}/pack") == 0
    file = tmp_path / "pack" / "index.json"
    if index is not None:
        found = json.loads(file.read_bytes())
        if index == "twice":
            found["manifests"] *= 2
        elif isinstance(index, str):
            names = found["manifests"][0]["annotations"]
            names["org.opencontainers.image.ref.name"] = index
        file.write_text(json.dumps(found if isinstance(index, str) else index))
    env = {"INPUT_PACK": pack.format(host=host), "LAYOUT": f"{tmp_path}/pack"}
    status, sent, _ = publisher.run(PUBLISH, "Send it", **env)
    assert status != 0
    assert sent == {}
    assert not list(publisher.folder.rglob("hacked"))


def test_an_only_share_is_merged_as_several_are(tmp_path: Path, writer: Machine) -> None:
    """actions/download-artifact gives one artifact no folder of its own."""
    assert writer.push(f"dir:{tmp_path}/pack") == 0
    job = Job(tmp_path / "merger")
    env = {"SHARES": f"{tmp_path}/pack", "MERGED": f"{tmp_path}/merged"}
    status, _, told = job.run(FLEET, "Merge", RUNNER_TEMP=str(job.folder), **env)
    assert status == 0, told
    (found,) = json.loads((tmp_path / "merged" / "index.json").read_bytes())["manifests"]
    names = found["annotations"]
    assert names["org.opencontainers.image.ref.name"] == writer.vector.key
    env["SHARES"] = "/nowhere"
    assert job.run(FLEET, "Merge", RUNNER_TEMP=str(job.folder), **env)[0] != 0


def test_github_s_token_stays_in_a_file_of_the_job(tmp_path: Path) -> None:
    job = Job(tmp_path / "job")
    env = {"ACTOR": "me", "TOKEN": "s3cret", "FOLDER": str(tmp_path / "a b")}
    name = "Log in to the pack's registry"
    for pack in ("oci://ghcr.io.evil.example/a", "oci://quay.io/ghcr.io/a", "dir:ghcr.io"):
        assert job.run(WARMUP, name, INPUT_PACK=pack, **env) == (0, {}, "")
    assert not (tmp_path / "a b").exists()
    assert job.run(WARMUP, name, INPUT_PACK="oci://ghcr.io/org/jit", **env) == (
        *(0, {"folder": str(tmp_path / "a b")}),
        "",
    )
    file = tmp_path / "a b" / "config.json"
    assert json.loads(file.read_text()) == {"auths": {"ghcr.io": {"auth": "bWU6czNjcmV0"}}}
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    write_program(job.folder / "bin", "docker", 'cat > stdin; printf "%s " "$@" > argv')
    assert job.run(PUBLISH, "Log in", **env)[0] == 0
    told = (job.folder / "argv").read_text()
    assert told == "login ghcr.io --username me --password-stdin "
    assert (job.folder / "stdin").read_text() == "s3cret"


@pytest.mark.slow
def test_a_fleet_warms_publishes_and_finds_it_all_warm(
    tmp_path: Path, keyless: SigstoreSigners, publisher: Job, host: str
) -> None:
    """plan → matrix → merge → writer; then one fresh machine launches nothing for all of it."""
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "root.json").write_text(json.dumps(keyless.service.make_root()))
    pairs = "\n".join(f"{name} = {json.dumps(value)}" for name, value in IDENTITY.items())
    second = write_workflow(repository, "--kernel", "two").read_text().partition("[[model]]")[2]
    second = second.replace('"toy"', '"two"')
    policy = f'[packs]\ntrust_root = "root.json"\ninsecure_registries = ["{host}"]\n'
    more = f"[[model]]{second}\n{policy}[[packs.identities]]\n{pairs}\n"
    workflow = write_workflow(repository, "--kernel", "one", more=more)
    plan = {"WORKFLOW": str(workflow), "SHARDS": "2", "RUNNER_CLASS": "h200x8=gpu,8-gpu"}
    status, planned, told = Job(tmp_path / "plan").run(FLEET, "Plan", **plan)
    assert status == 0, told
    jobs = json.loads(planned["matrix"])["include"]
    assert [each["runs-on"] for each in jobs] == [["gpu", "8-gpu"]] * 2
    assert {each["models"] for each in jobs} == {"toy:1", "two:1"}
    pack = f"oci://{host}/fleet/jit"
    for index, each in enumerate(jobs):
        runner = Job(tmp_path / f"runner-{index}")
        assert "warmed " in warm(runner, workflow, each["models"], pack)
        shutil.copytree(runner.folder / "pack", tmp_path / "shares" / f"share-{index}")
    merger = Job(tmp_path / "merger")
    env = {"SHARES": f"{tmp_path}/shares", "MERGED": f"{tmp_path}/merged"}
    status, _, told = merger.run(FLEET, "Merge", RUNNER_TEMP=str(merger.folder), **env)
    assert status == 0, told
    publish(publisher, tmp_path / "merged", pack, keyless)
    told = warm(Job(tmp_path / "fresh"), workflow, "", pack)
    assert ("warmed " in told, told.count("same vector")) == (False, 2), told


def warm(runner: Job, workflow: Path, models: str, pack: str) -> str:
    """The action's step, with what warmup.yml gives it. Returns what it said."""
    inputs = {
        "MODELS": models,
        "WORKFLOW": str(workflow),
        "CACHE_ROOT": f"{runner.folder}/caches",
        "HOME": f"{runner.folder}/home",
        "FROM": pack,
        "TO": f"dir:{runner.folder}/pack",
        **dict.fromkeys(("PYTHON", "ARGS", "REPORT", "SIGN"), ""),
    }
    env = {f"INPUT_{name}": value for name, value in inputs.items()}
    status, _, told = runner.run(ACTIONS[0], "Warm up", **env)
    assert status == 0, told
    return told
