"""Creates every stack on moto, a simulator of AWS, as far as it goes: what it doesn't know is left out, and listed."""

import json
import os
import re
import sys
import unittest
import warnings

os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="eu-central-1")
warnings.simplefilter("ignore")

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402
from moto.cloudformation.parsing import resource_class_from_type  # noqa: E402

import templates  # noqa: E402

GIVEN = {
    "Size": "medium",
    "Kafka": "provisioned",
    "KafkaBootstrap": "b-1.example:9098,b-2.example:9098",
    "Image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/pulsegate/pulsegate:1",
    "Mail": "somebody@example.org",
    "WayOut": "nat",
    "OidcIssuer": "https://id.example.org",
    "OidcClientId": "pulsegate",
    "OidcClientSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:pulsegate/oidc-client-AbCdEf",
    "OidcRoles": "admin=*",
    "PrivacyKeyArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:pulsegate/privacy-key-AbCdEf",
    "PublicUrl": "https://play.example.org",
}
# What moto can't make: a stack would be called complete without it. Each is in the templates, checked by cfn-lint alone.
UNKNOWN = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::FlowLog",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::Logs::MetricFilter",
    "AWS::MSK::Cluster",
    "AWS::MSK::Configuration",
    "AWS::MSK::Topic",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBClusterParameterGroup",
    "AWS::RDS::DBInstance",
    "AWS::RDS::DBSubnetGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SecretsManager::Secret",
    "AWS::SNS::Subscription",
}
# What stands for an attribute of what is left out.
STANDS_FOR = {
    ("kafka", "Cluster"): "arn:aws:kafka:eu-central-1:123456789012:cluster/pulsegate-log/00000000-0000-0000-0000-000000000000-1",
}


def known(kind):
    return kind not in UNKNOWN and resource_class_from_type(kind) is not None


def reduced(name, template, values):
    """The template without what moto doesn't know, its conditions decided, and its subnets computed here."""
    made = {logical for logical, kind, _ in templates.resources(template, values) if known(kind)}

    def rewrite(node):
        if isinstance(node, list):
            return [rewrite(one) for one in node]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (function, argument), = node.items()
            if function == "Fn::If":
                return rewrite(argument[1] if templates.holds(template, values, argument[0]) else argument[2])
            if function == "Fn::FindInMap":
                return templates.value(template, values, node)
            if function == "Fn::Select" and isinstance(argument[1], dict) and "Fn::Cidr" in argument[1]:
                return f"10.20.{16 * int(argument[0])}.0/20"
            if function == "Fn::GetAtt" and argument[0] in template["Resources"] and argument[0] not in made:
                return f"{name}-{'-'.join(argument)}".lower()
            if function == "Ref" and argument in template["Resources"] and argument not in made:
                return STANDS_FOR.get((name, argument), f"{name}-{argument}".lower())
            if function == "Fn::Sub" and isinstance(argument, str):
                for logical in set(template["Resources"]) - made:
                    argument = without(argument, name, logical)
                return {function: argument}
        return {key: rewrite(one) for key, one in node.items()}

    resources = {}
    for logical in made:
        resource = {key: part for key, part in template["Resources"][logical].items() if key not in ("Condition", "Metadata")}
        depends = resource.pop("DependsOn", [])
        resource["DependsOn"] = [one for one in ([depends] if isinstance(depends, str) else depends) if one in made]
        resources[logical] = rewrite(resource)
    left = {key: part for key, part in template.items() if key not in ("Conditions", "Mappings", "Rules")}
    return {**left, "Resources": resources, "Outputs": rewrite(template.get("Outputs", {}))}


def without(text, name, logical):
    """The text with a resource's attributes, `${Cluster.Name}`, replaced by something that stands for them."""
    return re.sub(r"\$\{%s(\.\w+)?\}" % logical, f"{name}-{logical}".lower(), text)


