"""The scenarios through simple-salesforce."""

import re
from datetime import datetime, timedelta, timezone

from harness import (
    CLIENT_ID, CLIENT_SECRET, EVENT, KEY, PASSWORD, USERNAME, VERSION, control, equal, failure, org_session, serve,
)
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed, SalesforceError, SalesforceMalformedRequest, SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

DOMAIN = "causeway.my"
APP = {"consumer_key": CLIENT_ID, "consumer_secret": CLIENT_SECRET}
SCENARIOS = {}


def scenario(run):
    SCENARIOS[run.__name__.replace("_", "-")] = run
    return run


def sign_in(**how):
    sf = Salesforce(**{"domain": DOMAIN, "version": VERSION, "session": org_session(), **how})
    equal(sf.query("SELECT Id FROM Organization")["totalSize"], 1)
    return sf


def connect():
    return sign_in(**APP)


def codes(error):
    return [entry["errorCode"] for entry in error.content]


def refused(call, code, kind=SalesforceError):
    error = failure(call, kind)
    equal(codes(error), [code])
    return error


@scenario
def client_credentials():
    connect()


@scenario
def jwt_bearer():
    sign_in(username=USERNAME, consumer_key=CLIENT_ID, privatekey=KEY, domain="login", instance_url=DOMAIN)
    how = {"username": "nobody@causeway.test", "consumer_key": CLIENT_ID, "privatekey": KEY, "domain": "login"}
    error = failure(lambda: Salesforce(session=org_session(), **how), SalesforceAuthenticationFailed)
    equal(error.code, "invalid_grant", error.auth_message)


@scenario
def username_password():
    sign_in(username=USERNAME, password=PASSWORD, **APP)
    how = {"username": USERNAME, "password": "wrong", "domain": DOMAIN, **APP}
    error = failure(lambda: Salesforce(session=org_session(), **how), SalesforceAuthenticationFailed)
    equal((error.code, error.auth_message), ("invalid_grant", "authentication failure"))


@scenario
def soap_login():
    sign_in(username=USERNAME, password=PASSWORD, security_token="")
    organization = connect().query("SELECT Id FROM Organization")["records"][0]["Id"]
    sign_in(username=USERNAME, password=PASSWORD, organizationId=organization)
    how = {"username": USERNAME, "password": "<wrong&>", "security_token": "", "domain": DOMAIN}
    error = failure(lambda: Salesforce(session=org_session(), **how), SalesforceAuthenticationFailed)
    equal(error.code, "INVALID_LOGIN")
    equal(error.auth_message, "Invalid username, password, security token; or user locked out.")


@scenario
def sign_in_refused():
    how = {"consumer_key": CLIENT_ID, "consumer_secret": "wrong", "domain": DOMAIN}
    error = failure(lambda: Salesforce(session=org_session(), **how), SalesforceAuthenticationFailed)
    equal((error.code, error.auth_message), ("invalid_client", "invalid client credentials"))


@scenario
def row_life():
    sf = connect()
    created = sf.Contact.create({"FirstName": "Ada", "LastName": "Lovelace"})
    equal((created["success"], created["errors"]), (True, []))
    row = sf.Contact.get(created["id"])
    equal((row["Name"], row["attributes"]["type"]), ("Ada Lovelace", "Contact"))
    equal(sf.Contact.update(created["id"], {"Title": "Countess"}), 204)
    equal(sf.Contact.get(created["id"])["Title"], "Countess")
    equal(sf.Contact.delete(created["id"]), 204)
    refused(lambda: sf.Contact.get(created["id"]), "ENTITY_IS_DELETED", SalesforceResourceNotFound)
    refused(lambda: sf.Contact.delete(created["id"]), "ENTITY_IS_DELETED", SalesforceResourceNotFound)


@scenario
def row_changes():
    sf = connect()
    kept, gone = (sf.Contact.create({"LastName": name})["id"] for name in ("Kept", "Gone"))
    sf.Contact.delete(gone)
    now = datetime.now(timezone.utc)
    period = (now - timedelta(hours=1), now + timedelta(minutes=1))
    equal(sf.Contact.updated(*period)["ids"], [kept])
    equal([row["id"] for row in sf.Contact.deleted(*period)["deletedRecords"]], [gone])


