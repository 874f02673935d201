"""
Tests of the REST API of a real hub, by requests made of its OpenAPI document.

schemathesis reads the document as any client would, and asks what it allows and
what it does not. ``MEZITE_TEST_EXAMPLES`` says how often for each operation.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from mezite.cli.local import LocalCluster, local_cluster

# The hub's certificate is from its own authority, which is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

EXAMPLES: Final = int(os.environ.get("MEZITE_TEST_EXAMPLES", "4"))
# That the password, a token or a role's document is one, no schema says.
UNKNOWABLE: Final = [positive_data_acceptance]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(Path(tmp_path_factory.mktemp("rest"))) as cluster:
        cluster.start_hub()
        cluster.admin("users", "create", "robot", "--admin", "--logins=root")
        yield cluster


@pytest.fixture(scope="module")
def token(hub: LocalCluster) -> str:
    (made,) = hub.admin("api-tokens", "create", "--user=robot", "--name=schemathesis")
    secret: str = made["secret"]
    return secret


def operations(hub: LocalCluster) -> Iterator[Any]:
    address = f"https://{hub.address}/v1/webapi/openapi.json"
    document = requests.get(address, verify=False, timeout=10).json()
    schema = schemathesis.openapi.from_dict(document)
    for result in schema.get_all_operations():
        yield result.ok()


def ask_all(hub: LocalCluster, headers: dict[str, str], mode: GenerationMode) -> Counter[int]:
    """Ask every operation; how often there was an answer of each status."""
    answers: Counter[int] = Counter()
    session = requests.Session()
    session.verify = False
    for operation in operations(hub):

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            url = f"https://{hub.address}"
            response = case.call(
                base_url=url, session=session, headers=headers, timeout=20, verify=False
            )
            case.validate_response(
                response,
                excluded_checks=UNKNOWABLE,
                transport_kwargs={"verify": False, "headers": headers},
            )
            answers[response.status_code] += 1

        try:
            ask()
        except Unsatisfiable:
            # Nothing is wrong to ask where nothing is asked.
            assert mode is GenerationMode.NEGATIVE
    return answers


class SchemathesisTests:
    @pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
    def test_administrator(self, hub: LocalCluster, token: str, mode: GenerationMode) -> None:
        """Whatever an administrator asks, each answer is as the document says."""
        answers = ask_all(hub, {"Authorization": f"Bearer {token}"}, mode)
        assert answers[400] if mode is GenerationMode.NEGATIVE else answers[200]
        assert not answers[500]
        assert "Traceback" not in (hub.directory / "hub.log").read_text()

    @pytest.mark.parametrize(
        "headers",
        [{}, {"Authorization": "Bearer mzb_wrong"}, {"Cookie": "mezite_session=mza_wrong"}],
        ids=["nobody", "wrong bearer", "wrong cookie"],
    )
    def test_strangers(self, hub: LocalCluster, headers: dict[str, str]) -> None:
        """Whoever proves nothing gets nothing but what needs nothing, in the document's words."""
        answers = ask_all(hub, headers, GenerationMode.POSITIVE)
        assert answers[401] + answers[403] > answers[200]
        assert not answers[500]
