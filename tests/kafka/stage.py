"""stage.py - what the tests of the relay play on: a PostgreSQL, a Kafka broker, a Holdfast server and its persister.

Each is a process of its own, started on free ports of loopback in a folder of its own, and can be killed and started again
on what it left behind.
"""
import atexit
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import confluent_kafka
import confluent_kafka.admin
import psycopg

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

from server import BINARY, Server, clean_environment, poll, run  # noqa: E402,F401

READY = re.compile(r"^ready http=(\S+) data=(.+)\n$")


def new_folder(name):
    """One that the user postgres can reach, too; gone when the tests have ended."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"holdfast-{name}-"))
    folder.chmod(0o711)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def script(name, *arguments, seconds=120, environment=None):
    # the quick compiler alone: what starts several times and then does little is ready sooner
    done = subprocess.run([HERE / name, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds, env={"KAFKA_JVM": "-XX:TieredStopAtLevel=1", **os.environ, **(environment or {})})
    assert done.returncode == 0, f"{name} {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


class Postgres:
    def __init__(self, *settings):
        self.folder = new_folder("postgres")
        self.start(*settings)

    def start(self, *settings):
        script("postgres-up", self.folder, *settings)
        self.port = (self.folder / "port").read_text().strip()

    def kill(self):
        script("postgres-down", "-9", self.folder)

    def stop(self):
        script("postgres-down", self.folder)

    def uri(self, database="holdfast", user="postgres"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database="holdfast"):
        return psycopg.connect(self.uri(database), autocommit=True)


class Broker:
    """One Kafka broker. Its second listener wants a name and a password (SASL/PLAIN); access lists are on, and empty."""

    USER, PASSWORD = "relay", "a-secret-that-no-log-shows"

    def __init__(self, port=None, sasl=False):
        self.folder = new_folder("kafka")
        settings = []
        if sasl:
            self.sasl = "127.0.0.1:" + script("free-port").strip()
            port = script("free-port").strip()
            controller = script("free-port").strip()
            login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
            settings = [
                f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SASL_PLAINTEXT://{self.sasl}",
                f"controller.quorum.voters=1@127.0.0.1:{controller}",
                f"advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://{self.sasl}",
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
                "sasl.enabled.mechanisms=PLAIN",
                f'listener.name.sasl_plaintext.plain.sasl.jaas.config={login} user_{self.USER}="{self.PASSWORD}";',
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "allow.everyone.if.no.acl.found=true",
            ]
        self.start(*([port] if port else []), *settings)
        self.port = int(self.bootstrap.rsplit(":", 1)[1])

    def start(self, *arguments):
        script("kafka-up", self.folder, *arguments)
        self.bootstrap = (self.folder / "bootstrap").read_text().strip()
        self.admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def kill(self):
        script("kafka-down", "-9", self.folder)

    def stop(self):
        script("kafka-down", self.folder)

    def create_topic(self, name, partitions=1, **config):
        topic = confluent_kafka.admin.NewTopic(name, partitions, 1, config={k.replace("_", "."): str(v) for k, v in config.items()})
        self.admin.create_topics([topic])[name].result(30)

    def configure_topic(self, name, **config):
        resource = confluent_kafka.admin.ConfigResource(
            confluent_kafka.admin.ConfigResource.Type.TOPIC, name,
            incremental_configs=[
                confluent_kafka.admin.ConfigEntry(
                    key.replace("_", "."), str(value), incremental_operation=confluent_kafka.admin.AlterConfigOpType.SET)
                for key, value in config.items()])
        self.admin.incremental_alter_configs([resource])[resource].result(30)

    def rule(self, topic, operation, permission):
        """A rule for everybody. Returns what takes it back. A topic with a rule allows what a rule allows, and nothing else."""
        a = confluent_kafka.admin
        rule = [a.ResourceType.TOPIC, topic, a.ResourcePatternType.LITERAL, "User:ANONYMOUS", "*",
                getattr(a.AclOperation, operation), getattr(a.AclPermissionType, permission)]
        list(self.admin.create_acls([a.AclBinding(*rule)]).values())[0].result(30)
        return lambda: list(self.admin.delete_acls([a.AclBindingFilter(*rule)]).values())[0].result(30)

    def deny(self, topic, operation):
        return self.rule(topic, operation, "DENY")

    def messages(self, *topics):
        """All that is in the topics, partition after partition, each in its order."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, "group.id": "test", "enable.auto.commit": False,
                                             "enable.partition.eof": True, "log_level": 0})
        try:
            there = consumer.list_topics(timeout=30).topics
            parts = [confluent_kafka.TopicPartition(topic, partition, 0)
                     for topic in topics if topic in there for partition in there[topic].partitions]
            consumer.assign(parts)
            found, ended, until = [], 0, time.monotonic() + 60
            while ended < len(parts):
                assert time.monotonic() < until, f"the broker does not tell the end of {topics}"
                for message in consumer.consume(10000, 0.2):
                    if message.error() is None:
                        found.append(message)
                    elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
                        ended += 1
                    else:
                        raise AssertionError(message.error())
            return sorted(found, key=lambda m: (m.topic(), m.partition(), m.offset()))
        finally:
            consumer.close()


class Persister:
    """`holdfast persist` beside a server that is idle, or not."""

    def __init__(self, server, uri, *arguments, environment=None, wait=True):
        self.folder = new_folder("persister")
        self.log_path = self.folder / "stderr"
        command = [BINARY, "persist", "--data", str(server.data), "--pg", uri, "--persist.http", "127.0.0.1:0", *map(str, arguments)]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                            env={**clean_environment(), **(environment or {})})
        if wait:
            assert select.select([self.process.stdout], [], [], 60)[0], f"not ready within 60 s: {self.log()}"
            line = self.process.stdout.readline().decode()
            match = READY.match(line)
            assert match, f"expected the ready line, got {line!r}: {self.log()}"
            self.http = match[1]

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_lines(self):
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def metrics(self):
        text = urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10).read().decode()
        return {name: float(value) for name, value in re.findall(r"^(holdfast_\S+) (\S+)$", text, re.M)}

    def relay(self, name):
        return self.metrics()["holdfast_relay_" + name]

    def circuit(self, side="kafka"):
        metrics = self.metrics()
        return next(state for state in ("closed", "open", "half_open")
                    if metrics[f'holdfast_relay_circuit{{side="{side}",state="{state}"}}'] == 1)

    def rss_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """SIGTERM, and exit code 0, else the log."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(30)
        self.process.stdout.close()
        assert code == 0, f"exit code {code}: {self.log()[-6000:]}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()
            print(self.log()[-4000:])