@scenario
def row_upsert():
    sf = connect()
    equal(sf.LimioOrder__c.upsert("LimioId__c/O-1ä", {"OrderType__c": "new"}), 201)
    equal(sf.LimioOrder__c.upsert("LimioId__c/O-1ä", {"OrderType__c": "renew"}), 200)
    row = sf.LimioOrder__c.get_by_custom_id("LimioId__c", "O-1ä")
    equal((row["OrderType__c"], row["LimioId__c"]), ("renew", "O-1ä"))
    equal(sf.query("SELECT COUNT() FROM LimioOrder__c")["totalSize"], 1)


@scenario
def row_refused():
    sf = connect()
    refused(lambda: sf.Contact.create({"LastName": "A", "Emial": "a"}), "INVALID_FIELD", SalesforceMalformedRequest)
    missing = refused(lambda: sf.Contact.create({"FirstName": "A"}), "REQUIRED_FIELD_MISSING")
    equal(missing.content[0]["fields"], ["LastName"])
    refused(lambda: sf.Contact.create({"LastName": "x" * 81}), "STRING_TOO_LONG")
    refused(lambda: sf.Contact.create({"LastName": "A", "Email": "nobody"}), "INVALID_EMAIL_ADDRESS")
    refused(lambda: sf.Kontakt.create({"LastName": "A"}), "NOT_FOUND", SalesforceResourceNotFound)


@scenario
def describe():
    sf = connect()
    names = [each["name"] for each in sf.describe()["sobjects"]]
    assert {"Account", "Contact", "LimioOrder__c", EVENT} <= set(names), names
    fields = {field["name"]: field for field in sf.Contact.describe()["fields"]}
    equal((fields["AccountId"]["type"], fields["AccountId"]["referenceTo"]), ("reference", ["Account"]))
    equal(sf.Contact.metadata()["objectDescribe"]["keyPrefix"], "003")
    equal(sf.is_sandbox(), False)


@scenario
def versions_and_limits():
    sf = connect()
    limits = sf.limits()["DailyApiRequests"]
    equal(limits["Max"], 100000)
    usage = sf.api_usage["api-usage"]
    equal((usage.used, usage.total), (100000 - limits["Remaining"], 100000))


@scenario
def query_paging():
    sf = connect()
    control("records/Account", [{"Name": f"Account {n:03}"} for n in range(450)])
    soql = "SELECT Id, Name FROM Account ORDER BY Name"
    headers = {"Sforce-Query-Options": "batchSize=200"}
    first = sf.query(soql, headers=headers)
    equal((first["totalSize"], first["done"], len(first["records"])), (450, False, 200))
    second = sf.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    equal((second["done"], second["records"][0]["Name"]), (False, "Account 200"))
    locator = second["nextRecordsUrl"].rsplit("/", 1)[1]
    third = sf.query_more(locator)
    equal((third["done"], len(third["records"]), "nextRecordsUrl" in third), (True, 50, False))
    everything = sf.query_all(soql, headers=headers)
    equal(len({row["Name"] for row in everything["records"]}), 450)
    equal(sum(1 for _ in sf.query_all_iter(soql, headers=headers)), 450)
    refused(lambda: sf.query_more("01g000000000000AAA-200"), "INVALID_QUERY_LOCATOR")


@scenario
def query_parents():
    sf = connect()
    account = sf.Account.create({"Name": "Acme"})["id"]
    for name in ("Beta", "Alpha"):
        sf.Contact.create({"LastName": name, "AccountId": account})
    sf.Contact.create({"LastName": "Gamma"})
    soql = "SELECT LastName, Account.Name FROM Contact WHERE Account.Name = 'Acme' AND LastName LIKE '%a' ORDER BY LastName"
    rows = sf.query(soql)["records"]
    equal([(row["LastName"], row["Account"]["Name"]) for row in rows], [("Alpha", "Acme"), ("Beta", "Acme")])
    equal(sf.query("SELECT COUNT() FROM Contact WHERE LastName IN ('Alpha', 'Gamma')")["totalSize"], 2)


