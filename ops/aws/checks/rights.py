"""What the stacks allow and set, compared with what the code calls and reads."""

import json
import pathlib
import re
import unittest

import templates

ROOT = pathlib.Path(__file__).resolve().parents[3]
SERVICE = "templates/service/stack.yaml"

# Which role uses which group, by the place in the code that names it. A new group fails the test until it stands here
# and in roles.yaml.
GROUPS = {
    "hot-view": {"Api"},
    "catalog": {"Api", "Project", "Operate"},
    "replay": {"Api", "Operate"},
    "settle": {"Api", "Operate"},
    # Whether a read model has what belongs to a period, before it is closed.
    "statements": {"Api", "Operate"},
    "drill-down": {"Api"},
    "owners": {"Api"},
    "recount": {"Operate"},
    "rebuild": {"Project", "Operate"},
    "events": {"Operate"},
    "policy-try": {"Operate"},
    "project.*": {"Project", "Operate"},
}
# Groups whose name is put together elsewhere: found there.
NAMED_ELSEWHERE = {
    "projections/src/reader.rs": 'format!("{}{purpose}"',
    "projections/src/runner/consumer.rs": "group)",
    "src/commands/doctor/folding.rs": "group.clone()",
}
# What each role does with each topic. Who reads: the hot view, the catalog's, and who settles provisional answers (api),
# projections (project), `events` and all else that a person asks (operate). Provisional answers are kept by who gives them.
WRITES = {"Api": "all", "Project": set(), "Operate": {"playback", "clickstream", "catalog", "rejected"}}
READS_BESIDE_PROJECTIONS = {"Api": {"playback", "catalog", "provisional"}, "Project": {"catalog"}, "Operate": "all"}

READ = {"kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"}
WRITE = {"kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"}
GROUP = {"kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"}


