"""Turns errors of pyarrow and botocore into what happened and what to do.

Server text that could repeat a request, and with it an access key, is never shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mrag_pipeline.errors import first_line

_ARROW = re.compile(
    r"AWS Error (?P<code>[A-Z_]+)(?: \(HTTP status (?P<status>\d+)\))?"
    r" during \w+ operation: "
    r"(?:Unable to parse ExceptionName: (?P<name>\w+) Message: )?(?P<text>.*)"
)
_REQUEST = re.compile(r"\s*\(Request ID: [^)]*\)")

_NO_BUCKET = {"nosuchbucket"}
_REFUSED = {
    *("accessdenied", "invalidaccesskeyid", "signaturedoesnotmatch", "invalidclienttokenid"),
    *("expiredtoken", "invalidtoken", "unrecognizedclient", "missingauthenticationtoken"),
    *("nocredentialserror", "partialcredentialserror", "credentialretrievalerror", "401", "403"),
    *("unauthorizedssotokenerror", "ssotokenloaderror", "allaccessdisabled", "optinrequired"),
}
_NO_ANSWER = {
    *("networkconnection", "endpointconnectionerror", "connecttimeouterror", "readtimeouterror"),
    *("connectionclosederror", "httpclienterror", "connectionerror", "proxyconnectionerror"),
    *("sslerror", "responsestreamingerror"),
}
_BUSY = {"slowdown", "serviceunavailable", "internalfailure", "internalerror", "throttling"}
_BUSY |= {"requesttimeout", "429", "500", "502", "503", "504"}
_ELSEWHERE = {
    "permanentredirect",
    "301",
    "authorizationheadermalformed",
    "illegallocationconstraint",
}
_FULL = {"xminiostoragefull", "quotaexceeded", "insufficientstorage", "507"}


class StoreError(OSError):
    """An object store answered with an error, or not at all."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text

    def __reduce__(self) -> tuple[type[StoreError], tuple[str, str]]:
        return type(self), (self.code, self.text)


@dataclass(frozen=True, slots=True)
class Failure:
    """The parts of an error message."""

    found: str
    expected: str = ""
    fix: str = ""  # "": the caller adds its own
    is_full: bool = False
    is_store: bool = True  # caused by an object store, not by the content


def failure(error: BaseException, server: str = "the object store", bucket: str = "") -> Failure:
    """What happened, what was expected and what helps.

    Args:
        server: its name in the message.
        bucket: its name in the message; "" if there is none.
    """
    code, message = _read(error)
    if code in _NO_BUCKET:
        return Failure(
            f"{server} has no bucket {bucket!r}",
            "an existing bucket: buckets are never created",
            "create the bucket, or correct the URI",
        )
    if code in _REFUSED:
        return Failure(
            f"{server} refuses the credentials ({message})",
            f"credentials that may list, read, write and remove in bucket {bucket!r}",
            "check AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
            "~/.aws/credentials, and the policy (docs/object-stores.md)",
        )
    if code in _NO_ANSWER:
        return Failure(
            f"no answer from {server} after several attempts ({message})",
            "an S3 server at that address",
            "check the network and AWS_ENDPOINT_URL, then run the same command again: finished "
            "work is kept",
        )
    if code in _BUSY:
        return Failure(
            f"{server} failed after several attempts ({message})",
            "a server that can answer",
            "check the server's load and logs, then run the same command again: finished work "
            "is kept",
        )
    if code in _ELSEWHERE:
        return Failure(
            f"bucket {bucket!r} is in another region, or at another endpoint ({message})",
            "the bucket's own region and endpoint",
            "set AWS_REGION, or ?region= in the URI",
        )
    if code in _FULL:
        return Failure(f"{server} has no space left ({message})", is_full=True)
    return Failure(message, is_store=bool(code))


def _read(error: BaseException) -> tuple[str, str]:
    """The error's code in lower case without underscores, "" if no store sent it, and its text."""
    if isinstance(error, StoreError):
        return _plain(error.code), _worded(error.code, error.text)
    text = first_line(error)
    match = _ARROW.search(text)
    if match is None:
        return "", text
    code = match["status"] if match["code"] == "UNKNOWN" and match["status"] else match["code"]
    return _plain(match["name"] or code), _worded(match["name"] or code, match["text"])


def _plain(code: str) -> str:
    return code.replace("_", "").lower()


def _worded(code: str, text: str) -> str:
    message = _REQUEST.sub("", text).strip().rstrip(".")
    return message if message and message != "No response body" else code.replace("_", " ").lower()
