"""Reads CloudFormation's YAML, and evaluates as much of it as a plan and the checks need."""

import pathlib

import yaml

FOLDER = pathlib.Path(__file__).resolve().parent.parent
# In the order of what imports what.
STACKS = ["network", "doors", "kafka", "database", "platform", "roles", "watch", "operate", "project", "api"]


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms of its functions."""


def _function(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


Loader.add_multi_constructor("!", _function)


def read(name):
    """A stack's template."""
    return yaml.load((FOLDER / f"{name}.yaml").read_text(), Loader)


def parameters(template, given):
    """Its parameters with their values: those given, else its defaults."""
    return {
        name: str(given.get(name, declared.get("Default", f"({name})")))
        for name, declared in template.get("Parameters", {}).items()
    }


def holds(template, values, condition):
    """Whether a condition of the template holds."""
    return _condition(template, values, {"Condition": condition})


def _condition(template, values, expression):
    (function, argument), = expression.items()
    if function == "Condition":
        return _condition(template, values, template["Conditions"][argument])
    if function == "Fn::Not":
        return not _condition(template, values, argument[0])
    if function == "Fn::And":
        return all(_condition(template, values, one) for one in argument)
    if function == "Fn::Equals":
        left, right = (values[side["Ref"]] if isinstance(side, dict) else str(side) for side in argument)
        return left == right
    raise ValueError(f"no plan knows {function}")


def resources(template, values):
    """What is created with these parameters: (logical name, type, properties)."""
    for name, resource in template["Resources"].items():
        if "Condition" not in resource or holds(template, values, resource["Condition"]):
            yield name, resource["Type"], resource.get("Properties", {})


def value(template, values, expression):
    """A property, as far as it can be told without an account."""
    if not isinstance(expression, dict):
        return expression
    (function, argument), = expression.items()
    if function == "Ref" and argument in values:
        return values[argument]
    if function == "Fn::FindInMap":
        table, first, second = (value(template, values, part) for part in argument)
        return template["Mappings"][table][first][second]
    if function == "Fn::If":
        condition, yes, no = argument
        return value(template, values, yes if holds(template, values, condition) else no)
    return None
