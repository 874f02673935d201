"""Tests of the hub's settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.config import keys
from mezite.config.error import ConfigError
from mezite.config.hub import HubConfig, load_hub
from mezite.config.keys import LogFormat, LogLevel
from mezite.config.machine import Machine
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.names import ClusterName, HostPort

MACHINE = Machine("Hub1", Path("/var/lib"))
NO_FILE = Path("/nonexistent/mezite.yaml")


class HubTestCase(SynchronousTestCase):
    """Loading with a file of this text, and nothing of the machine that runs the tests."""

    def file(self, text: str) -> Path:
        path = Path(self.mktemp()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    def load(
        self,
        text: str | None = None,
        *,
        options: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        machine: Machine = MACHINE,
    ) -> HubConfig:
        self.path = NO_FILE if text is None else self.file(text)
        return load_hub(options or {}, environ or {}, machine=machine, default_file=self.path)

    def refused(
        self,
        expected: str,
        text: str | None = None,
        *,
        options: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.load(text, options=options, environ=environ)
        self.assertEqual(str(caught.exception), expected.replace("FILE", str(self.path)))


class DefaultsTests(HubTestCase):
    def test_nothing_given(self) -> None:
        """Without any setting there is a whole configuration."""
        self.assertEqual(
            self.load(),
            HubConfig(
                cluster_name=ClusterName("hub1"),
                cluster_name_is_given=False,
                data_dir=Path("/var/lib/mezite"),
                listen=HostPort("0.0.0.0", 3080),
                public_addr=HostPort("hub1", 3080),
            ),
        )

    def test_odd_host_names(self) -> None:
        """A machine whose name cannot stand in a certificate still has a hub."""
        for host_name in ("my_host", "123456789012", "", "é"):
            config = self.load(machine=Machine(host_name, Path("/")))
            self.assertEqual(config.cluster_name, ClusterName("mezite"))
            self.assertEqual(config.public_addr, HostPort("localhost", 3080))

    def test_public_address_follows_the_listener(self) -> None:
        """One address that is listened on is also the public one."""
        config = self.load(options={"listen": "127.0.0.1:4000"})
        self.assertEqual(config.public_addr, HostPort("127.0.0.1", 4000))
        self.assertEqual(
            self.load(options={"listen": "[::]:4000"}).public_addr, HostPort("hub1", 4000)
        )

    def test_public_port_follows_the_listener(self) -> None:
        """A public address without a port has the listener's."""
        config = self.load(options={"listen": "0.0.0.0:443", "public-addr": "hub.example.com"})
        self.assertEqual(config.public_addr, HostPort("hub.example.com", 443))

    def test_port_chosen_by_the_system(self) -> None:
        """Port 0 is replaced where it was listened on and where it was published."""
        config = self.load(options={"listen": "127.0.0.1:0"}).listening_on(5000)
        self.assertEqual((config.listen.port, config.public_addr.port), (5000, 5000))
        behind = self.load(options={"listen": "127.0.0.1:0", "public-addr": "hub.example:443"})
        self.assertEqual(behind.listening_on(5000).public_addr, HostPort("hub.example", 443))


class HubNamesTests(HubTestCase):
    def names(self, public: str, cluster: str) -> tuple[str, ...]:
        return self.load(options={"public-addr": public, "cluster-name": cluster}).hub_names

    def test_public_name_first(self) -> None:
        """The public DNS name is the hub's name, and the cluster's name another."""
        self.assertEqual(self.names("hub.example.com:443", "prod"), ("hub.example.com", "prod"))

    def test_public_ip(self) -> None:
        """Nothing can stand below an IP address, so the cluster's name is the hub's."""
        self.assertEqual(self.names("10.0.0.1:443", "prod"), ("prod",))
        self.assertEqual(self.names("[::1]:443", "prod"), ("prod",))

    def test_same_name(self) -> None:
        """One name for both stands once."""
        self.assertEqual(self.names("prod:443", "prod"), ("prod",))


