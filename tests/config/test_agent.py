"""Tests of the agent's settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.config import keys
from mezite.config.agent import AgentConfig, load_agent
from mezite.config.error import ConfigError
from mezite.config.machine import Machine
from mezite.names import HostPort, NodeName

MACHINE = Machine("db1.example.com", Path("/var/lib"))
NO_FILE = Path("/nonexistent/mezite.yaml")
PIN = "sha256:" + "ab" * 32


class AgentTestCase(SynchronousTestCase):
    """Loading with a file of this text, and nothing of the machine that runs the tests."""

    def load(
        self,
        text: str | None = None,
        *,
        options: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        machine: Machine = MACHINE,
    ) -> AgentConfig:
        self.path = NO_FILE
        if text is not None:
            self.path = Path(self.mktemp()).resolve()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text)
            self.path.chmod(0o600)
        return load_agent(options or {}, environ or {}, machine=machine, default_file=self.path)

    def sentence(self, *arguments: str, **more: Mapping[str, object]) -> str:
        with self.assertRaises(ConfigError) as caught:
            self.load(*arguments, **more)  # type: ignore[arg-type]
        return str(caught.exception)


class LoadAgentTests(AgentTestCase):
    def test_defaults(self) -> None:
        """Without any setting, an agent goes by its machine's name."""
        self.assertEqual(
            self.load(),
            AgentConfig(
                data_dir=Path("/var/lib/mezite-agent"),
                hubs=(),
                hostname=NodeName("db1.example.com"),
            ),
        )

    def test_all_keys(self) -> None:
        """Every key of the agent reaches its field."""
        config = self.load(
            "agent:\n"
            "  data_dir: /srv/agent\n"
            "  hub: hub.example.com\n"
            "  hostname: DB2\n"
            "  token_file: token\n"
            f"  ca_pin: {PIN.upper().replace('SHA', 'sha')}\n"
            "  ca_file: /etc/ca.pem\n"
            "  labels:\n"
            "    env: dev\n"
            "    number: 1\n"
            "    empty: ''\n"
            "  accept_env: [LANG, GIT_*]\n"
            "  gateway_ports: clientspecified\n"
            "  banner_file: banner\n"
        )
        self.assertEqual(
            config,
            AgentConfig(
                data_dir=Path("/srv/agent"),
                hubs=(HostPort("hub.example.com", 3080),),
                hostname=NodeName("db2"),
                token_file=self.path.parent / "token",
                ca_pin=PIN,
                ca_file=Path("/etc/ca.pem"),
                labels={"env": "dev", "number": "1", "empty": ""},
                accept_env=("LANG", "GIT_*"),
                is_gateway=True,
                banner_file=self.path.parent / "banner",
            ),
        )

    def test_options(self) -> None:
        """Every option reaches its field."""
        config = self.load(
            options={
                "data-dir": "/srv/agent",
                "hub": "[::1]:443",
                "hostname": "db2",
                "token": "mzt_0123456789",
                "ca-pin": PIN,
                "label": ["env=dev", "note=a,b=c"],
                "version": 1,
            }
        )
        self.assertEqual(config.hubs, (HostPort("::1", 443),))
        self.assertEqual(config.labels, {"env": "dev", "note": "a,b=c"})
        self.assertEqual(config.token, "mzt_0123456789")

    def test_labels_are_replaced_as_a_whole(self) -> None:
        """Labels of a higher layer take the place of those below."""
        text = "agent: {labels: {env: dev, rack: '7'}}\n"
        environ = {"MEZITE_AGENT_LABELS": "env=prod, zone=a"}
        self.assertEqual(self.load(text, environ=environ).labels, {"env": "prod", "zone": "a"})
        config = self.load(text, environ=environ, options={"label": []})
        self.assertEqual(config.labels, {"env": "prod", "zone": "a"})

    def test_data_dir_of_both(self) -> None:
        """Where one data_dir is set for both programs, the agent's lies inside it."""
        self.assertEqual(self.load("data_dir: /srv/m\n").data_dir, Path("/srv/m/agent"))
        config = self.load("data_dir: /srv/m\n", options={"data-dir": "/srv/a"})
        self.assertEqual(config.data_dir, Path("/srv/a"))

    def test_token_of_the_higher_layer(self) -> None:
        """A token or its file: the one given in the higher layer."""
        text = "agent: {token_file: /etc/token}\n"
        environ = {"MEZITE_AGENT_TOKEN": "mzt_0123456789"}
        config = self.load(text, environ=environ)
        self.assertEqual((config.token, config.token_file), ("mzt_0123456789", None))
        config = self.load(environ=environ, options={"token-file": "/t"})
        self.assertEqual((config.token, config.token_file), (None, Path("/t")))
        self.assertNotIn("mzt_", repr(self.load(environ=environ)))


