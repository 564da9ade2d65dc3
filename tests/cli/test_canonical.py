# SPDX-License-Identifier: MIT
"""Fingerprints of JSON made at random, against the canonical form as Python would write it (src/base/json.h)."""

import hashlib
import json
import random
import re

from support import *

SEED, TEXTS = 20240229, 4000
QUEUE = "q"


# ---- the canonical form, of Python's own making -----------------------------------------------


def canonical_number(text):
    if re.fullmatch(r"-?\d+", text) and -(1 << 63) <= int(text) < 1 << 64:
        return text
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    sign = "-" if text[0] == "-" else ""
    if value == 0:
        return sign + "0"
    digits, exponent = re.fullmatch(r"-?(\d(?:\.\d+)?)e([-+]\d+)", shortest(value)).groups()
    digits, exponent = digits.replace(".", ""), int(exponent)
    if exponent < -6 or exponent >= 21:
        point = "." + digits[1:] if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}e{exponent:+d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole, rest = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{sign}{whole}.{rest}" if rest else sign + whole


def shortest(value):
    """With the fewest digits that read back to it: repr() has them, but not always with an exponent."""
    digits = len(re.sub(r"e.*|[-.]", "", repr(value)).strip("0"))
    return f"{value:.{max(digits, 1) - 1}e}"


def canonical_string(text):
    def written(c):
        named = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
        return named.get(c) or f"\\u{ord(c):04x}"

    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # pairs are one, lone ones U+FFFD
    return '"' + re.sub('[\\x00-\\x1f"\\\\<>&\u2028\u2029]', lambda found: written(found[0]), text) + '"'


def canonical(value):
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode())
        return "{" + ",".join(canonical_string(name) + ":" + canonical(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, Number):
        return canonical_number(value.text)
    if isinstance(value, str):
        return canonical_string(value)
    return {None: "null", True: "true", False: "false"}[value]


class Number:
    """One beyond a double makes its whole text none of JSON, though it be a member that another takes the place of."""

    def __init__(self, text):
        self.text = text
        canonical_number(text)


def members(pairs):
    """The last of equal names, once what cannot be written is replaced in them."""
    return {name.encode("utf-16", "surrogatepass").decode("utf-16", "replace"): value for name, value in pairs}


def fingerprint(text):
    decoder = json.JSONDecoder(object_pairs_hook=members, parse_int=Number, parse_float=Number)
    try:
        form = canonical(decoder.decode(text))
    except ValueError:
        form = text  # no JSON, or beyond a double: it counts as bytes
    return hashlib.md5((QUEUE + form).encode("utf-8", "surrogatepass")).hexdigest()


# ---- texts --------------------------------------------------------------------------------------


class Maker:
    """Each text is the value of the same numbers of the generator, so that two can differ in their writing alone."""

    CHARACTERS = "aAzZ09 _/<>&\u007f\u00e9\u07ff\u0800\u2028\u2029\ufffd\uffff\U00010000\U0001f600\U0010ffff"
    ESCAPES = ['\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0000", "\\u001f", "\\u0041", "\\u00E9",
               "\\u2028", "\\uffff", "\\ud83d\\ude00", "\\uD83D", "\\udE00", "\\ud83d\\u0041", "\\ud800\\ud800\\udc00"]
    NUMBERS = ["0", "-0", "0.0", "-0.0e5", "1", "-1", "10", "1.0", "1e0", "1E+2", "100", "1e-7", "0.000001", "1e20",
               "1e21", "123456789012345678901", "9223372036854775807", "-9223372036854775808",
               "-9223372036854775809", "18446744073709551615", "18446744073709551616", "5e-324", "2e-324", "3e-324",
               "2.2250738585072014e-308", "2.2250738585072011e-308", "1.7976931348623157e308", "1e308", "1e309", "0.1",
               "0.30000000000000004", "9007199254740993", "9007199254740993.0", "4503599627370497.5", "1e-400", "1e23",
               "8.41e21", "9.5367431640625e-7", "1" + 400 * "0" + "e-400", "0." + 400 * "0" + "1e401"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def space(self):
        return self.random.choice(["", "", "", "", " ", "\t", "\r ", "  "])

    def number(self):
        r = self.random
        if r.random() < 0.5:
            return r.choice(self.NUMBERS)
        text = r.choice(["", "-"]) + str(r.randrange(10 ** r.randrange(1, 25)))
        if r.random() < 0.6:
            text += "." + "".join(r.choice("0123456789") for _ in range(r.randrange(1, 22)))
        if r.random() < 0.4:
            text += r.choice("eE") + r.choice(["", "+", "-"]) + str(r.randrange(r.choice([5, 30, 310])))
        return text

    def string(self, most=8):
        r = self.random
        return '"' + "".join(r.choice(self.ESCAPES if r.random() < 0.3 else self.CHARACTERS)
                             for _ in range(r.randrange(most))) + '"'

    def value(self, depth):
        r, s = self.random, self.space
        kind = r.random() if depth else r.random() * 0.5
        if kind < 0.2:
            return s() + self.number() + s()
        if kind < 0.45:
            return s() + self.string() + s()
        if kind < 0.5:
            return s() + r.choice(["true", "false", "null"]) + s()
        count = r.choice([0, 1, 2, 3, 5, 9])
        if kind < 0.7:
            return s() + "[" + (",".join(self.value(depth - 1) for _ in range(count)) or s()) + "]" + s()
        # few names, so that some are twice
        inner = ",".join(s() + self.string(3) + s() + ":" + self.value(depth - 1) for _ in range(count))
        return s() + "{" + (inner or s()) + "}" + s()

    def text(self):
        r = self.random
        text = self.value(r.randrange(6))
        if r.random() < 0.05:  # no JSON any more, or other JSON
            at = r.randrange(len(text))
            text = text[:at] + r.choice(["", ",", "0", "-", "}", '"', "\\", "e", "\x01"]) + text[at + 1 :]
        return text.strip("\r") or "0"  # a line ends there


# ---- the two side by side -----------------------------------------------------------------------


class Canonical(Case):
    def test_fingerprints_are_those_of_the_canonical_form(self):
        maker = Maker(SEED)
        texts = [maker.text() for _ in range(TEXTS)]
        expected = {}
        for text in texts:
            expected.setdefault(fingerprint(text), text)
        self.write("lines", "".join(text + "\n" for text in texts))
        self.neoq("enqueue", QUEUE, "--lines", self.path("lines"))
        lines = self.neoq("--json", "jobs", "-n", str(TEXTS)).stdout.split("\n")[:-1]  # payloads have U+2028
        made = {json.loads(line)["fingerprint"] for line in lines}
        self.assertEqual(sorted((text for print, text in expected.items() if print not in made), key=len)[:1], [])
        self.assertEqual(len(made - set(expected)), 0)
        self.assertGreater(len(made), TEXTS / 2)
        self.assertLess(len(made), TEXTS)  # some are the same value


if __name__ == "__main__":
    unittest.main()
