#!/usr/bin/env python3
"""Checks an Orion proof with nothing of Orion: verify_proof.py <proof> <public keys>.

Python's own library is enough. docs/proofs.md explains each step. Exit status: 0 proved, 1 not, 2 wrong use.
"""

import base64
import hashlib
import json
import sys


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# The event.

def leaf_hash(event):
    def number(value):
        return value.to_bytes(8, "big", signed=True)

    columns = [
        event["aggregate_type"].encode(),
        event["aggregate_id"].encode(),
        number(event["sequence"]),
        event["event_type"].encode(),
        event["event_version"].encode(),
        event["payload"].encode(),
        event["metadata"].encode(),
        number(event["recorded_at_us"]),
    ]
    hashed = sha256(*(part for column in columns for part in (number(len(column)), column)))
    return sha256(b"\x00", b"orion event 1\n", number(event["position"]), hashed)


# The way to the root.

def root_from_path(index, size, leaf, path):
    if not 0 <= index < size:
        raise ValueError("the position is not in the tree")
    if size == 1:
        if path:
            raise ValueError("the path is too long")
        return leaf
    half = 1 << ((size - 1).bit_length() - 1)
    if not path:
        raise ValueError("the path is too short")
    beside = path[-1]
    if index < half:
        return sha256(b"\x01", root_from_path(index, half, leaf, path[:-1]), beside)
    return sha256(b"\x01", beside, root_from_path(index - half, size - half, leaf, path[:-1]))


# Ed25519, as RFC 8032 defines it; slow and short.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def point(encoded):
    number = int.from_bytes(encoded, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        raise ValueError("not a point of the curve")
    return (P - x if x % 2 != sign else x, y)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, P - 2, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, P - 2, P) % P,
    )


def times(number, base):
    result = (0, 1)
    while number:
        if number & 1:
            result = add(result, base)
        base, number = add(base, base), number >> 1
    return result


def is_signed(key, text, signature):
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    challenge = int.from_bytes(hashlib.sha512(r + key + text).digest(), "little") % L
    base = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    return s < L and times(s, base) == add(point(r), times(challenge, point(key)))


# The checkpoint.

def open_checkpoint(note, keys):
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        dash, name, signed = line.split(" ")
        signed = base64.b64decode(signed, validate=True)
        for key in keys:
            key_name, _, encoded = key.split("+", 2)
            algorithm_and_key = base64.b64decode(encoded, validate=True)
            key_id = sha256(key_name.encode(), b"\n", algorithm_and_key)[:4]
            if (dash, name, signed[:4]) != ("\u2014", key_name, key_id):
                continue
            if algorithm_and_key[0] == 1 and is_signed(algorithm_and_key[1:], text.encode(), signed[4:]):
                origin, size, root = text.splitlines()
                if origin != "orion/log":
                    raise ValueError("a checkpoint of something else")
                return int(size), base64.b64decode(root, validate=True)
    raise ValueError("none of the keys has signed the checkpoint")


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as file:
        proof = json.load(file)
    with open(sys.argv[2], encoding="utf-8") as file:
        keys = file.read().split()
    try:
        if proof["format"] != "orion-proof/1":
            raise ValueError("not a proof of format orion-proof/1")
        size, root = open_checkpoint(proof["checkpoint"], keys)
        path = [base64.b64decode(step, validate=True) for step in proof["path"]]
        event = proof["event"]
        if root_from_path(event["position"] - 1, size, leaf_hash(event), path) != root:
            raise ValueError("the event is not the one that was sealed")
    except (KeyError, TypeError, ValueError) as problem:
        print(f"not proved: {problem}")
        return 1
    print(f"proved: position {event['position']} of {size}, {event['event_type']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