@scenario
def query_groups():
    sf = connect()
    rows = [(1, "Prospecting"), (2, "Closed Won"), (4, "Closed Won")]
    fields = {"Name": "A", "CloseDate": "2026-12-31"}
    control("records/Opportunity", [{**fields, "Amount": amount, "StageName": stage} for amount, stage in rows])
    soql = "SELECT StageName, COUNT(Id) n, SUM(Amount) FROM Opportunity GROUP BY StageName ORDER BY StageName"
    found = [(row["StageName"], row["n"], row["expr0"]) for row in sf.query_all(soql)["records"]]
    equal(found, [("Closed Won", 2, 6), ("Prospecting", 1, 1)])


@scenario
def query_children():
    sf = connect()
    full = sf.Account.create({"Name": "Full"})["id"]
    sf.Account.create({"Name": "Sole"})
    for name in ("A", "B"):
        sf.Contact.create({"LastName": name, "AccountId": full})
    soql = "SELECT Name, (SELECT LastName FROM Contacts ORDER BY LastName) FROM Account ORDER BY Name"
    first, second = sf.query(soql)["records"]
    equal([row["LastName"] for row in first["Contacts"]["records"]], ["A", "B"])
    equal((first["Contacts"]["totalSize"], first["Contacts"]["done"], second["Contacts"]), (2, True, None))


@scenario
def query_deleted():
    sf = connect()
    gone = sf.Account.create({"Name": "Gone"})["id"]
    sf.Account.delete(gone)
    soql = "SELECT Id, IsDeleted FROM Account WHERE Name = 'Gone'"
    equal(sf.query(soql)["totalSize"], 0)
    rows = sf.query(soql, include_deleted=True)["records"]
    equal([(row["Id"], row["IsDeleted"]) for row in rows], [(gone, True)])


@scenario
def query_refused():
    sf = connect()
    refused(lambda: sf.query("SELECT FROM Account"), "MALFORMED_QUERY", SalesforceMalformedRequest)
    refused(lambda: sf.query("SELECT Nmae FROM Account"), "INVALID_FIELD", SalesforceMalformedRequest)
    refused(lambda: sf.query("SELECT Id FROM Accont"), "INVALID_TYPE", SalesforceMalformedRequest)


def collection(sf, method, body, path="composite/sobjects"):
    return sf.restful(path, method=method, json=body)


def typed(kind, **fields):
    return {"attributes": {"type": kind}, **fields}


@scenario
def collection_partial():
    sf = connect()
    bad = {n for n in range(200) if n % 20 == 7}
    rows = [typed("Contact", FirstName="x") if n in bad else typed("Contact", LastName=f"Row {n}") for n in range(200)]
    results = collection(sf, "POST", {"allOrNone": False, "records": rows})
    equal([n for n, result in enumerate(results) if not result["success"]], sorted(bad))
    equal(results[7]["errors"][0]["statusCode"], "REQUIRED_FIELD_MISSING")
    equal(sf.query("SELECT COUNT() FROM Contact")["totalSize"], 190)