class LayersTests(HubTestCase):
    TEXT = "cluster_name: file\nlog: {level: debug, format: json}\n"

    def test_file(self) -> None:
        """The file replaces defaults."""
        config = self.load(self.TEXT)
        self.assertEqual(config.cluster_name, ClusterName("file"))
        self.assertTrue(config.cluster_name_is_given)
        self.assertEqual((config.log_level, config.log_format), (LogLevel.DEBUG, LogFormat.JSON))

    def test_environment(self) -> None:
        """The environment replaces the file, key by key."""
        config = self.load(self.TEXT, environ={"MEZITE_CLUSTER_NAME": "environ"})
        self.assertEqual(config.cluster_name, ClusterName("environ"))
        self.assertEqual(config.log_level, LogLevel.DEBUG)

    def test_options(self) -> None:
        """Options replace everything, and None is an option not given."""
        environ = {"MEZITE_CLUSTER_NAME": "environ"}
        config = self.load(self.TEXT, environ=environ, options={"cluster-name": "option"})
        self.assertEqual(config.cluster_name, ClusterName("option"))
        config = self.load(self.TEXT, environ=environ, options={"cluster-name": None})
        self.assertEqual(config.cluster_name, ClusterName("environ"))

    def test_named_file(self) -> None:
        """The option names the file before the variable, and that before the default."""
        named, other = self.file("cluster_name: named"), self.file("cluster_name: other")
        environ = {"MEZITE_CONFIG": str(other)}
        self.assertEqual(
            self.load("cluster_name: default", environ=environ).cluster_name, ClusterName("other")
        )
        config = self.load(environ=environ, options={"config": str(named)})
        self.assertEqual(config.cluster_name, ClusterName("named"))

    def test_relative_paths(self) -> None:
        """A path in the file begins at the file; one in an option where we are."""
        config = self.load("data_dir: data\n")
        self.assertEqual(config.data_dir, self.path.parent / "data")
        config = self.load(options={"data-dir": "data/../there"})
        self.assertEqual(config.data_dir, Path.cwd() / "there")

    def test_home(self) -> None:
        """A tilde is the home directory."""
        self.assertEqual(self.load("data_dir: ~/m\n").data_dir, Path.home() / "m")

    def test_other_program(self) -> None:
        """The agent's settings may stand in the same file."""
        config = self.load("cluster_name: prod\nagent:\n  hub: hub.example.com\n")
        self.assertEqual(config.cluster_name, ClusterName("prod"))

    def test_empty_section(self) -> None:
        """A section whose every line is commented out is no mistake."""
        self.assertEqual(self.load("proxy:\n#  listen_addr: x\n").listen.port, 3080)

    def test_all_keys(self) -> None:
        """Every key of the hub reaches its field."""
        config = self.load(
            "cluster_name: prod\n"
            "data_dir: /srv/mezite\n"
            "ca_key_passphrase: 0123\n"
            "log: {level: warn, format: text}\n"
            "database: {driver: sqlite}\n"
            "proxy:\n"
            "  listen_addr: localhost\n"
            "  public_addr: hub.example.com:443\n"
            "  tls_cert_file: /etc/cert.pem\n"
            "  tls_key_file: /etc/key.pem\n"
        )
        self.assertEqual(
            config,
            HubConfig(
                cluster_name=ClusterName("prod"),
                cluster_name_is_given=True,
                data_dir=Path("/srv/mezite"),
                listen=HostPort("127.0.0.1", 3080),
                public_addr=HostPort("hub.example.com", 443),
                log_level=LogLevel.WARN,
                log_format=LogFormat.TEXT,
                ca_key_passphrase="0123",
                tls_cert_file=Path("/etc/cert.pem"),
                tls_key_file=Path("/etc/key.pem"),
            ),
        )
        self.assertEqual(config.database_file, Path("/srv/mezite/mezite.sqlite"))


