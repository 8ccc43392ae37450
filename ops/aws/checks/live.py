"""ops/aws/checks/live.py BINARY

What roles.yaml allows, tried: a real broker that refuses what isn't allowed, with each role's statements as its access
list, and the real processes as these roles. They must do their work, and none may meet a refusal; and who lacks a right
of its own must meet one, else the broker would be refusing nothing.

Needs PULSEGATE_DATABASE_URL, Java, and the broker's jars that `make services` fetches.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

from confluent_kafka.admin import (
    AclBinding, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType, ResourceType,
)

import rights
import templates

PREFIX = "pulsegate."
PARTITIONS = 2
# What Kafka calls what IAM calls otherwise; AWS's table of actions says which equals which.
OPERATIONS = {
    "kafka-cluster:DescribeTopic": AclOperation.DESCRIBE,
    "kafka-cluster:ReadData": AclOperation.READ,
    "kafka-cluster:WriteData": AclOperation.WRITE,
    "kafka-cluster:DescribeGroup": AclOperation.DESCRIBE,
    "kafka-cluster:AlterGroup": AclOperation.READ,
}
ROLES = {"Api": "api", "Project": "project", "Operate": "operate"}
DEADLINE = 60


def wait(what, condition):
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        got = condition()
        if got:
            return got
        time.sleep(0.1)
    sys.exit(f"error: {what} does not happen within {DEADLINE} s")


class Broker:
    def __init__(self, folder, jars):
        port = random.randrange(20000, 40000)
        self.address = f"127.0.0.1:{port}"
        users = ["admin", "nobody", *ROLES.values()]
        logins = " ".join(f'user_{user}="{user}"' for user in users)
        settings = (rights.ROOT / "ops/services/kafka/server.properties").read_text()
        settings = settings.replace("@advertised_port@", "@port@")
        settings = settings.replace("PLAINTEXT://127.0.0.1:@port@", f"SASL_PLAINTEXT://127.0.0.1:{port}")
        settings = settings.replace("@controller_port@", str(port + 1)).replace("@data@", f"{folder}/data")
        settings += f"""
listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
inter.broker.listener.name=SASL_PLAINTEXT
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="admin" password="admin" {logins};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
"""
        file = folder / "server.properties"
        file.write_text(settings)
        java = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
        cluster = uuid.uuid4().hex[:22]
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "--config", file, "--cluster-id", cluster],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.log = folder / "log"
        self.process = subprocess.Popen([*java, "kafka.Kafka", file], stdout=self.log.open("w"), stderr=subprocess.STDOUT)
        self.admin = AdminClient({"bootstrap.servers": self.address, "security.protocol": "sasl_plaintext",
                                  "sasl.mechanism": "PLAIN", "sasl.username": "admin", "sasl.password": "admin",
                                  "log_level": 0})

        def answers():
            if self.process.poll() is not None:
                sys.exit(f"error: the broker ended: {self.log.read_text()[-2000:]}")
            try:
                return self.admin.list_topics(timeout=1)
            except Exception:
                return None

        wait("the broker's start", answers)

    def topics(self):
        made = self.admin.create_topics([
            NewTopic(f"{PREFIX}{topic}", 1 if topic == "catalog" else PARTITIONS, 1, config={
                "retention.ms": "-1", "cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"})
            for topic in rights.topics()
        ])
        for future in made.values():
            future.result()

    def allow(self, role, user):
        template = templates.read("roles")
        bindings = []

        def bind(kind, name, pattern, operation):
            bindings.append(AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW))

        for action, operation in OPERATIONS.items():
            for topic in rights.allowed(template, role, action, "topic"):
                bind(ResourceType.TOPIC, PREFIX + topic, ResourcePatternType.LITERAL, operation)
            for group in rights.allowed(template, role, action, "group"):
                pattern = ResourcePatternType.PREFIXED if group.endswith("*") else ResourcePatternType.LITERAL
                bind(ResourceType.GROUP, PREFIX + group.removesuffix("*"), pattern, operation)
        # Who signs in with a password also reads the topics' settings; who signs in by role doesn't.
        for topic in rights.topics():
            bind(ResourceType.TOPIC, PREFIX + topic, ResourcePatternType.LITERAL, AclOperation.DESCRIBE_CONFIGS)
        for future in self.admin.create_acls(bindings).values():
            future.result()


class Roles:
    def __init__(self, binary, broker, database, folder):
        self.binary, self.broker, self.database, self.folder = binary, broker, database, folder
        self.listen = random.randrange(20000, 40000)
        self.running = {}

    def environment(self, user, shift):
        return {
            "PATH": os.environ["PATH"],
            "PULSEGATE_KAFKA_BOOTSTRAP": self.broker.address,
            "PULSEGATE_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
            "PULSEGATE_KAFKA_SASL_MECHANISM": "PLAIN",
            "PULSEGATE_KAFKA_USERNAME": user,
            "PULSEGATE_KAFKA_PASSWORD": user,
            "PULSEGATE_DATABASE_URL": self.database,
            "PULSEGATE_PARTITIONS": str(PARTITIONS),
            # The stacks' nodes are whole, which takes fewer rights.
            "PULSEGATE_CLUSTER": "owned",
            "PULSEGATE_LISTEN": f"127.0.0.1:{self.listen}",
            "PULSEGATE_ADMIN_LISTEN": f"127.0.0.1:{self.listen + shift}",
            # librdkafka's own words are debug lines of ours.
            "PULSEGATE_LOG": "info,pulsegate_projections=debug,pulsegate_write_side=debug,pulsegate_api=debug,rdkafka=debug,librdkafka=debug",
        }

    def start(self, user, shift, *arguments):
        log = self.folder / f"{user}.log"
        self.running[user] = subprocess.Popen([self.binary, *arguments], env=self.environment(user, shift),
                                              stdout=log.open("w"), stderr=subprocess.STDOUT)

        def ready():
            if self.running[user].poll() is not None:
                sys.exit(f"error: {user} ended: {log.read_text()[-3000:]}")
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{self.listen + shift}/readyz", timeout=1)
            except (urllib.error.URLError, OSError):
                return None

        wait(f"{user} is ready", ready)

    def run(self, user, *arguments):
        done = subprocess.run([self.binary, *arguments], env=self.environment(user, 9), capture_output=True, text=True,
                              timeout=2 * DEADLINE, check=False)
        said = done.stdout + done.stderr
        with (self.folder / f"{user}.log").open("a") as log:
            log.write(said)
        return done.returncode, said

    def ask(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.listen}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None,
                                         headers={"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            sys.exit(f"error: {method} {path} is answered {error.code}: {error.read().decode()}")

    def stop(self):
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(30)

    def refusals(self, user):
        log = self.folder / f"{user}.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if "uthorization" in line or "AUTHORIZATION" in line]


def succeed(done):
    code, said = done
    if code != 0:
        sys.exit(f"error: a command ended with {code}: {said[-2000:]}")
    return said


def main(binary):
    jars = pathlib.Path(os.environ.get("KAFKA_JARS", rights.ROOT / ".run/kafka-4.3.1"))
    if not jars.is_dir():
        sys.exit(f"error: {jars} is missing: make services fetches it")
    server = os.environ["PULSEGATE_DATABASE_URL"]
    name = f"rights_{random.randrange(10**9)}"
    folder = pathlib.Path(tempfile.mkdtemp())
    psql = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
    subprocess.run([*psql, server, "--command", f"create database {name}"], check=True)
    database = server.rsplit("/", 1)[0] + f"/{name}"
    broker = roles = None
    try:
        broker = Broker(folder, jars)
        broker.topics()
        for role, user in ROLES.items():
            broker.allow(role, user)
        roles = Roles(binary, broker, database, folder)
        succeed(roles.run("operate", "migrate"))
        roles.start("project", 1, "project")
        roles.start("api", 2, "api")
        work(roles, lambda query: subprocess.run([*psql, database, "--command", query], check=True, capture_output=True,
                                                 text=True).stdout.strip())
        for user in ROLES.values():
            refused = roles.refusals(user)
            if refused:
                sys.exit(f"error: {user} is refused something that it asks for: {refused[0]}")
        code, said = roles.run("nobody", "events", "count", "playback")
        if code == 0:
            sys.exit(f"error: who has no right may count events: {said}")
        print("rights: api, project and operate did their work with what roles.yaml allows, and met no refusal")
    except SystemExit:
        for user in ROLES.values():
            log = folder / f"{user}.log"
            if log.exists():
                print(f"--- {user}\n" + "\n".join(log.read_text().splitlines()[-15:]), file=sys.stderr)
        raise
    finally:
        if roles:
            roles.stop()
        if broker:
            broker.process.kill()
            broker.process.wait()
        subprocess.run([*psql, server, "--command", f"drop database if exists {name} with (force)"], check=False)
        shutil.rmtree(folder)


def work(roles, query):
    """One of each thing that the roles do with the log."""
    roles.ask("PUT", "/v1/rights-holders/h1", {"name": "Owner"})
    roles.ask("PUT", "/v1/titles/t1", {"name": "One", "content_kind": "vod", "rights_holder_id": "h1"})
    session = str(uuid.uuid4())
    roles.ask("POST", "/v1/accounts/a1/sessions", {"session_id": session, "device_id": "d1", "title_id": "t1"})
    beat = {"device_id": "d1", "title_id": "t1", "sequence": 0, "elapsed_ms": 0, "position_ms": 0, "state": "playing"}
    roles.ask("POST", f"/v1/accounts/a1/sessions/{session}/heartbeats", beat)
    roles.ask("POST", "/v1/clickstream", {"events": [{"name": "page", "account_id": "a1", "properties": {}}]})
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    roles.ask("GET", f"/v1/accounts/a1/sessions?as_of={now}")
    roles.ask("GET", "/v1/projections")
    roles.ask("GET", "/v1/provisional")
    wait("the session in the read model", lambda: query("select count(*) from active_sessions.sessions") != "0")
    for build, topic in (("licensing_v4", "playback"), ("clickstream_v2", "clickstream")):
        behind = f"select sum(next_offset) > 0 from pulsegate.projection_offsets where build = '{build}' and topic = '{topic}'"
        wait(f"{build} folds {topic}", lambda behind=behind: query(behind) == "t")
    roles.ask("GET", f"/v1/accounts/a1/sessions/{session}/watch-time")
    ended = f"{int(now[:4]) - 1}-12"
    for command in (["events", "count", "playback"], ["events", "count", "provisional"], ["projection", "list"],
                    ["projection", "status"], ["projection", "rebuild", "licensing"], ["decisions", "explain", "a1"],
                    ["decisions", "provisional"], ["report", "close", ended], ["report", "verify", ended]):
        succeed(roles.run("operate", *command))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