class Simulated(unittest.TestCase):
    def test_every_stack_is_created_and_holds_what_it_should(self):
        with mock_aws():
            client = boto3.client("cloudformation")
            certificate = boto3.client("acm").request_certificate(DomainName="play.example.org")["CertificateArn"]
            given = {**GIVEN, "CertificateArn": certificate}
            created, left_out = 0, {}
            for name in templates.STACKS + ["service"]:
                template = service() if name == "service" else templates.read(name)
                values = templates.parameters(template, given)
                wanted = {logical for logical, kind, _ in templates.resources(template, values) if known(kind)}
                for _, kind, _ in templates.resources(template, values):
                    if not known(kind):
                        left_out[kind] = left_out.get(kind, 0) + 1
                client.create_stack(
                    StackName=f"pulsegate-{name}",
                    TemplateBody=json.dumps(reduced(name, template, values), default=str),
                    Capabilities=["CAPABILITY_IAM"],
                    Parameters=[
                        {"ParameterKey": key, "ParameterValue": given[key]} for key in template["Parameters"] if key in given
                    ],
                )
                stack = client.describe_stacks(StackName=f"pulsegate-{name}")["Stacks"][0]
                self.assertEqual(stack["StackStatus"], "CREATE_COMPLETE", name)
                held = client.describe_stack_resources(StackName=f"pulsegate-{name}")["StackResources"]
                # moto calls a stack complete whatever it skipped: so each resource is looked for.
                self.assertEqual({one["LogicalResourceId"] for one in held if one.get("PhysicalResourceId")}, wanted, name)
                created += len(wanted)
            self.assertEqual(set(left_out), UNKNOWN, "what moto doesn't know")
            self.look_at_what_was_made()
        print(f"moto: {created} resources created; not known to it: "
              + ", ".join(f"{kind} ({count})" for kind, count in sorted(left_out.items())), file=sys.stderr)

    def look_at_what_was_made(self):
        """By the services' own APIs, not CloudFormation's word."""
        ec2, ecs, iam = boto3.client("ec2"), boto3.client("ecs"), boto3.client("iam")
        private = next(export["Value"] for export in exports() if export["Name"] == "pulsegate-private-subnets").split(",")
        routes = [
            route
            for table in ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": private}])["RouteTables"]
            for route in table["Routes"]
        ]
        self.assertEqual(len(private), 3)
        self.assertFalse([route for route in routes if route.get("DestinationCidrBlock") == "0.0.0.0/0"], "a way out")
        services = ecs.describe_services(cluster="pulsegate", services=["api", "project", "service-name"])["services"]
        self.assertEqual({service["serviceName"] for service in services}, {"api", "project", "service-name"})
        for service in services:
            definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
            values = {pair["name"]: pair["value"] for pair in definition["containerDefinitions"][0]["environment"]}
            self.assertEqual(values["PULSEGATE_TOPIC_PREFIX"], "pulsegate.")
            self.assertNotIn("Fn::", json.dumps(values))
        made = {role["RoleName"] for role in iam.list_roles()["Roles"]}
        self.assertGreaterEqual(len(made), 6)
        for export in exports():
            if not re.fullmatch("pulsegate-(api|project|operate)-role", export["Name"]):
                continue
            role = export["Value"].rsplit("/", 1)[1]
            policies = iam.list_role_policies(RoleName=role)["PolicyNames"]
            document = iam.get_role_policy(RoleName=role, PolicyName=policies[0])["PolicyDocument"]
            allowed = json.dumps(document)
            self.assertIn("topic/pulsegate-log/00000000-0000-0000-0000-000000000000-1/pulsegate.playback", allowed)
            self.assertNotIn("Fn::", allowed)
        balancers = boto3.client("elbv2").describe_load_balancers()["LoadBalancers"]
        self.assertEqual([balancer["Scheme"] for balancer in balancers], ["internet-facing"])
        dashboard = boto3.client("cloudwatch").get_dashboard(DashboardName="pulsegate")["DashboardBody"]
        self.assertEqual(len(json.loads(dashboard)["widgets"]), 9)


def exports():
    return boto3.client("cloudformation").list_exports()["Exports"]


def service():
    text = (templates.FOLDER.parent.parent / "templates/service/stack.yaml").read_text()
    return templates.yaml.load(text, templates.Loader)


if __name__ == "__main__":
    unittest.main()
