"""`aws s3 cp SOURCE DESTINATION` by boto3, for machines without the AWS CLI. Run as a script, never imported."""

import sys
from typing import Any

import boto3


def main(words: list[str]) -> int:
    """Copy one file; print what the CLI prints. Returns the exit code."""
    if words[:2] != ["s3", "cp"] or len(words) != 4:
        sys.stderr.write("usage: s3cp.py s3 cp SOURCE DESTINATION\n")
        return 2
    source, destination = words[2:]
    client: Any = boto3.client("s3")  # type: ignore[no-untyped-call]
    try:
        if destination.startswith("s3://"):
            bucket, _, key = destination.removeprefix("s3://").partition("/")
            client.upload_file(source, bucket, key)
        else:
            bucket, _, key = source.removeprefix("s3://").partition("/")
            client.download_file(bucket, key, destination)
    except Exception as error:  # noqa: BLE001 - a script's last line: any failure is a message and a code
        sys.stderr.write(f"copy failed: {source} to {destination} {error}\n")
        return 1
    sys.stdout.write(f"copy: {source} to {destination}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
