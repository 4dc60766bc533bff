"""What the Python runners have in common.

Scenario ids come in on stdin, one a line, and each is answered by one JSON line on stdout. The org's control plane is
reached by plain requests; everything else goes through the client.
"""

import json
import os
import re
import sys
import time
import traceback
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

BASE = os.environ["CONFORMANCE_URL"]
KEY = Path(os.environ["CONFORMANCE_KEY"]).read_text()
CLIENT_ID, CLIENT_SECRET = "causeway-dev", "causeway-dev-secret"
USERNAME, PASSWORD = "integration@causeway.test", "causeway"
CALLBACK = "http://localhost:1717/callback"
VERSION = "62.0"
EVENT = "i42as__OrderEvent__e"


def control(path, body=None):
    """Posts to the control plane, or reads from it when there is no body."""
    url = f"{BASE}/_sim/{path}"
    answer = requests.get(url, timeout=30) if body is None else requests.post(url, json=body, timeout=30)
    assert answer.ok, f"control plane, {path}: {answer.status_code} {answer.text}"
    return answer.json()


def works(token):
    """The status of an API call with this token."""
    url = f"{BASE}/services/data/v{VERSION}/limits"
    return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code


def allow(authorize_url):
    """Allows the app as a person would, on the pages that the URL leads to; gives the URL of the way back.

    Logs in where a password is asked for, presses Allow where there is such a button, and keeps the cookies.
    """
    browser = requests.Session()
    answer = browser.get(authorize_url, allow_redirects=False, timeout=30)
    for _ in range(10):
        following = answer.headers.get("Location")
        if following and following.startswith(CALLBACK):
            return following
        if following:
            answer = browser.get(urljoin(answer.url, following), allow_redirects=False, timeout=30)
            continue
        form = re.search(r'<form[^>]* action="([^"]*)"', answer.text)
        assert form, f"no form on the page ({answer.status_code}): {answer.text[:300]}"
        hidden = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', answer.text)
        body = {name: unescape(value) for name, value in hidden}
        if 'name="password"' in answer.text:
            body |= {"username": USERNAME, "password": PASSWORD}
        if 'value="allow"' in answer.text:
            body["decision"] = "allow"
        answer = browser.post(urljoin(answer.url, form[1]), data=body, allow_redirects=False, timeout=30)
    raise AssertionError("the pages lead nowhere")


class OrgAdapter(HTTPAdapter):
    """Brings requests for any Salesforce host to the org, as an entry in the hosts file would."""

    def send(self, request, **options):
        url = urlsplit(request.url)
        request.headers["Host"] = url.netloc
        request.url = BASE + url.path + (f"?{url.query}" if url.query else "")
        options["verify"] = os.environ.get("REQUESTS_CA_BUNDLE", True)
        return super().send(request, **options)


def org_session():
    """A session for clients that know https and Salesforce's own host names only."""
    session = requests.Session()
    session.mount("https://", OrgAdapter())
    return session


def failure(call, kind=Exception):
    """The error of a call that has to fail."""
    try:
        value = call()
    except kind as error:
        return error
    raise AssertionError(f"was not refused: {value!r}")


def equal(found, expected, what=""):
    """Complains with both values; a bare assert would not show them."""
    if found != expected:
        raise AssertionError(f"{what + ': ' if what else ''}found {found!r}, expected {expected!r}")


def serve(scenarios):
    """Runs scenarios until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name = line.strip()
        if not name:
            continue
        started = time.monotonic()
        try:
            run = scenarios.get(name)
            assert run, "this runner has no such scenario"
            ok, detail = True, run() or ""
        except Exception as error:  # noqa: BLE001 - whatever a client throws is its verdict
            ok, detail = False, describe(error)
        millis = round((time.monotonic() - started) * 1000)
        print(json.dumps({"id": name, "ok": ok, "millis": millis, "detail": detail}), file=answers, flush=True)


def describe(error):
    """Kind, text and place of an error."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if re.search(r"_runner\.py$", frame.filename)]
    place = f", at {Path(places[-1].filename).name}:{places[-1].lineno}" if places else ""
    return f"{type(error).__name__}: {error}{place}"