class RefusalTests(HubTestCase):
    def test_unknown_key(self) -> None:
        """A misspelled key is told with its line and what was probably meant."""
        self.refused(
            "FILE:2: there is no setting 'cluster_nam'; did you mean cluster_name?",
            "# hello\ncluster_nam: x\n",
        )
        self.refused(
            "FILE:2: there is no setting 'log.levle'; did you mean log.level?",
            "log:\n  levle: info\n",
        )

    def test_unknown_key_like_none(self) -> None:
        """A key like no other is told with everything accepted in its place."""
        self.refused(
            "FILE:2: there is no setting 'log.zzzzzzzzzzzz'; accepted are: log.format, log.level",
            "log:\n  zzzzzzzzzzzz: 1\n",
        )
        self.refused(
            "FILE:1: there is no setting 'zzzzzzzzzzzz'; accepted are: agent, audit, auth,"
            " ca_key_passphrase, cluster_name, data_dir, database, log, mezhub, nodes,"
            " proxy, recordings, requests",
            "zzzzzzzzzzzz: {a: b}\n",
        )

    def test_dotted_key(self) -> None:
        """Who writes a key as the reference names it is shown how it is written."""
        self.refused(
            "FILE:1: write 'log.level' as log: and, indented below it, level:", "log.level: info\n"
        )

    def test_section_without_keys(self) -> None:
        """A value in the place of a section is told what stands there."""
        self.refused(
            "FILE:1: log is a section; below it stand: log.level, log.format", "log: debug\n"
        )

    def test_value_per_layer(self) -> None:
        """A wrong value is told with the place it came from, and what is accepted."""
        clause = "'loud' is not one of: debug, info, warn, error, critical"
        self.refused(f"FILE:2: log.level: {clause}", "log:\n  level: loud\n")
        self.refused(
            f"environment variable MEZITE_LOG_LEVEL: {clause}", environ={"MEZITE_LOG_LEVEL": "loud"}
        )
        self.refused(
            "option --listen: 'a b' is not an address: write HOST:PORT or [IPV6]:PORT",
            options={"listen": "a b"},
        )

    def test_listening_on_a_name(self) -> None:
        """A listener is bound to an address; resolving a name at start-up may hang."""
        self.refused(
            "option --listen: 'hub.example.com:1' is not an address to listen on: write IP:PORT,"
            " as in 0.0.0.0:3080 or [::]:3080",
            options={"listen": "hub.example.com:1"},
        )

    def test_public_wildcard(self) -> None:
        """Nobody can connect to the unspecified address."""
        self.refused(
            "option --public-addr: '0.0.0.0:1' is no address that others can connect to",
            options={"public-addr": "0.0.0.0:1"},
        )

    def test_shapes(self) -> None:
        """Lists, sections and nothing in the place of a text are told apart."""
        self.refused(
            "FILE:1: cluster_name: it holds a list; a single text is accepted", "cluster_name: [a]"
        )
        self.refused(
            "FILE:1: cluster_name: it holds keys of its own; a single text is accepted",
            "cluster_name: {a: b}",
        )
        self.refused(
            "FILE:1: cluster_name: it has no value; leave it out to use the default",
            "cluster_name:\n",
        )

    def test_empty(self) -> None:
        """An empty passphrase is not taken for none: the keys would lie open."""
        self.refused(
            "environment variable MEZITE_CA_KEY_PASSPHRASE: it is empty;"
            " leave it out to use the default",
            environ={"MEZITE_CA_KEY_PASSPHRASE": ""},
        )

    def test_not_text(self) -> None:
        """Bytes in the environment that are not UTF-8 are refused."""
        self.refused(
            "environment variable MEZITE_CLUSTER_NAME: it is not UTF-8 text",
            environ={"MEZITE_CLUSTER_NAME": "a\udcff"},
        )

    def test_half_a_certificate(self) -> None:
        """A certificate without its key, or a key without its certificate, is refused."""
        self.refused(
            "FILE:1: proxy.tls_cert_file: proxy.tls_key_file must be set with it",
            "proxy: {tls_cert_file: a}\n",
        )
        self.refused(
            "FILE:1: proxy.tls_key_file: proxy.tls_cert_file must be set with it",
            "proxy: {tls_key_file: a}\n",
        )

    def test_postgres(self) -> None:
        """What is not in this release is said to be so."""
        self.refused(
            "FILE:3: database.driver: PostgreSQL is not in this release; use sqlite",
            "database:\n  url: x\n  driver: postgres\n",
        )
        self.refused(
            "environment variable MEZITE_DATABASE_URL: it is for PostgreSQL, which is not in this"
            " release; SQLite needs no setup, and keeps its database in data_dir",
            environ={"MEZITE_DATABASE_URL": "postgresql://db/mezite"},
        )

    def test_long_values(self) -> None:
        """A value is bounded wherever it comes from."""
        self.refused(
            "option --data-dir: it is longer than 20480 characters",
            options={"data-dir": "a" * 20_481},
        )

    def test_secrets_are_not_repeated(self) -> None:
        """Neither an error nor a repr shows a passphrase."""
        with self.assertRaises(ConfigError) as caught:
            self.load("ca_key_passphrase: " + "hunter2" * 200)
        self.assertNotIn("hunter2", str(caught.exception))
        self.assertNotIn("hunter2", repr(self.load("ca_key_passphrase: hunter2")))

    @given(
        st.recursive(
            st.text(max_size=12) | st.none() | st.integers() | st.booleans(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from([k for s in keys.ALL for k in s.key.split(".")]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_any_yaml(self, tree: object) -> None:
        """Any YAML is a configuration or one sentence."""
        try:
            config = self.load(yaml.safe_dump(tree))
        except ConfigError as error:
            self.assertNotIn("\n", str(error))
        else:
            self.assertIsInstance(config, HubConfig)

    @given(st.text(max_size=200))
    @settings(max_examples=60, deadline=None)
    def test_any_text(self, text: str) -> None:
        """Any text in a file, a variable and an option is a configuration or one sentence."""
        for arguments in (
            {"text": text},
            {"environ": {"MEZITE_PROXY_PUBLIC_ADDR": text}},
            {"options": {"data-dir": text}},
        ):
            try:
                config = self.load(**arguments)  # type: ignore[arg-type]
            except ConfigError:
                continue
            self.assertIsInstance(config, HubConfig)


class WarningTests(HubTestCase):
    def test_unknown_variable(self) -> None:
        """A misspelled variable is warned of, with the nearest that exists."""
        config = self.load(environ={"MEZITE_LOG_LEVL": "debug", "PATH": "/bin"})
        self.assertEqual(
            config.warnings,
            (
                "environment variable MEZITE_LOG_LEVL means nothing here;"
                " did you mean MEZITE_LOG_LEVEL?",
            ),
        )

    def test_exposed_passphrase(self) -> None:
        """A passphrase that every account may read is warned of; other keys are not."""
        path = self.file("ca_key_passphrase: hunter2\n")
        path.chmod(0o644)
        (warning,) = load_hub({"config": str(path)}, {}, machine=MACHINE).warnings
        self.assertIn(f"chmod 600 {path}", warning)
        path.write_text("cluster_name: prod\n")
        self.assertEqual(load_hub({"config": str(path)}, {}, machine=MACHINE).warnings, ())


class SecondFactorTests(HubTestCase):
    def test_policies(self) -> None:
        """A second factor is optional unless something else is said."""
        self.assertIs(self.load().second_factor, SecondFactorPolicy.OPTIONAL)
        for policy in SecondFactorPolicy:
            text = f"auth:\n  second_factor: {policy.value}\n"
            self.assertIs(self.load(text).second_factor, policy)
        environ = {"MEZITE_AUTH_SECOND_FACTOR": "required"}
        self.assertIs(self.load(environ=environ).second_factor, SecondFactorPolicy.REQUIRED)

    def test_refused(self) -> None:
        """Other words are refused with those that are accepted."""
        with self.assertRaises(ConfigError) as caught:
            self.load("auth:\n  second_factor: totp\n")
        self.assertIn("auth.second_factor", str(caught.exception))
        self.assertIn("optional", str(caught.exception))


class WorkersTests(HubTestCase):
    """How many processes share the port."""

    def test_given(self) -> None:
        """One if nobody asks for more."""
        self.assertEqual(self.load().workers, 1)
        self.assertEqual(self.load("mezhub: {workers: 4}").workers, 4)
        self.assertEqual(self.load(environ={"MEZITE_MEZHUB_WORKERS": "64"}).workers, 64)

    def test_refused(self) -> None:
        """What is no number of workers is refused with one sentence."""
        for text in ("0", "65", "-1", "two", "1.5", "99999999999999999999"):
            self.refused(
                f"environment variable MEZITE_MEZHUB_WORKERS: {text!r} is not a number of"
                " workers: write 1 to 64",
                environ={"MEZITE_MEZHUB_WORKERS": text},
            )
