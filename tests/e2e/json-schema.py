#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random schemas, answers of a model that knows nothing, and Python's jsonschema as the judge.

Usage: json-schema.py GREGALE_BENCH_GRAMMAR MODEL.gguf [--schemas N] [--samples N] [--seed N] [--max-tokens N]
Every answer has to be valid: JSON, and by the schema, formats included. Exit code 77 without jsonschema.
"""

import argparse
import collections
import datetime
import ipaddress
import json
import random
import re
import string
import subprocess
import sys
import uuid
import urllib.parse
import warnings

warnings.simplefilter("ignore", DeprecationWarning)
try:
    import jsonschema
except ImportError:
    print("python3-jsonschema is not installed")
    sys.exit(77)

sys.setrecursionlimit(100000)
# Why a schema may be refused.
REASONS = ["nothing at all satisfies", "may satisfy branch", "the grammar is too large", "minProperties: more members"]
WORDS = "name age id kind value tags items next left right parent title url price note when where who".split()


# ---- Formats, checked by the standard library

def checks(function):
    def check(text):
        if not isinstance(text, str):
            return True
        try:
            return bool(function(text))
        except ValueError:
            return False
    return check


def is_duration(text):
    return re.fullmatch(r"P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)", text)


def is_host(text):
    labels = text.split(".")
    return len(text) <= 253 and all(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", one) for one in labels)


def is_uri(text):
    parts = urllib.parse.urlsplit(text)
    return parts.scheme and is_host(parts.hostname or "") and re.fullmatch(r"[!-~]+", text)


def is_pointer(text):
    return not text or (text[0] == "/" and not re.search(r"~(?![01])", text))


FORMATS = {
    "date": lambda t: re.fullmatch(r"\d{4}-\d\d-\d\d", t) and datetime.date.fromisoformat(t),
    "time": lambda t: re.search(r"(Z|[+-]\d\d:\d\d)$", t) and
            datetime.time.fromisoformat(re.sub(r"\.(\d+)", lambda m: "." + m[1].ljust(6, "0"), t.replace("Z", "+00:00"))),
    "date-time": lambda t: FORMATS["date"](t[:10]) and t[10] == "T" and FORMATS["time"](t[11:]) is not None,
    "duration": is_duration,
    "email": lambda t: t.count("@") == 1 and is_host(t.split("@")[1]),
    "hostname": is_host,
    "ipv4": lambda t: ipaddress.IPv4Address(t),
    "ipv6": lambda t: ipaddress.IPv6Address(t) is not None,
    "uuid": lambda t: uuid.UUID(t) and t[8] == "-",
    "uri": is_uri,
    "uri-reference": is_uri,
    "json-pointer": is_pointer,
}


def format_checker():
    checker = jsonschema.FormatChecker(formats=())
    for name, function in FORMATS.items():
        if name in ("time",):
            checker.checks(name)(checks(lambda t: FORMATS["time"](t) is not None))
        elif name in ("ipv4",):
            checker.checks(name)(checks(lambda t: FORMATS["ipv4"](t) is not None))
        else:
            checker.checks(name)(checks(function))
    return checker


# ---- Random schemas

class Schemas:
    """Schemas of all the keywords that are supported, nested, most of them satisfiable."""

    PATTERNS = [r"^[A-Z]{2,4}-\d{1,6}$", r"^\w+$", r"a.b", r"^(foo|bar)?[^\d]*$", r"^\S{3,20}$", r"[\u00e9-\u00ff]+$", r"^$|x",
                r"^\"[^\"\\]*\\$", r"^(\d{3}\.){2}\d$", r"^[\s\S]{1,9}z", r"^\D\W?$"]

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.defs = []

    def some(self, chance):
        return self.random.random() < chance

    def name(self):
        return self.random.choice(WORDS) if self.some(0.9) else self.random.choice(["a b", "é", 'q"t', "\\", "x/y~z", "\t", ""])

    def schema(self, depth):
        kinds = [self.text, self.number, self.integer, self.values, self.plain]
        if depth > 0:
            kinds += [self.object, self.object, self.object, self.array, self.array, self.any_of, self.one_of, self.all_of, self.ref]
        return self.random.choice(kinds)(depth)

    def plain(self, _):
        return self.random.choice([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"type": ["integer", "boolean"]},
                                   True, {}, {"type": "object"}, {"type": "array"}, {"description": "anything"}])

    def text(self, _):
        result = {"type": "string"} if self.some(0.9) else {}
        roll = self.random.random()
        if roll < 0.35:
            low = self.random.choice([0, 0, 1, 3, 20])
            if self.some(0.6):
                result["minLength"] = low
            if self.some(0.7):
                result["maxLength"] = low + self.random.choice([0, 1, 5, 30, 300])
        elif roll < 0.6:
            result["format"] = self.random.choice(list(FORMATS))
        elif roll < 0.85:
            result["pattern"] = self.random.choice(self.PATTERNS)
            if self.some(0.3):
                result["maxLength"] = self.random.choice([12, 40])
        return result or {"minLength": 1}

    def bounds(self, result, low, high):
        if self.some(0.6):
            result[self.random.choice(["minimum", "exclusiveMinimum"])] = low
        if self.some(0.6):
            result[self.random.choice(["maximum", "exclusiveMaximum"])] = high
        return result

    def number(self, _):
        low = self.random.choice([0, -1, -0.5, 0.1, 1e-3, -123.456, 99.99, 1e6, -7, 5e-324, 2.5])
        return self.bounds({"type": "number"}, low, low + self.random.choice([1e-3, 0.5, 1, 10, 1000, 12345.678]))

    def integer(self, _):
        low = self.random.choice([0, 1, -5, -1000, 42, 999, 1900, -123456789, 10**12])
        result = self.bounds({"type": "integer"}, low, low + self.random.choice([2, 9, 10, 99, 4096, 10**9]))
        if self.some(0.2):
            result = {"type": self.random.choice(["integer", "number"]), "multipleOf": self.random.choice([2, 5, 7, 10, 60, 100])}
            self.bounds(result, low, low + 1000)
        return result

    def value(self, depth):
        kinds = [lambda: self.random.choice([None, True, False]), lambda: self.random.randint(-99, 99),
                 lambda: self.random.choice([0.5, 1.0, -2.25, 1e-7, 1e21, 0.1]),
                 lambda: "".join(self.random.choice(string.ascii_letters + ' "\\é\n/😀') for _ in range(self.random.randint(0, 8)))]
        if depth > 0:
            kinds += [lambda: [self.value(depth - 1) for _ in range(self.random.randint(0, 3))],
                      lambda: {self.name(): self.value(depth - 1) for _ in range(self.random.randint(0, 3))}]
        return self.random.choice(kinds)()

    def values(self, depth):
        if self.some(0.4):
            return {"const": self.value(min(depth, 2))}
        result = {"enum": [self.value(min(depth, 2)) for _ in range(self.random.randint(1, 6))]}
        if self.some(0.3):
            result["enum"].append("word")
            result.update(self.random.choice([{"type": "string"}, {"minLength": 2}, {"type": ["string", "number"], "minimum": 0}]))
        return result

    def object(self, depth):
        names = list(dict.fromkeys(self.name() for _ in range(self.random.randint(0, 5))))
        result = {"type": "object"} if self.some(0.9) else {}
        if names or not result:
            result["properties"] = {name: self.schema(depth - 1) for name in names}
        required = [name for name in names if self.some(0.5)]
        if self.some(0.1):
            required.append(self.name())
        if required:
            result["required"] = list(dict.fromkeys(required))
        roll = self.random.random()
        if roll < 0.35 and set(required) <= set(names):
            result["additionalProperties"] = False
        elif roll < 0.6:
            result["additionalProperties"] = self.schema(depth - 1) if self.some(0.7) else True
            if self.some(0.3):
                result["propertyNames"] = self.random.choice([{"pattern": "^[a-z]+$"}, {"maxLength": 6}, {"minLength": 1}])
                required[:] = [name for name in required if jsonschema.Draft202012Validator(result["propertyNames"]).is_valid(name)]
                result["required"] = required
        if self.some(0.15):
            count = len(result.get("required", []))
            most = len(names) if result.get("additionalProperties") is False else len(names) + 2
            result["minProperties"] = self.random.randint(0, most)
            result["maxProperties"] = max(count, result["minProperties"]) + self.random.randint(0, 2)
        return result

    def array(self, depth):
        result = {"type": "array"}
        if self.some(0.3):
            result["prefixItems"] = [self.schema(depth - 1) for _ in range(self.random.randint(1, 3))]
        if self.some(0.7) or "prefixItems" not in result:
            result["items"] = self.schema(depth - 1) if self.some(0.9) else False
        if self.some(0.4):
            least = self.random.randint(0, 3)
            if result.get("items") is False:
                least = min(least, len(result.get("prefixItems", [])))
            result["minItems"] = least
        if self.some(0.4):
            result["maxItems"] = result.get("minItems", 0) + self.random.randint(0, 4)
        if self.some(0.05):
            result["uniqueItems"] = False
        return result

    def any_of(self, depth):
        result = {"anyOf": [self.schema(depth - 1) for _ in range(self.random.randint(1, 3))]}
        if self.some(0.1):
            result["type"] = ["string", "object", "integer"]
        return result

    def one_of(self, depth):
        if self.some(0.3):
            return {"oneOf": [{"type": "string", "maxLength": 9}, self.integer(0), {"type": "null"}, self.array(depth)]}
        key = self.name()
        branches = []
        for tag in self.random.sample(WORDS, self.random.randint(1, 3)):
            branch = self.object(depth - 1)
            branch.pop("minProperties", None), branch.pop("maxProperties", None), branch.pop("propertyNames", None)
            branch["type"] = "object"
            branch.setdefault("properties", {})[key] = self.random.choice([{"const": tag}, {"enum": [tag, tag + "2"]}])
            branch["required"] = [one for one in branch.get("required", []) if one in branch["properties"] and one != key] + [key]
            branches.append(branch)
        return {"oneOf": branches}

    def all_of(self, depth):
        roll = self.random.random()
        if roll < 0.3:
            return {"allOf": [{"type": "number", "minimum": 3}, self.bounds({}, 2, 2000)], "maximum": 100000}
        if roll < 0.5:
            return {"allOf": [{"type": "string", "pattern": "^[a-z]"}, {"pattern": "[0-9]$", "maxLength": 15}]}
        names = self.random.sample(WORDS, 4)
        parts = [{"type": "object", "properties": {names[0]: self.schema(depth - 1)}, "required": [names[0]]},
                 {"properties": {names[1]: self.schema(depth - 1), names[2]: self.schema(depth - 1)}, "required": [names[1]]}]
        if self.some(0.3):
            parts.append({"properties": {names[2]: {"type": ["string", "integer", "object"]}, names[3]: True}})
        return {"allOf": parts}

    def ref(self, depth):
        if self.defs and self.some(0.7):
            return {"$ref": "#/$defs/" + self.random.choice(self.defs)}
        return self.schema(depth - 1)

    def whole(self):
        """A schema with definitions that refer to each other and to themselves, always with a way out."""
        self.defs = [f"d{i}" for i in range(self.random.randint(0, 3))]
        defs = {}
        for name in self.defs:
            roll = self.random.random()
            if roll < 0.4:
                defs[name] = {"type": "object", "properties": {"value": self.text(0), "next": {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}},
                              "required": ["value", "next"]}
            elif roll < 0.7:
                defs[name] = {"type": "object", "properties": {"id": self.integer(0), "children": {"type": "array", "items": {"$ref": f"#/$defs/{self.random.choice(self.defs)}"}}},
                              "required": ["id"], "additionalProperties": False}
            else:
                keep, self.defs = self.defs, []
                defs[name] = self.schema(2)
                self.defs = keep
        result = self.schema(self.random.choice([0, 1, 2, 3, 3]))
        if self.defs:
            if not isinstance(result, dict) or "$ref" in result:
                result = {"type": "array", "items": result}
            result["$defs"] = defs
        if isinstance(result, dict) and self.some(0.3):
            result.update({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "x-note": 1})
        return result


# ---- Judging

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--schemas", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dump", help="write the cases to this file")
    arguments = parser.parse_args()
    schemas = [Schemas(arguments.seed * 1000003 + i).whole() for i in range(arguments.schemas)]
    lines = [json.dumps({"kind": "json-schema", "text": json.dumps(schema, ensure_ascii=i % 2 == 0), "samples": arguments.samples,
                         "max_tokens": arguments.max_tokens, "seed": arguments.seed + i}) for i, schema in enumerate(schemas)]
    if arguments.dump:
        open(arguments.dump, "w").write("\n".join(lines) + "\n")
    run = subprocess.run([arguments.program, arguments.model, "--print"], input="\n".join(lines) + "\n", capture_output=True, text=True)
    if run.returncode:
        print(f"exit code {run.returncode}\n{run.stderr}")
        return 1
    checker, wrong, valid, full = format_checker(), 0, 0, 0
    refusals = collections.Counter()
    for number, (schema, line) in enumerate(zip(schemas, run.stdout.split("\n"))):
        result = json.loads(line)
        if "error" in result:
            refusals[result["error"].split(": ", 1)[-1][:60]] += 1
            if not any(reason in result["error"] for reason in REASONS):
                print(f"schema {number}: {result['error']}\n  {json.dumps(schema)}")
                wrong += 1
            continue
        validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
        for text, tokens in zip(result["texts"], result["tokens"]):
            try:
                problem = next(validator.iter_errors(json.loads(text)), None)
            except ValueError as error:
                problem = error
            valid += problem is None
            full += tokens >= arguments.max_tokens
            if problem is not None:
                wrong += 1
                print(f"schema {number}: {str(problem).splitlines()[0][:200]}\n  {json.dumps(schema)}\n  {text!r}")
    print(run.stderr.strip())
    print(f"{len(schemas)} schemas, {sum(refusals.values())} refused, {valid} answers valid ({full} of the longest length), {wrong} wrong")
    for reason, count in refusals.most_common():
        print(f"  {count} refused: {reason}")
    few = valid < arguments.schemas * arguments.samples * 0.8
    return 1 if wrong or few else 0


sys.exit(main())
