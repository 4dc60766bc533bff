"""The scenarios through Authlib."""

import os
import time
from urllib.parse import parse_qs, urlsplit

from authlib.common.errors import AuthlibBaseError
from authlib.common.security import generate_token
from authlib.integrations.requests_client import AssertionSession, OAuth2Session
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from harness import (
    BASE, CALLBACK, CLIENT_ID, CLIENT_SECRET, KEY, PASSWORD, USERNAME, allow, equal, failure, serve, works,
)

# The org is reached without TLS here, which the library refuses unless told.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "true"
TOKEN = f"{BASE}/services/oauth2/token"
REVOKE = f"{BASE}/services/oauth2/revoke"
INTROSPECT = f"{BASE}/services/oauth2/introspect"
SCENARIOS = {}


def scenario(run):
    SCENARIOS[run.__name__.replace("_", "-")] = run
    return run


def app(secret=CLIENT_SECRET, **how):
    return OAuth2Session(CLIENT_ID, secret, **{"token_endpoint_auth_method": "client_secret_post", **how})


def sign_in():
    """Session and token of a web-server flow with PKCE."""
    session = app(scope="api refresh_token", redirect_uri=CALLBACK, code_challenge_method="S256")
    verifier = generate_token(64)
    url, state = session.create_authorization_url(f"{BASE}/services/oauth2/authorize", code_verifier=verifier)
    back = allow(url)
    equal(parse_qs(urlsplit(back).query)["state"], [state])
    return session, session.fetch_token(TOKEN, authorization_response=back, code_verifier=verifier, state=state)


def refused(call, code):
    error = failure(call, AuthlibBaseError)
    equal(error.error, code, error.description)
    return error


@scenario
def client_credentials():
    for method in ("client_secret_post", "client_secret_basic"):
        token = app(token_endpoint_auth_method=method).fetch_token(TOKEN, grant_type="client_credentials")
        equal(works(token["access_token"]), 200)


@scenario
def jwt_bearer():
    def session(subject):
        # The library's own hour is more than Salesforce allows.
        how = {"key": KEY, "header": {"alg": "RS256"}, "expires_at": int(time.time()) + 180}
        grant = AssertionSession.JWT_BEARER_GRANT_TYPE
        return AssertionSession(TOKEN, CLIENT_ID, subject, audience=BASE, grant_type=grant, **how)

    equal(session(USERNAME).get(f"{BASE}/services/data/v62.0/limits").status_code, 200)
    refused(lambda: session("nobody@causeway.test").refresh_token(), "invalid_grant")


@scenario
def web_server():
    session, token = sign_in()
    assert token["refresh_token"], token
    equal(session.get(f"{BASE}/services/data/v62.0/limits").status_code, 200)


@scenario
def username_password():
    token = app().fetch_token(TOKEN, username=USERNAME, password=PASSWORD)
    equal(works(token["access_token"]), 200)
    refused(lambda: app().fetch_token(TOKEN, username=USERNAME, password="wrong"), "invalid_grant")


@scenario
def sign_in_refused():
    error = refused(lambda: app("wrong").fetch_token(TOKEN, grant_type="client_credentials"), "invalid_client")
    equal(error.description, "invalid client credentials")


@scenario
def refresh():
    session, token = sign_in()
    renewed = session.refresh_token(TOKEN, refresh_token=token["refresh_token"])
    assert renewed["access_token"] != token["access_token"]
    equal(works(renewed["access_token"]), 200)


@scenario
def refresh_rotation():
    session, token = sign_in()
    successor = app().refresh_token(TOKEN, refresh_token=token["refresh_token"])["refresh_token"]
    assert successor != token["refresh_token"]
    refused(lambda: app().refresh_token(TOKEN, refresh_token=token["refresh_token"]), "invalid_grant")
    refused(lambda: app().refresh_token(TOKEN, refresh_token=successor), "invalid_grant")


@scenario
def revoke():
    session, token = sign_in()
    equal(session.revoke_token(REVOKE, token=token["refresh_token"]).status_code, 200)
    equal(works(token["access_token"]), 401)


@scenario
def discovery():
    session = app()
    document = session.get(get_well_known_url(BASE, external=True), withhold_token=True).json()
    metadata = OpenIDProviderMetadata(document)
    equal(metadata["token_endpoint"], TOKEN)
    # What the library checks, save that this org is reached without TLS, and that Salesforce's own document leaves out
    # the algorithms of assertions.
    wrong = []
    for claim in metadata.REGISTRY_KEYS:
        try:
            getattr(metadata, f"validate_{claim}", lambda: None)()
        except ValueError as error:
            if "https" not in str(error) and claim != "token_endpoint_auth_signing_alg_values_supported":
                wrong.append(str(error))
    equal(wrong, [])


@scenario
def userinfo():
    session, token = sign_in()
    info = session.get(f"{BASE}/services/oauth2/userinfo").json()
    equal((info["sub"], info["preferred_username"]), (token["id"], USERNAME))


@scenario
def introspection():
    session, token = sign_in()
    answer = session.introspect_token(INTROSPECT, token=token["access_token"], token_type_hint="access_token").json()
    equal((answer["active"], answer["client_id"]), (True, CLIENT_ID))
    session.revoke_token(REVOKE, token=token["access_token"])
    equal(session.introspect_token(INTROSPECT, token=token["access_token"]).json(), {"active": False})


serve(SCENARIOS)