class RefusalTests(AgentTestCase):
    def test_two_tokens(self) -> None:
        """Two tokens in one layer are a contradiction."""
        self.assertEqual(
            self.sentence(options={"token": "mzt_0123456789", "token-file": "/t"}),
            "option --token: option --token-file is given too; keep one of them",
        )

    def test_tokens_are_not_repeated(self) -> None:
        """What was meant to be a token is not shown."""
        self.assertNotIn("hunter 2", self.sentence(options={"token": "hunter 2"}))

    def test_labels(self) -> None:
        """A wrong label is told with its place."""
        self.assertEqual(
            self.sentence(options={"label": ["env"]}),
            "option --label: 'env' is not a label: write KEY=VALUE",
        )
        self.assertIn("agent.labels: ", self.sentence("agent: {labels: {'a b': c}}\n"))
        self.assertIn("it has no value", self.sentence("agent: {labels: {a: }}\n"))

    def test_pin(self) -> None:
        """A pin of another form is refused."""
        self.assertIn("not a CA pin", self.sentence(options={"ca-pin": "sha256:abc"}))

    def test_hub(self) -> None:
        """Nothing answers at port 0."""
        self.assertIn("port 0", self.sentence(options={"hub": "hub:0"}))

    def test_accept_env(self) -> None:
        """A pattern that lets everything in is not accepted."""
        for pattern in ("*", "A=B", "A*B", ""):
            self.assertIn("accept_env", self.sentence(f"agent: {{accept_env: ['{pattern}']}}\n"))

    def test_gateway_ports(self) -> None:
        """OpenSSH's words that mean something here, and no others."""
        self.assertFalse(self.load("agent: {gateway_ports: 'no'}\n").is_gateway)
        self.assertIn("gateway_ports", self.sentence("agent: {gateway_ports: yes}\n"))

    def test_banner(self) -> None:
        """A banner is plain text, and stands in one place."""
        self.assertEqual(self.load("agent: {banner: Hello}\n").banner, "Hello")
        self.assertIn("plain text", self.sentence('agent: {banner: "\\e[2J"}\n'))
        self.assertIn("plain text", self.sentence(f"agent: {{banner: {'x' * 8193}}}\n"))
        self.assertIn(
            "keep one", self.sentence("agent: {banner: Hello, banner_file: /etc/issue}\n")
        )

    @given(
        st.dictionaries(
            st.sampled_from([setting.key.partition(".")[2] for setting in keys.ALL]),
            st.recursive(
                st.text(max_size=12) | st.none() | st.integers() | st.booleans(),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=5), inner, max_size=3)
                ),
                max_leaves=6,
            ),
            max_size=3,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_any_values(self, values: dict[str, object]) -> None:
        """Any value of any key is a configuration or one sentence."""
        try:
            config = self.load(yaml.safe_dump({"agent": values}))
        except ConfigError as error:
            self.assertNotIn("\n", str(error))
        else:
            self.assertIsInstance(config, AgentConfig)

    def test_own_name(self) -> None:
        """A machine whose name cannot be a node's must be given one."""
        with self.assertRaises(ConfigError) as caught:
            self.load(machine=Machine("my_host", Path("/")))
        self.assertIn("--hostname", str(caught.exception))
        config = self.load(machine=Machine("my_host", Path("/")), options={"hostname": "db1"})
        self.assertEqual(config.hostname, NodeName("db1"))