@scenario
def collection_all_or_none():
    sf = connect()
    rows = [typed("Contact", LastName="A"), typed("Contact", FirstName="B")]
    results = collection(sf, "POST", {"allOrNone": True, "records": rows})
    found = [result["errors"][0]["statusCode"] for result in results]
    equal(found, ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"])
    equal(control("records/Contact"), [])


@scenario
def collection_upsert():
    sf = connect()
    path = "composite/sobjects/LimioOrder__c/LimioId__c"

    def upsert(*keys):
        rows = [typed("LimioOrder__c", LimioId__c=key) for key in keys]
        return [row["created"] for row in collection(sf, "PATCH", {"allOrNone": False, "records": rows}, path)]

    equal(upsert("A", "B"), [True, True])
    equal(upsert("B", "C"), [False, True])
    ids = [row["Id"] for row in sf.query("SELECT Id FROM LimioOrder__c ORDER BY LimioId__c")["records"]]
    gone = sf.restful("composite/sobjects", params={"ids": ",".join(ids[:2]), "allOrNone": "true"}, method="DELETE")
    equal([row["success"] for row in gone], [True, True])


@scenario
def composite_references():
    sf = connect()
    base = f"/services/data/v{VERSION}/sobjects"
    parts = [
        {"method": "POST", "url": f"{base}/Account", "referenceId": "account", "body": {"Name": "Acme"}},
        {"method": "POST", "url": f"{base}/Contact", "referenceId": "contact",
         "body": {"LastName": "A", "AccountId": "@{account.id}"}},
        {"method": "GET", "url": f"{base}/Contact/@{{contact.id}}?fields=AccountId", "referenceId": "read"},
    ]
    answer = sf.restful("composite", method="POST", json={"allOrNone": True, "compositeRequest": parts})
    equal([part["httpStatusCode"] for part in answer["compositeResponse"]], [201, 201, 200])
    parts[1]["body"] = {"FirstName": "A"}
    answer = sf.restful("composite", method="POST", json={"allOrNone": True, "compositeRequest": parts[:2]})
    found = [part["body"][0]["errorCode"] for part in answer["compositeResponse"]]
    equal(found, ["PROCESSING_HALTED", "REQUIRED_FIELD_MISSING"])


@scenario
def composite_tree():
    sf = connect()

    def tree(**contact):
        below = {"records": [{"attributes": {"type": "Contact", "referenceId": "contact"}, **contact}]}
        return {"records": [{"attributes": {"type": "Account", "referenceId": "account"}, "Name": "Acme", "Contacts": below}]}

    good = sf.restful("composite/tree/Account", method="POST", json=tree(LastName="A"))
    equal((good["hasErrors"], [row["referenceId"] for row in good["results"]]), (False, ["account", "contact"]))
    error = failure(lambda: sf.restful("composite/tree/Account", method="POST", json=tree(FirstName="A")), SalesforceError)
    equal((error.status, error.content["hasErrors"]), (400, True))
    equal(sf.query("SELECT COUNT() FROM Account")["totalSize"], 1)


@scenario
def composite_batch():
    sf = connect()
    account = sf.Account.create({"Name": "Acme"})["id"]
    body = {"batchRequests": [
        {"method": "PATCH", "url": f"v{VERSION}/sobjects/Account/{account}", "richInput": {"Name": "New"}},
        {"method": "GET", "url": f"v{VERSION}/sobjects/Account/{account}?fields=Name"},
    ]}
    answer = sf.restful("composite/batch", method="POST", json=body)
    equal((answer["hasErrors"], [part["statusCode"] for part in answer["results"]]), (False, [204, 200]))
    equal(answer["results"][1]["result"]["Name"], "New")


@scenario
def composite_graph():
    sf = connect()
    base = f"/services/data/v{VERSION}/sobjects"

    def graph(name, contact):
        contact = {**contact, "AccountId": "@{account.id}"}
        return {"graphId": name, "compositeRequest": [
            {"method": "POST", "url": f"{base}/Account", "referenceId": "account", "body": {"Name": name}},
            {"method": "POST", "url": f"{base}/Contact", "referenceId": "contact", "body": contact},
        ]}

    body = {"graphs": [graph("good", {"LastName": "A"}), graph("bad", {"FirstName": "B"})]}
    graphs = sf.restful("composite/graph", method="POST", json=body)["graphs"]
    equal([(one["graphId"], one["isSuccessful"]) for one in graphs], [("good", True), ("bad", False)])
    equal([row["Name"] for row in control("records/Account")], ["good"])


@scenario
def duplicate_blocked():
    sf = connect()
    first = sf.Contact.create({"LastName": "A", "Email": "a@example.org"})["id"]
    again = {"LastName": "B", "Email": "A@example.org"}
    error = refused(lambda: sf.Contact.create(again), "DUPLICATES_DETECTED", SalesforceMalformedRequest)
    result = error.content[0]["duplicateResut"]
    equal(result["allowSave"], False)
    equal(result["matchResults"][0]["matchRecords"][0]["record"]["Id"], first)


@scenario
def duplicate_allowed():
    sf = connect()
    sf.Contact.create({"LastName": "A", "Email": "a@example.org"})
    again = {"LastName": "B", "Email": "a@example.org"}
    error = refused(lambda: sf.Contact.create(again), "DUPLICATES_DETECTED")
    equal(error.content[0]["duplicateResut"]["allowSave"], True)
    headers = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
    equal(sf.Contact.create(again, headers=headers)["success"], True)


@scenario
def predupe():
    sf = connect()
    contact = sf.Contact.create({"LastName": "A", "Email": "a@example.org"})["id"]

    def ask(**fields):
        return sf.restful("ui-api/predupe", method="POST", json={"apiName": "Contact", "fields": fields})

    found = ask(LastName="B", Email="A@example.org")
    rule = "Standard_Contact_Duplicate_Rule"
    equal((found["allowSave"], found["duplicateError"], found["duplicateRules"]), (False, True, [rule]))
    equal([(match["objectApiName"], match["recordIds"]) for match in found["matches"]], [("Contact", [contact])])
    none = ask(LastName="B", Email="b@example.org")
    equal((none["duplicateError"], none["matches"]), (False, []))
    refused(lambda: ask(LastName="B", Emial="b@example.org"), "INVALID_FIELD", SalesforceMalformedRequest)
    equal(len(control("records/Contact")), 1)
    equal([each["name"] for each in sf.restful("ui-api/duplicates/Contact")["duplicateRules"]], [rule])


@scenario
def event_publish():
    sf = connect()
    sent = getattr(sf, EVENT).create({"i42as__OrderNumber__c": "SO-1"})
    equal((sent["success"], sent["errors"][0]["statusCode"]), (True, "OPERATION_ENQUEUED"))
    equal([event["event_uuid"] for event in control("events")], [sent["errors"][0]["message"]])


@scenario
def event_refused():
    sf = connect()
    refused(lambda: getattr(sf, EVENT).create({"OrderNumber": "SO-1"}), "INVALID_FIELD")
    equal(control("events"), [])


@scenario
def bulk_ingest():
    sf = connect()
    rows = [{"LastName": 'A, "B"', "Email": "a@example.org"}, {"LastName": "", "Email": "b@example.org"}]
    (done,) = sf.bulk2.Contact.insert(records=rows)
    equal((done["numberRecordsProcessed"], done["numberRecordsFailed"]), (2, 1))
    results = sf.bulk2.Contact.get_all_ingest_records(done["job_id"])
    equal([row["LastName"] for row in results["successfulRecords"]], ['A, "B"'])
    assert results["failedRecords"][0]["sf__Error"].startswith("REQUIRED_FIELD_MISSING:"), results
    equal(results["unprocessedRecords"], [])


@scenario
def session_expired():
    for how in (APP, {"username": USERNAME, "password": PASSWORD, "security_token": ""}):
        sf = sign_in(**how)
        token = sf.session_id
        control("sessions/expire", {})
        equal(sf.query("SELECT Id FROM Organization")["totalSize"], 1)
        assert sf.session_id != token, "it has signed in again"


@scenario
def api_limit():
    sf = connect()
    control("settings", {"api_limit": 1})
    error = refused(lambda: sf.query("SELECT Id FROM Account"), "REQUEST_LIMIT_EXCEEDED", SalesforceRefusedRequest)
    equal(error.content[0]["message"], "TotalRequests Limit exceeded.")


@scenario
def row_lock():
    sf = connect()
    error = refused(lambda: sf.Account.create({"Name": "A"}), "UNABLE_TO_LOCK_ROW")
    assert re.match("unable to obtain exclusive access to this record", error.content[0]["message"]), error
    equal(sf.Account.create({"Name": "A"})["success"], True)


serve(SCENARIOS)
