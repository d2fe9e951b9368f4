"""Turns errors of pyarrow and botocore into what happened and what to do.

A server's text that could hold a request, and so an access key, is never shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
    """An object store's answer, or none."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text

    def __reduce__(self) -> tuple[type[StoreError], tuple[str, str]]:
        return type(self), (self.code, self.text)


@dataclass(frozen=True, slots=True)
class Failure:
    """For an error's text."""

    found: str
    expected: str = ""
    fix: str = ""  # "": whoever tells it knows better
    is_full: bool = False
    is_store: bool = True  # an object store's, and not the content's


def failure(error: BaseException, server: str = "the object store", bucket: str = "") -> Failure:
    """What happened, what was expected and what helps.

    Args:
        server: for people.
        bucket: likewise; "" where there is none.
    """
    code, said = _read(error)
    if code in _NO_BUCKET:
        return Failure(
            f"{server} has no bucket {bucket!r}",
            "an existing bucket: buckets are never created",
            "create the bucket, or correct the URI",
        )
    if code in _REFUSED:
        return Failure(
            f"{server} refuses the credentials ({said})",
            f"credentials that may list, read, write and remove in bucket {bucket!r}",
            "check AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
            "~/.aws/credentials, and the policy (docs/object-stores.md)",
        )
    if code in _NO_ANSWER:
        return Failure(
            f"no answer from {server} after several attempts ({said})",
            "an S3 server there",
            "check the network and AWS_ENDPOINT_URL, then run the same command again: finished "
            "work is kept",
        )
    if code in _BUSY:
        return Failure(
            f"{server} failed after several attempts ({said})",
            "a server that can answer",
            "check the server's load and logs, then run the same command again: finished work "
            "is kept",
        )
    if code in _ELSEWHERE:
        return Failure(
            f"bucket {bucket!r} is in another region, or at another endpoint ({said})",
            "the bucket's own",
            "set AWS_REGION, or ?region= in the URI",
        )
    if code in _FULL:
        return Failure(f"{server} has no space left ({said})", is_full=True)
    return Failure(said, is_store=bool(code))


def _read(error: BaseException) -> tuple[str, str]:
    """A code, lower case and letters only, "" if it is no store's; and its words."""
    if isinstance(error, StoreError):
        return _plain(error.code), _worded(error.code, error.text)
    text = _first_line(error)
    found = _ARROW.search(text)
    if found is None:
        return "", text
    code = found["status"] if found["code"] == "UNKNOWN" and found["status"] else found["code"]
    return _plain(found["name"] or code), _worded(found["name"] or code, found["text"])


def _plain(code: str) -> str:
    return code.replace("_", "").lower()


def _worded(code: str, text: str) -> str:
    said = _REQUEST.sub("", text).strip().rstrip(".")
    return said if said and said != "No response body" else code.replace("_", " ").lower()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