def sources(*folders):
    """The Rust sources under these folders that run, without their tests."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.rs")):
            if not {"tests", "testing", "target"} & set(path.relative_to(ROOT).parts):
                yield path, path.read_text().split("#[cfg(test)]")[0]


def code():
    return sources("access/src", "callers/src", "privacy/src", "write-side/src", "projections/src", "service/src", "api/src", "src")


def topics():
    return set(re.findall(r'Self::\w+ => "(\w+)"', (ROOT / "domain/src/topic.rs").read_text()))


def groups():
    """Every group that the code names, behind the prefix."""
    found = set()
    for path, text in code():
        for named in re.findall(r'"group\.id",\s*([^\n]+)', text):
            literal = re.match(r'format!\("\{\}([^"{]+)"', named)
            if literal:
                found.add(literal[1])
            elif not named.startswith(NAMED_ELSEWHERE.get(str(path.relative_to(ROOT)), "no group")):
                raise AssertionError(f"{path}: which group is {named}?")
        found |= set(re.findall(r'\.(?:consumer|config)\("([^"]+)"\)', text))
        found |= {f"{head}*" for head in re.findall(r'format!\("\{\}(project\.)\{\}\.v', text)}
    return found


def projected():
    """The topics that projections fold."""
    found = set()
    for _, text in sources("projections/src"):
        for listed in re.findall(r"topics: &\[([^\]]+)\]", text):
            found |= {topic.lower() for topic in re.findall(r"Topic::(\w+)", listed)}
    return found


def statements(template, role):
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        yield from policy["PolicyDocument"]["Statement"]


def named(expression, kind):
    """The topics or groups that a resource names."""
    if isinstance(expression, list):
        return set().union(*(named(one, kind) for one in expression))
    if isinstance(expression, dict):
        (function, argument), = expression.items()
        if function == "Fn::ImportValue" and kind == "topic":
            found = re.fullmatch(r"\$\{Deployment\}-(\w+)-topic", argument["Fn::Sub"])
            return {found[1]} if found else set()
        if function == "Fn::Sub" and kind == "group" and isinstance(argument, list):
            found = re.fullmatch(r"\$\{Groups\}(.+)", argument[0])
            return {found[1]} if found else set()
    return set()


def allowed(template, role, action, kind):
    found = set()
    for statement in statements(template, role):
        actions = statement["Action"]
        if action in ([actions] if isinstance(actions, str) else actions):
            found |= named(statement["Resource"], kind)
    return found


def all_or(names):
    return topics() if names == "all" else names


class Rights(unittest.TestCase):
    maxDiff = None
    roles = templates.read("roles")

    def test_the_code_names_what_this_test_knows(self):
        self.assertEqual(topics(), {"playback", "clickstream", "catalog", "rejected", "provisional"})
        self.assertEqual(groups(), set(GROUPS))

    def test_every_client_of_kafka_can_have_a_token(self):
        made_plainly = set()
        for path, text in code():
            if "HistoryError::ByRole" in text:
                # It refuses who signs in by role: it would have to change the topics' settings.
                continue
            contexts = text.count("impl ClientContext for")
            self.assertEqual(text.count("fn generate_oauth_token"), contexts, f"{path}: a context without a token")
            # A consumer that is asked for metadata before its first poll has no token: reader::consumer sees to that.
            for made in re.findall(r"create_with_context\((\w+)", text):
                if made == "ReaderContext" and path.name != "reader.rs":
                    self.fail(f"{path}: reader::consumer makes one that signs in")
            if re.search(r"\.create\(\)", text):
                made_plainly.add(str(path.relative_to(ROOT)))
        # The admin client, which is not used by who signs in by role.
        self.assertEqual(made_plainly, {"write-side/src/topics.rs"})

    def test_each_role_has_its_groups_and_no_other(self):
        for role in WRITES:
            wanted = {group for group, users in GROUPS.items() if role in users}
            for action in GROUP:
                self.assertEqual(allowed(self.roles, role, action, "group"), wanted, f"{role} {action}")

    def test_each_role_reads_and_writes_its_topics_and_no_other(self):
        for role in WRITES:
            reads = set(all_or(READS_BESIDE_PROJECTIONS[role]))
            if role != "Api":
                reads |= projected()
            for action in READ - {"kafka-cluster:DescribeTopic"}:
                self.assertEqual(allowed(self.roles, role, action, "topic"), reads, f"{role} {action}")
            for action in WRITE - {"kafka-cluster:DescribeTopic"}:
                self.assertEqual(allowed(self.roles, role, action, "topic"), all_or(WRITES[role]), f"{role} {action}")
            # Each process verifies at its start that every topic is there.
            self.assertEqual(allowed(self.roles, role, "kafka-cluster:DescribeTopic", "topic"), topics(), role)

    def test_who_writes_is_idempotent_and_who_does_not_may_not(self):
        for role, writes in WRITES.items():
            actions = [action for statement in statements(self.roles, role) for action in statement["Action"]]
            self.assertEqual("kafka-cluster:WriteDataIdempotently" in actions, bool(writes), role)
            self.assertIn("kafka-cluster:Connect", actions)

    def test_nobody_makes_topics_or_may_do_everything(self):
        for template in [templates.read(name) for name in templates.STACKS]:
            for name, resource in template["Resources"].items():
                if resource["Type"] != "AWS::IAM::Role":
                    continue
                for statement in statements(template, name) if "Policies" in resource["Properties"] else []:
                    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
                    for action in actions:
                        self.assertNotIn("*", action, f"{name} {action}")
                        self.assertNotRegex(action, "CreateTopic|DeleteTopic|AlterTopic|AlterCluster|iam:")
                    if statement["Resource"] == "*":
                        self.assertEqual(actions, ["ecr:GetAuthorizationToken"], name)

    def test_each_role_signs_in_as_its_own_user(self):
        users = {"Api": "pulsegate_api", "Project": "pulsegate", "Operate": "pulsegate"}
        stacks = {"Api": "api", "Project": "project", "Operate": "operate"}
        for role, user in users.items():
            connect = [s for s in statements(self.roles, role) if "rds-db:connect" in s["Action"]]
            self.assertEqual([s["Resource"][0]["Fn::Sub"][0] for s in connect], [f"${{Users}}/{user}"], role)
            url = environment(templates.read(stacks[role]))["PULSEGATE_DATABASE_URL"]["Fn::Sub"][0]
            self.assertTrue(url.startswith(f"postgres://{user}@${{Host}}:5432/pulsegate?sslmode=verify-full"), url)


    def test_the_reader_writes_closed_statements_saved_questions_and_when_keys_were_used_and_nothing_else(self):
        written = r"insert into|update|delete from|truncate|copy"
        closed = set()
        for path, text in sources("projections/src/statements"):
            for verb, table in re.findall(rf'"({written}) (pulsegate\.\w+)', text):
                self.assertEqual(verb, "insert into", path)
                closed.add(table)
        granted = re.findall(r"^grant (.+) on (.+) to NAME_api;$", (templates.FOLDER / "admit-closer.sql").read_text(), re.M)
        saved = "pulsegate.saved_questions"
        expected = [("insert", closed), ("insert, update, delete", {saved}), ("update (last_used_at)", {"pulsegate.api_keys"}),
                    ("insert", {"pulsegate.account_keys", "pulsegate.privacy_key"})]
        self.assertEqual([(right, set(tables.split(", "))) for right, tables in granted], expected)
        wrote = set()
        for path, text in sources("projections/src/clickstream"):
            wrote |= set(re.findall(rf'"({written}) {saved}', text))
        self.assertEqual(wrote, {"insert into", "delete from"})
        keys = (ROOT / "privacy/src/keys.rs").read_text()
        for table in ("account_keys", "privacy_key"):
            self.assertEqual(re.findall(rf'"({written}) pulsegate.{table}', keys), ["insert into"])
        (_, store), = sources("callers/src/key")
        self.assertIn("update pulsegate.api_keys set last_used_at =", store)
        for path, text in sources("api/src"):
            self.assertNotRegex(text, rf'"({written}) \w+\.', path)


def container(template):
    (definition,) = template["Resources"]["Task"]["Properties"]["ContainerDefinitions"]
    return definition


def environment(template):
    return {pair["Name"]: pair["Value"] for pair in container(template)["Environment"]}


class Settings(unittest.TestCase):
    tasks = {name: templates.read(name) for name in ("api", "project", "operate")}
    tasks["service"] = templates.yaml.load((ROOT / SERVICE).read_text(), templates.Loader)

    def test_each_variable_is_one_that_the_program_reads(self):
        documented = set(re.findall(r"`(PULSEGATE_\w+)`", (ROOT / "docs/configuration.md").read_text()))
        read = {name for _, text in code() for name in re.findall(r'"(PULSEGATE_\w+)"', text)}
        for name, template in self.tasks.items():
            self.assertLessEqual(set(environment(template)), documented & read, name)

    def test_no_secret_stands_in_a_task(self):
        for name, template in self.tasks.items():
            self.assertNotRegex(json.dumps(environment(template)), r"(?i)password|postgres://[^@/]+:")
            self.assertFalse({key for key in environment(template) if key.endswith(("_SECRET", "_KEY"))}, name)

    def test_tasks_are_handed_the_secrets_that_they_read_and_the_starter_may_read_those(self):
        handed = {}
        for name, template in self.tasks.items():
            for one in container(template).get("Secrets", []):
                condition, secret, otherwise = one["Fn::If"]
                self.assertEqual(otherwise, {"Ref": "AWS::NoValue"})
                handed.setdefault(name, {})[secret["Name"]] = condition
        privacy = {"PULSEGATE_PRIVACY_KEY": "HasPrivacy"}
        sign_in = {"PULSEGATE_OIDC_CLIENT_SECRET": "HasSignIn", "PULSEGATE_SESSION_SECRET": "HasSignIn"}
        self.assertEqual(handed, {"api": privacy | sign_in, "project": privacy, "operate": privacy})
        read = {name for _, text in code() for name in re.findall(r'"(PULSEGATE_\w+)"', text)}
        self.assertLessEqual(set(privacy | sign_in), read)
        made = self.tasks["api"]["Resources"]["SessionSecret"]["Properties"]["Name"]["Fn::Sub"]
        (statement,) = [s for s in statements(templates.read("roles"), "Starter") if "secretsmanager:GetSecretValue" in s["Action"]]
        self.assertTrue(made.startswith("${Deployment}/") and statement["Resource"]["Fn::Sub"].endswith(":secret:${Deployment}/*"))

    def test_a_deployment_is_closed_unless_somebody_says_otherwise(self):
        api = self.tasks["api"]
        self.assertEqual(api["Parameters"]["Access"]["Default"], "closed")
        self.assertEqual(environment(api)["PULSEGATE_ACCESS"], {"Ref": "Access"})
        self.assertEqual(environment(api)["PULSEGATE_PROXIES"], "1")

    def test_topics_are_made_as_the_code_makes_them(self):
        source = (ROOT / "write-side/src/topics.rs").read_text()
        settings = dict(re.findall(r'\("([a-z.]+)", "([^"]+)"\)', source.split("const SETTINGS")[1].split("];")[0]))
        made = {}
        for name, resource in templates.read("kafka")["Resources"].items():
            if resource["Type"] == "AWS::MSK::Topic":
                properties = resource["Properties"]
                self.assertEqual(json.loads(properties["Configs"]["Fn::Base64"]), settings, name)
                made[properties["TopicName"]["Fn::Sub"]] = properties["PartitionCount"]
        wanted = {f"${{TopicPrefix}}{topic}": {"Ref": "Partitions"} for topic in topics()}
        wanted["${TopicPrefix}catalog"] = 1
        self.assertEqual(made, wanted)

    def test_groups_of_the_autoscaling_are_those_of_the_projections(self):
        built = set()
        for _, text in sources("projections/src"):
            if "pub static REGISTERED" in text or "pub const REGISTERED" in text:
                built |= {f"{n}.v{v}" for n, v in re.findall(r'name: "(\w+)",\s+version: (\d+)', text)}
        text = (templates.FOLDER / "project.yaml").read_text()
        self.assertEqual(set(re.findall(r"\$\{Prefix\}project\.(\w+\.v\d+)", text)), built)

    def test_lines_go_where_the_starter_may_write(self):
        kept = {
            resource["Properties"]["LogGroupName"]["Fn::Sub"]
            for resource in templates.read("platform")["Resources"].values()
            if resource["Type"] == "AWS::Logs::LogGroup"
        }
        for name in ("api", "project", "operate"):
            group = container(self.tasks[name])["LogConfiguration"]["Options"]["awslogs-group"]["Fn::Sub"]
            self.assertIn(group, kept)
            self.assertTrue(group.startswith("/${Deployment}/"))

    def test_a_stop_has_time(self):
        for name, template in self.tasks.items():
            grace = int(environment(template)["PULSEGATE_SHUTDOWN_GRACE_MS"]) / 1000
            self.assertGreater(container(template)["StopTimeout"], grace, name)

    def test_containers_are_closed(self):
        for name, template in self.tasks.items():
            self.assertTrue(container(template)["ReadonlyRootFilesystem"], name)
            self.assertEqual(container(template)["LinuxParameters"]["Capabilities"], {"Drop": ["ALL"]}, name)


class Exports(unittest.TestCase):
    def test_what_a_stack_imports_an_earlier_one_exports(self):
        exported = set()
        for name in templates.STACKS:
            text = (templates.FOLDER / f"{name}.yaml").read_text()
            imported = set(re.findall(r'Fn::ImportValue": !Sub "\$\{Deployment\}-([\w-]+)"', text))
            self.assertLessEqual(imported, exported, name)
            exported |= {
                output["Export"]["Name"]["Fn::Sub"].removeprefix("${Deployment}-")
                for output in templates.read(name).get("Outputs", {}).values()
            }
        service = (ROOT / SERVICE).read_text()
        imported = set(re.findall(r'Fn::ImportValue": !Sub "\$\{Deployment\}-([\w-]+)"', service))
        self.assertLessEqual(imported, exported)
        self.assertTrue(imported)


if __name__ == "__main__":
    unittest.main()
